"""The files of one query: a CSV file to fill in, a contact sheet, and the keys of its points."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_al.oracle.files.contact_sheet import classes_mark, contact_sheet, with_classes
from lightning_al.oracle.files.csv_rows import COLUMNS
from lightning_al.oracle.files.points import key_text
from lightning_al.oracle.query import LazyItems, Query
from lightning_al.run.files import MEBIBYTE, kind_of, parts_in, read_json, replacing
from lightning_al.run.records import INITIAL
from lightning_al.values.errors import said_shortly
from lightning_al.values.spreadsheets import encoding_for, harmless

BELIEFS = ("predicted", "probability")
"""The columns of what the model believes."""

LARGEST = 64 * MEBIBYTE
"""Bytes of a CSV file that people fill in."""


HEAD = 2000
"""Bytes at the beginning of a page, where it says which classes it has."""


class Sheets:
    """The files of a query in a folder.

    A file that people may have filled in is never written again, and the contact sheet is written only with it, where
    it is missing, or where classes were added or renamed.

    Args:
        folder: The folder of all queries.
        round: Number of the round; -1 for the initial points.

    Attributes:
        table: The CSV file.
        page: The contact sheet.
        taken_up: The file that remembers which lines were taken up.
    """

    def __init__(self, folder: Path, round: int) -> None:
        self.folder, self.round = folder, round
        self.stem = "initial" if round == INITIAL else f"round-{round:03}"
        self.table, self.page = folder / f"{self.stem}.csv", folder / f"{self.stem}.html"
        self.taken_up = folder / f".{self.stem}.taken.json"
        self.title = "The initial points" if round == INITIAL else f"Round {round}"

    def write(self, query: Query, *, suggestions: bool) -> dict[int, str]:
        """Write the files that are missing: the CSV file last, so that all are there if it is.

        Returns:
            The keys of the round's points as text, with those that were answered before.

        Raises:
            ValueError: If a link or something else is in the place of the folder or of a file.
            OSError: If a file cannot be written.
        """
        if (kind := kind_of(self.folder)) not in (None, "a folder") or (kind is None and self.folder.exists()):
            raise ValueError(
                f"{self.folder} is {kind or 'a file'}, where the folder of the queries has to be. Remove it, or choose "
                "another folder for the run."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in parts_in(self.folder, re.compile(rf"\.?{self.stem}(-\d+|\.texts|\.taken)?\.(json|html|csv)")):
            part.unlink(missing_ok=True)  # of a process that was killed
        keys = self._keep_keys(query)
        is_there = os.path.lexists(self.table)
        if not is_there or not os.path.lexists(self.page):
            self._write_page(self.stem, query, suggestions)
        if not is_there:
            _write(self.table, _table(query, suggestions=suggestions))
        else:
            self._update_classes(query.classes)
        return keys

    def _update_classes(self, classes: Mapping[int, str]) -> None:
        """Let the pages have the classes of the query, where some were added or renamed since they were written."""
        mark = re.compile(rb'<meta name="classes" content="(\w+)">')
        for found in sorted(os.listdir(self.folder)):
            path = self.folder / found
            if not re.fullmatch(rf"{self.stem}(-\d+)?\.html", found) or kind_of(path) is not None:
                continue
            with path.open("rb") as file:
                written = mark.search(file.read(HEAD))
            if written and written[1].decode() != classes_mark(classes):
                _write(path, with_classes(path.read_text(encoding="utf-8"), classes))

    def write_more(self, query: Query, unlisted: Collection[int], *, suggestions: bool) -> None:
        """Write a page and a CSV file of the next free number, such as `round-000-2.csv`, for some points of a query.

        They are missing in the files where people removed lines, or where a run before this one left files.
        """
        number = next(number for number in count(2) if not os.path.lexists(self.folder / f"{self.stem}-{number}.csv"))
        places = [place for place, index in enumerate(query) if index in unlisted]
        part = Query(
            query.round,
            [query[place] for place in places],
            keys=[query.keys[place] for place in places],
            probs=None if query.probs is None else [query.probs[place] for place in places],
            items=LazyItems(query.items.__getitem__, places) if len(query.items) else (),
            classes=query.classes,
            paths=[query.paths[place] for place in places] if query.paths else (),
        )
        self._write_page(f"{self.stem}-{number}", part, suggestions)
        _write(self.folder / f"{self.stem}-{number}.csv", _table(part, suggestions=suggestions))

    def _write_page(self, stem: str, query: Query, suggestions: bool) -> None:
        page = contact_sheet(query, file=f"{stem}-page.csv", title=self.title, suggestions=suggestions)
        _write(self.folder / f"{stem}.html", page)

    def filled(self) -> list[Path]:
        """Return the CSV files of the query: the one that was written, and copies such as `round-000-anna.csv`."""
        name = re.compile(rf"{self.stem}([\W_].*)?\.csv", re.IGNORECASE | re.DOTALL)
        return [self.folder / found for found in sorted(os.listdir(self.folder)) if name.fullmatch(found)]

    def filled_before(self) -> list[tuple[Path, bool]]:
        """Return the CSV files of earlier queries, and whether it was remembered what each of these said."""
        name = re.compile(r"(initial|round-(\d+))([\W_].*)?\.csv", re.IGNORECASE | re.DOTALL)
        found = [(file, match) for file in sorted(os.listdir(self.folder)) if (match := name.fullmatch(file))]
        return [
            (self.folder / file, os.path.lexists(self._texts_of(match[1].lower())))
            for file, match in found
            if (INITIAL if match[2] is None else int(match[2])) < self.round
        ]

    def unread(self) -> list[str]:
        """Return the names of tables in the folder that are read for no query, such as `Copy of round-000.csv`."""
        table = re.compile(r"[^.~].*\.(csv|tsv|xlsx?|ods|numbers)", re.IGNORECASE | re.DOTALL)
        read = re.compile(r"(initial|round-\d+)([\W_].*)?\.csv", re.IGNORECASE | re.DOTALL)
        return [name for name in sorted(os.listdir(self.folder)) if table.fullmatch(name) and not read.fullmatch(name)]

    def texts_before(self) -> dict[str, set[str]]:
        """Return what the files said when earlier queries ended, as `remember` was given it, all together."""
        name = re.compile(r"\.(initial|round-(\d+))\.texts\.json")
        texts: dict[str, set[str]] = {}
        for file in os.listdir(self.folder):
            match = name.fullmatch(file)
            if match and (INITIAL if match[2] is None else int(match[2])) < self.round:
                for place, known in self._texts_in(self.folder / file).items():
                    texts.setdefault(place, set()).update(known)
        return texts

    def remember(self, texts: Mapping[str, Collection[str]]) -> None:
        """Remember what the files say while this query is open. The last call tells what they said when it ended."""
        path, plain = self._texts_of(self.stem), {place: sorted(known) for place, known in texts.items()}
        if plain != self._texts_in(path):
            _write(path, json.dumps(plain))

    def _texts_of(self, stem: str) -> Path:
        return self.folder / f".{stem}.texts.json"

    def _texts_in(self, path: Path) -> dict[str, list[str]]:
        try:
            return {str(place): list(map(str, known)) for place, known in read_json(path).items()}
        except FileNotFoundError:
            return {}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"What the files of a query said in {path} cannot be read ({said_shortly(error)}). Remove this file."
            ) from error

    def keys_of_all(self) -> dict[int, str]:
        """Return the keys of the points of all queries so far, as text."""
        name = re.compile(r"\.(initial|round-\d+)\.json")
        files = [found for found in sorted(os.listdir(self.folder)) if name.fullmatch(found)]
        return {index: key for file in files for index, key in _kept_keys(self.folder / file).items()}

    def _keep_keys(self, query: Query) -> dict[int, str]:
        """Remember the keys of the points, since a later query of the round only has the points without an answer."""
        path = self.folder / f".{self.stem}.json"
        keys = _kept_keys(path)
        given = dict(zip(query.indices, map(key_text, query.keys), strict=True))
        if not given.items() <= keys.items():
            keys = {index: keys[index] for index in query.answers if index in keys} | given
            _write(path, json.dumps(keys))
        return keys


def _kept_keys(path: Path) -> dict[int, str]:
    try:
        known: Any = read_json(path)
        return {int(index): str(key) for index, key in known.items()}
    except FileNotFoundError:
        return {}
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"The keys of a query in {path} cannot be read ({said_shortly(error)}). Remove this file."
        ) from error


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        encoding = encoding_for(text) if path.suffix == ".csv" else "utf-8"
        draft.write_text(text, encoding=encoding, errors="backslashreplace", newline="")


def _table(query: Query, *, suggestions: bool) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(BELIEFS if suggestions else ())])
    believed = query.to_frame()[list(BELIEFS)].to_numpy().tolist() if suggestions else [[] for _ in query]
    for index, key, beliefs in zip(query.indices, query.keys, believed, strict=True):
        known = [_shortened(value) if pd.notna(value) else "" for value in beliefs]
        writer.writerow([index, harmless(key_text(key)), "", "", *known])
    return file.getvalue()


def _shortened(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else harmless(value)
