"""The header of a run: what it was begun with, by the list of what changes picks or weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lightning_al.data.datamodule import ActiveDataModule, arguments_of
from lightning_al.data.fingerprint import fingerprint
from lightning_al.data.scale import Scale
from lightning_al.rounds.arguments import Arguments
from lightning_al.run.config import UnknownStateError, config_of
from lightning_al.run.identity import OF_ACTIVE_LEARNING, OF_DATA, Free, Recorded
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.qualified_name import qualified_name

AS_TEXT = ("acquisition", "posterior", "last_layer", "reset")
"""What a header also has as text: for people, and for folders of 0.1.0, which have nothing else."""


class Header:
    """Makes the header of a run, of each object as it was when it was first seen: some count or keep what they did."""

    def __init__(self) -> None:
        self._seen: list[tuple[Any, Callable[[Any], Any], Any]] = []

    def of(self, active: Arguments, data: ActiveDataModule) -> dict[str, Any]:
        """Return what a run started again must have in common with one that is there, as plain data.

        Raises:
            ValueError: If a folder is given and what is recorded of an argument cannot be read from it.
        """
        is_kept = active.folder is not None
        header: dict[str, Any] = {}
        for name, argument in OF_ACTIVE_LEARNING.items():
            if isinstance(argument, Recorded):
                self._add(header, name, getattr(active, name), "ActiveLearning", is_kept)
        if "posterior" in header:  # a class may say it for all of its objects
            header["posterior"] = {**header["posterior"], "num_fits": active.posterior.num_fits}
        header["datamodule"] = {}
        for name, thing in arguments_of(data).items():
            read = READ_BY.get(name, config_of)
            self._add(header["datamodule"], name, thing, "ActiveDataModule", is_kept, read)
        return {
            **header,
            "data": data.fingerprint,
            "initial": data.pool.initial,
            **({"audit": list(data.pool.audit.drawn)} if data.pool.audit.drawn else {}),
            "classes": data.training_points.classes.to_dict(),
            "text": {name: self._first(getattr(active, name), text_of) for name in AS_TEXT},
        }

    def _add(
        self,
        header: dict[str, Any],
        name: str,
        thing: Any,
        who: str,
        is_kept: bool,
        read: Callable[[Any], Any] = config_of,
    ) -> None:
        try:
            header[name] = self._first(thing, read)
        except UnknownStateError as error:
            if is_kept:
                raise ValueError(
                    f"`{who}({name}=...)` cannot be recorded in the run folder, so that a run started again with "
                    f"another one would not be noticed: {error}. Define `config(self)` in "
                    f"`{type(thing).__name__}`, which returns its options as a dict of plain data, or leave "
                    "`folder=` out."
                ) from error

    def _first(self, thing: Any, read: Callable[[Any], Any]) -> Any:
        if isinstance(thing, str | int | float | None) or callable(getattr(type(thing), "config", None)):
            return read(thing)
        for seen, by, found in self._seen:
            if seen is thing and by is read:
                return found
        found = read(thing)
        self._seen.append((thing, read, found))
        return found


def on_every_rank(active: Arguments, data: ActiveDataModule) -> dict[str, Any]:
    """Return those arguments that all ranks must have the same, though a run may have others when it resumes."""

    def shared(thing: Any, arguments: Any) -> dict[str, Any]:
        named = [name for name, one in arguments.items() if isinstance(one, Free) and one.on_every_rank]
        return {name: getattr(thing, name) for name in named}

    return {**shared(active, OF_ACTIVE_LEARNING), **shared(data, OF_DATA)}


def text_of(thing: Any) -> str:
    """Say what an object is by its repr, or by its class where the repr is only an address; a function by its name."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, partial) or hasattr(thing, "__qualname__"):
        return qualified_name(thing)
    shown = repr(thing)
    return f"{type(thing).__module__}.{type(thing).__qualname__}" if " at 0x" in shown else shown


def _contents(dataset: Any) -> Any:
    """Return what is known of a dataset that is only read, or its class where its items have no places."""
    try:
        with seeded(derive(0, "fingerprint of validation data")):
            found = fingerprint(len(dataset), lambda place: None, dataset.__getitem__)
    except Exception:  # whatever an item that cannot be read may raise: validation will say it
        return None if dataset is None else {"class": f"{type(dataset).__module__}.{type(dataset).__qualname__}"}
    return {name: found[name] for name in ("length", "form", "contents")}


READ_BY: Mapping[str, Callable[[Any], Any]] = {"val": _contents, "scale": Scale.to_plain}
"""How arguments are recorded that are more than options."""
