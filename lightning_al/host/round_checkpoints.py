"""The checkpoints of each round in a folder of its own, which a mark in it names as this run's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning_al.host.callback_states import ByCallback
from lightning_al.host.namespace import pl, rank_zero_info, rank_zero_warn
from lightning_al.host.ranks import from_first_rank, on_each_rank, on_first_rank
from lightning_al.host.trainer import callbacks_of
from lightning_al.run.files import kind_of, read_json, replacing, sync
from lightning_al.run.inert import read_checkpoint

MARK = ".lightning_al.json"
"""The file in a round's folder that says which round of which run made it."""

_NAME = re.compile(r"round-(?P<number>\d{1,9})(-[0-9a-f]{8})?(?P<aside>-before)?")


class RoundCheckpoints:
    """Give each round's checkpoints a folder of their own, and remove the others once a round has whole ones.

    A folder is this run's where a mark in it has the run's id. No other is ever written to or removed: where a round's
    name is taken, by another run or by anything else, the round takes a name that ends in the run's id.

    Args:
        keep_all: Remove none but those of a fit that was begun again.
    """

    def __init__(self, keep_all: bool) -> None:
        self.keep_all = keep_all
        self._run_id: str | None = None
        self._places: ByCallback[str] = ByCallback()
        self._all_places: set[str] = set()
        self._told = False

    @property
    def run_id(self) -> str | None:
        """By what the run's folders are known, the same on all ranks; None until the run has begun."""
        return self._run_id

    @run_id.setter
    def run_id(self, given: str | None) -> None:
        self._run_id = None if given is None else _harmless(str(given))

    def name_run(self, trainer: pl.Trainer) -> None:
        """Give the run an id, where it has none yet."""
        if self.run_id is None:
            self.run_id = str(trainer.strategy.broadcast(secrets.token_hex(16)))

    def expect(self, trainer: pl.Trainer, number: int, run_id: str | None = None, *, member: int | None = None) -> None:
        """Name to every ModelCheckpoint the folder that the round has or would have; nothing is made.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            run_id: Id of the run whose checkpoint is loaded, where it may be another.
            member: Which fit of the round writes there, where it has several.
        """
        known = _harmless(str(run_id)) if run_id else self.run_id

        def name() -> None:
            for checkpoint, place in self._checkpoints_in_places(trainer):
                folder = _choose(place, number, known) if known else f"{place}/round-{number}"
                checkpoint.dirpath = _of_member(folder, member)

        on_each_rank(trainer, name)

    def begin(self, trainer: pl.Trainer, number: int, *, again: bool = False, member: int | None = None) -> None:
        """Make the round's folder, and let every ModelCheckpoint of the Trainer write there.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            again: Whether the round was begun before. Its checkpoints of then are set aside until there are new ones.
            member: Which fit of the round is to write there, where it has several: each has a folder in the round's.
        """
        self.name_run(trainer)
        assert self.run_id is not None
        run_id, found = self.run_id, list(self._checkpoints_in_places(trainer))

        def claim() -> dict[str, str]:
            for place in sorted(self._all_places):
                if again:
                    self._set_aside(place, number, member or 0)
            return {place: _claim(place, number, run_id) for place in sorted(self._all_places)}

        chosen = from_first_rank(trainer, claim)

        def take() -> None:
            for checkpoint, place in found:
                folder = chosen[place] if place in chosen else _choose(place, number, run_id)
                checkpoint.dirpath = _of_member(folder, member)

        on_each_rank(trainer, take)

    def finish(self, trainer: pl.Trainer, number: int) -> None:
        """Remove the run's folders of other rounds, once this one's checkpoints are on disk and can be loaded."""
        trainer.strategy.barrier("lightning_al: checkpoints")
        on_first_rank(trainer, lambda: self._remove_superseded(number))

    def _remove_superseded(self, number: int) -> None:
        if self.run_id is None:
            return
        for place in filter(_is_local, self._all_places):
            self._tell_of_unmarked(place)
            newest = Path(_choose(place, number, self.run_id))
            others = [other for other in _folders_of(place, self.run_id) if other != newest]
            others += sorted(newest.glob("member-*-before"))
            superseded = [other for other in others if not self.keep_all or other.name.endswith("-before")]
            if superseded and _are_whole(newest):
                for other in superseded:
                    shutil.rmtree(other)
            for other in others:
                if other.exists() and _is_empty(other):
                    shutil.rmtree(other)

    def adopt(self, trainer: pl.Trainer, number: int, states: object) -> None:
        """Mark the folder of a round whose checkpoint, which is being loaded, was written before there were marks.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            states: The callbacks' states in the checkpoint, of which a ModelCheckpoint's names its folder.
        """
        self.name_run(trainer)
        assert self.run_id is not None
        run_id = self.run_id
        of_callbacks = states.values() if isinstance(states, dict) else ()
        named = {state.get("dirpath") for state in of_callbacks if isinstance(state, dict)}

        def mark() -> None:
            for _, place in self._checkpoints_in_places(trainer):
                folder = Path(place, f"round-{number}")
                if str(folder) in named and _is_unmarked(folder):
                    _mark(folder, number, run_id)

        on_first_rank(trainer, mark)

    @staticmethod
    def best(trainer: pl.Trainer) -> pl.callbacks.ModelCheckpoint | None:
        """Return the first ModelCheckpoint that monitors a metric and has saved a best one."""
        for checkpoint in _checkpoints(trainer):
            if checkpoint.monitor is not None and checkpoint.best_model_path:
                return checkpoint
        return None

    def _checkpoints_in_places(self, trainer: pl.Trainer) -> Iterator[tuple[pl.callbacks.ModelCheckpoint, str]]:
        """Yield each ModelCheckpoint that has a place, with the folder that the user gave it or Lightning found."""
        for checkpoint in _checkpoints(trainer):
            if checkpoint.dirpath is not None:
                given = str(checkpoint.dirpath).rstrip("/") or "/"
                # A relative one is of the current directory now, wherever the program goes later.
                place = self._places.setdefault(checkpoint, os.path.abspath(given) if _is_local(given) else given)
                self._all_places.add(place)
                yield checkpoint, place

    def _set_aside(self, place: str, number: int, member: int) -> None:
        assert self.run_id is not None
        newest = Path(_choose(place, number, self.run_id))
        if not _is_local(place) or not _is_ours(newest, self.run_id):
            return
        if member > 0:  # the fits of the round before this one were not begun again
            _set_member_aside(newest / f"member-{member}")
            return
        own = f"round-{number}-{self.run_id[:8]}-before"
        aside = [newest.with_name(f"{newest.name}-before"), newest.with_name(own)]
        free = [folder for folder in aside if not os.path.lexists(folder)]
        if _is_empty(newest) or any(_is_ours(folder, self.run_id) for folder in aside):
            # A fit that was cut off twice: those set aside first may be the only whole ones.
            shutil.rmtree(newest)
        elif free:
            newest.rename(free[0])

    def _tell_of_unmarked(self, place: str) -> None:
        """Say once where folders lie that a version without marks left, and that they are left alone."""
        unmarked = [folder.name for folder in _rounds_in(place) if _is_unmarked(folder)]
        if unmarked and not self._told:
            self._told = True
            rank_zero_info(
                f"{place} has {', '.join(unmarked[:5])} without the mark of a run. `ActiveLearning` leaves what "
                "it did not make alone; remove it yourself where it is of an older version's run."
            )


