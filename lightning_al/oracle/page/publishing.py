"""What the fit writes for the page's process: where the run stands, the query, and what is shown of each point."""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_al.data.image_folder import ENDINGS
from lightning_al.oracle.files.points import key_text
from lightning_al.oracle.files.shown_item import shown_item
from lightning_al.oracle.progress import Progress
from lightning_al.oracle.query import Query
from lightning_al.page.place import Place
from lightning_al.page.published import outdated_in
from lightning_al.page.starting import start
from lightning_al.page.store import Ledger, last_event, read_events
from lightning_al.run.files import parts_in, read_json, replacing
from lightning_al.run.records import INITIAL

VERSION = 1

SESSION = secrets.token_hex(8)
"""Tells this process from one before, whose items may be of other data."""

LARGEST_SIDE = 4096
"""The most pixels of a side of a picture that is kept."""

LOSSLESS = 1024
"""Up to so many pixels a side, a picture is kept without loss."""

_WRITTEN: dict[tuple[int, Path], set[int]] = {}

_ITEM = re.compile(r"(\d+)(?:-\d+)?\.(?:json|png|jpg)")


class Publishing:
    """Write for the page's process. There is one process that does.

    Args:
        place: The page's files.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def read(self) -> dict[str, Any]:
        """Return what was published last; empty where nothing was, or it cannot be read."""
        with suppress(OSError, ValueError):
            plain = read_json(self.place.published)
            if isinstance(plain, dict) and plain.get("version") == VERSION:
                return plain
        return {}

    def ledger(self) -> Ledger:
        """Return what the store says, without the answers to points that were given back since.

        Raises:
            ValueError: If the store is none of ours.
            sqlite3.Error: If it cannot be read, such as while a process that was killed has left a change half done.
        """
        return Ledger.of(read_events(self.place.store), outdated_in(self.read()))

    def tell(self, progress: Progress, **options: Any) -> None:
        """Publish where the run stands. During a query, it goes on being shown until the next one is published.

        Args:
            progress: Where the run stands.
            options: What else the page's process has to know.
        """
        before = self.read()
        is_asking = progress.phase == "asking"
        plain = {
            **before,
            **options,
            "phase": before.get("phase", "fitting") if is_asking else progress.phase,
            "round": progress.round,
            "counts": {progress.classes.get(number, str(number)): count for number, count in progress.counts.items()},
            "spent": progress.spent,
            "budget": progress.budget,
            "seconds": progress.seconds,
            "budget_seconds": progress.budget_seconds,
            "metric": progress.metric,
            "curve": [list(pair) for pair in progress.curve],
            "audit": dict(progress.audit),
            "answered": list(progress.answered),
            "given_back": self._given_back(progress.given_back, before.get("given_back", {})),
            "ahead": list(progress.ahead) if progress.phase in ("asking", "fitting") else [],
        }
        if progress.classes:
            plain["classes"] = self._classes(progress.classes, options, progress.examples)
        if not is_asking:
            plain |= {"query": None, "suggestions": {}}
        self._write(plain)
        shown = [*plain["ahead"], *(index for points in progress.examples.values() for index in points)]
        new = [index for index in shown if index not in self._written]
        if new:
            self.show(progress.show(new))

    def ask(self, query: Query, *, suggestions: bool, **options: Any) -> bool:
        """Publish a query, unless it is shown already.

        Args:
            query: The query.
            suggestions: Whether to publish what the model believes.
            options: What else the page's process has to know.

        Returns:
            Whether it is another one than before.
        """
        plain = self.read()
        shown, points = plain.get("query") or {}, [*query.answers, *query]
        name = "initial" if query.round == INITIAL else f"round-{query.round:03}"
        is_same = shown.get("id") == name and set(shown.get("points", ())) == set(points)
        if is_same and plain.get("session") == _session() and plain.get("phase") == "asking":
            return False
        if not is_same:
            shown = {"id": name, "points": points, "answered": list(query.answers)}
        believed: dict[str, Any] = {}
        for index, row in zip(query, query.probs or (), strict=False):
            if suggestions and row is not None:
                best = max(range(len(row)), key=row.__getitem__)
                believed[str(index)] = {"class": best, "probability": row[best]}
        earlier = (plain.get("query") or {}).get("points", ())
        plain = {**plain, **options, "phase": "asking", "query": shown, "suggestions": believed}
        plain.setdefault("round", query.round)
        plain.setdefault("title", self.place.run.name)
        if "classes" not in plain or [one["number"] for one in plain["classes"]] != list(query.classes):
            plain["classes"] = plain.get("classes") or self._classes(query.classes, options, {})
        self._tidy({*points, *earlier, *plain.get("ahead", ()), *plain.get("answered", ())[-100:], *_examples(plain)})
        self._write(plain)
        return True

    def note_taken(self, last: int) -> None:
        """Say up to which event of the store the fit has taken the answers."""
        plain = self.read()
        if plain.get("taken") != last:
            self._write({**plain, "taken": last})

    def show(self, query: Query) -> None:
        """Write what is shown of points that this process has not shown yet, in their order."""
        for position, (index, key) in enumerate(zip(query, query.keys, strict=True)):
            if index in self._written:
                continue
            path = query.paths[position] if position < len(query.paths) else None
            if path is not None and path.suffix.lower() in ENDINGS:
                pictures: list[dict[str, str]] = [{"path": str(path.absolute())}]
                shown: dict[str, Any] = {"texts": [], "rows": [], "fault": None}
            else:
                pictures, read = [], partial(query.items.__getitem__, position)
                item = shown_item(read, partial(self._keep, index, pictures)) if position < len(query.items) else None
                shown = {name: getattr(item, name, None) or [] for name in ("texts", "rows")}
                shown["fault"] = getattr(item, "fault", None)
            plain = {"key": key_text(key), "pictures": pictures, **shown, "written": _session()}
            _put(self.place.items / f"{index}.json", json.dumps(plain).encode())
            self._written.add(index)

    @property
    def _written(self) -> set[int]:
        return _WRITTEN.setdefault((os.getpid(), self.place.folder), set())

    def _given_back(self, places: Mapping[int, int], known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last event of the old label of each point that was given back.

        It is that of the first time when the fit tells of the change, which is before the point can be asked for again.
        So a later answer counts, also for a fit after one that was killed before it recorded the answer.

        Args:
            places: The place of the change by which each point was given back.
            known: What was returned before.
        """
        if not places:
            return {}
        try:
            last = last_event(self.place.store)
        except sqlite3.Error:  # its process was killed in the middle, and the next one repairs it
            start(self.place)
            last = last_event(self.place.store)
        now = {str(index): {"change": place, "last": last} for index, place in places.items()}
        # One that is later than all events is of a store that was removed.
        kept = {index: mark for index, mark in known.items() if index in now and mark["last"] <= last}
        return now | {index: mark for index, mark in kept.items() if mark["change"] == now[index]["change"]}

    def _keep(self, index: int, pictures: list[dict[str, str]], image: Image.Image) -> tuple[str, bool]:
        image = image.copy()
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), reducing_gap=2.0)
        image.info = {}  # where it was taken is nobody's business
        is_lossless = max(image.size) <= LOSSLESS or image.mode == "RGBA"
        path = self.place.items / f"{index}-{len(pictures)}.{'png' if is_lossless else 'jpg'}"
        _put(path, image, **({"compress_level": 1} if is_lossless else {"quality": 92}))
        pictures.append({"file": path.name})
        return path.name, False

    def _classes(
        self, names: Mapping[int, str], options: Mapping[str, Any], examples: Mapping[int, Iterable[int]]
    ) -> list[dict[str, Any]]:
        about = options.get("descriptions") or {}
        return [
            {"number": number, "name": name, "description": about.get(name), "examples": list(examples.get(number, ()))}
            for number, name in sorted(names.items())
        ]

    def _write(self, plain: Mapping[str, Any]) -> None:
        about = {"version": VERSION, "session": _session(), "process": os.getpid(), "machine": platform.node()}
        kept = {name: value for name, value in plain.items() if name != "descriptions"}
        self.place.make()
        with replacing(self.place.published) as draft:
            draft.write_text(json.dumps({**kept, **about}))

    def _tidy(self, kept: Collection[int]) -> None:
        """Remove what is shown of points that are not shown any more, and what killed processes left."""
        with suppress(OSError):
            for part in parts_in(self.place.items, _ITEM):
                part.unlink(missing_ok=True)
            for name in os.listdir(self.place.items):
                found = _ITEM.fullmatch(name)
                if found is not None and int(found[1]) not in kept:
                    (self.place.items / name).unlink(missing_ok=True)
                    self._written.discard(int(found[1]))


def _session() -> str:
    """Return what tells this process from others, forks of it too."""
    return f"{SESSION}-{os.getpid()}"


def _examples(plain: Mapping[str, Any]) -> list[int]:
    return [index for one in plain.get("classes", ()) for index in one.get("examples", ())]


def _put(path: Path, content: bytes | Image.Image, **options: Any) -> None:
    """Write a file whole or not at all. It need not outlast the machine: the next start writes it again."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with draft.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content.save(file, "png" if path.suffix == ".png" else "jpeg", **options)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