def _checkpoints(trainer: pl.Trainer) -> list[pl.callbacks.ModelCheckpoint]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelCheckpoint)]


def _of_member(folder: str, member: int | None) -> str:
    """Return the folder of one of a round's fits, which the first checkpoint makes."""
    return folder if member is None else f"{folder}/member-{member}"


def _set_member_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}-before")
    if kind_of(folder) != "a folder":
        return
    if not os.listdir(folder) or os.path.lexists(aside):
        shutil.rmtree(folder)  # a fit that was cut off twice
    else:
        folder.rename(aside)


def _harmless(run_id: str) -> str:
    """Return an id that can stand in a path, as each does that `name_run` gave."""
    return run_id if re.fullmatch("[0-9a-f]{32,64}", run_id) else hashlib.sha256(run_id.encode()).hexdigest()


def _is_local(place: str) -> bool:
    """Return whether a place is a folder here. At an address, such as ``s3://bucket``, nothing is ever removed."""
    return "://" not in place


def _choose(place: str, number: int, run_id: str) -> str:
    """Return the path of the round's folder: the one it has, or the first of two names that nothing has."""
    own = f"{place}/round-{number}-{run_id[:8]}"
    if not _is_local(place):
        return own
    names = [str(Path(place, f"round-{number}")), str(Path(own))]
    ours = [name for name in names if _is_ours(Path(name), run_id)]
    free = [name for name in names if not os.path.lexists(name)]
    if not ours and not free:
        raise ValueError(
            f"`ModelCheckpoint` is to write the checkpoints of round {number} to {names[1]}, but something else has "
            "that name. Remove it, or choose another `dirpath`."
        )
    return (ours or free)[0]


def _claim(place: str, number: int, run_id: str) -> str:
    """Make the round's folder with the mark in it, where it is not there yet, and return its path."""
    if not _is_local(place):
        return _choose(place, number, run_id)
    # It is marked before it has its name, so that a process that is killed leaves none without a mark.
    draft = Path(place, f".round-{number}-{run_id}")
    shutil.rmtree(draft, ignore_errors=True)
    for _ in range(2):  # another run may take the name first
        path = Path(_choose(place, number, run_id))
        if _is_ours(path, run_id):
            break
        draft.mkdir(parents=True, exist_ok=True)
        _mark(draft, number, run_id)
        try:
            draft.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise
    shutil.rmtree(draft, ignore_errors=True)
    return str(path)


def _mark(folder: Path, number: int, run_id: str) -> None:
    with replacing(folder / MARK) as path:
        path.write_text(json.dumps({"run": run_id, "round": number}) + "\n")


def _mark_of(folder: Path) -> dict[str, object]:
    """Read a folder's mark; it is empty where there is none that can be read."""
    if kind_of(folder) != "a folder":
        return {}
    try:
        mark = read_json(folder / MARK)
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _is_ours(folder: Path, run_id: str) -> bool:
    """Return whether the run made the folder under this name: a copy of it under another is the user's."""
    name = _NAME.fullmatch(folder.name)
    return name is not None and _mark_of(folder) == {"run": run_id, "round": int(name["number"])}


def _folders_of(place: str, run_id: str) -> list[Path]:
    return [folder for folder in _rounds_in(place) if _is_ours(folder, run_id)]


def _rounds_in(place: str) -> list[Path]:
    """Return what is named as a round's folder is, whoever made it."""
    try:
        names = os.listdir(place)
    except OSError:
        return []
    return [Path(place, name) for name in sorted(names) if _NAME.fullmatch(name)]


def _is_unmarked(folder: Path) -> bool:
    return kind_of(folder) == "a folder" and not os.path.lexists(folder / MARK)


def _is_empty(folder: Path) -> bool:
    return os.listdir(folder) == [MARK]


def _are_whole(folder: Path) -> bool:
    """Bring a folder's checkpoints to disk, and return whether there are any and all can be loaded; warn of others."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    for path in paths:
        try:
            sync(path)
            read_checkpoint(path)
        except Exception as error:  # what loading a damaged file raises depends on where the damage is
            reason = " ".join(str(error).split())[:100]
            rank_zero_warn(
                f"The checkpoint {path} cannot be loaded ({type(error).__name__}: {reason}). "
                "The checkpoints of the rounds before are kept. Check that the disk has room."
            )
            return False
    for parent in sorted({folder, *(path.parent for path in paths)} if paths else ()):
        sync(parent)
    return len(paths) > 0
