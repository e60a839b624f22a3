"""The checkpoints of each round in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning_al.host.callback_states import ByCallback
from lightning_al.host.namespace import pl, rank_zero_info
from lightning_al.host.ranks import from_first_rank, on_each_rank, on_first_rank
from lightning_al.host.round_folder import (
    are_whole,
    folder_of,
    folders_of,
    is_empty,
    is_local,
    is_ours,
    is_unmarked,
    make_folder,
    mark_folder,
    rounds_in,
    safe_id,
)
from lightning_al.host.trainer import callbacks_of
from lightning_al.run.files import kind_of


class RoundCheckpoints:
    """Give each round's checkpoints a folder of their own, and remove older ones once a round's are complete.

    A mark in a folder has the id of its run. Other folders are never written to or removed: if another run, or anything
    else, has taken the name of a round, the name of the new folder ends in the run's id.

    Args:
        keep_all: Keep the checkpoints of all rounds, and remove only those of fits that started again.
    """

    def __init__(self, keep_all: bool) -> None:
        self.keep_all = keep_all
        self._run_id: str | None = None
        self._places: ByCallback[str] = ByCallback()
        self._all_places: set[str] = set()
        self._told = False

    @property
    def run_id(self) -> str | None:
        """The id in the marks of the run's folders, the same on all ranks. It is None until the run starts."""
        return self._run_id

    @run_id.setter
    def run_id(self, given: str | None) -> None:
        self._run_id = None if given is None else safe_id(str(given))

    def name_run(self, trainer: pl.Trainer) -> None:
        """Give the run an id, unless it has one."""
        if self.run_id is None:
            self.run_id = str(trainer.strategy.broadcast(secrets.token_hex(16)))

    def expect(self, trainer: pl.Trainer, number: int, run_id: str | None = None, *, member: int | None = None) -> None:
        """Set the folder of every ModelCheckpoint to the one that the round has or would have, without making it.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            run_id: The id of the run whose checkpoint is being loaded, if it may be another run.
            member: The number of the fit, if the round has several.
        """
        known = safe_id(str(run_id)) if run_id else self.run_id

        def name() -> None:
            for checkpoint, place in self._checkpoints_in_places(trainer):
                folder = folder_of(place, number, known) if known else f"{place}/round-{number}"
                checkpoint.dirpath = _of_member(folder, member)

        on_each_rank(trainer, name)

    def begin(self, trainer: pl.Trainer, number: int, *, again: bool = False, member: int | None = None) -> None:
        """Make the round's folder, and let every ModelCheckpoint of the Trainer write to it.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            again: Whether the round starts again. Its old checkpoints are set aside until there are new ones.
            member: The number of the fit, if the round has several. Each has a folder in the round's.
        """
        self.name_run(trainer)
        assert self.run_id is not None
        run_id, found = self.run_id, list(self._checkpoints_in_places(trainer))

        def claim() -> dict[str, str]:
            for place in sorted(self._all_places):
                if again:
                    self._set_aside(place, number, member or 0)
            return {place: make_folder(place, number, run_id) for place in sorted(self._all_places)}

        chosen = from_first_rank(trainer, claim)

        def take() -> None:
            for checkpoint, place in found:
                folder = chosen[place] if place in chosen else folder_of(place, number, run_id)
                checkpoint.dirpath = _of_member(folder, member)

        on_each_rank(trainer, take)

    def finish(self, trainer: pl.Trainer, number: int) -> None:
        """Remove the run's folders of other rounds, once this one's checkpoints are on disk and can be loaded."""
        trainer.strategy.barrier("lightning_al: checkpoints")
        on_first_rank(trainer, lambda: self._remove_superseded(number))

    def _remove_superseded(self, number: int) -> None:
        if self.run_id is None:
            return
        for place in filter(is_local, self._all_places):
            self._tell_of_unmarked(place)
            newest = Path(folder_of(place, number, self.run_id))
            others = [other for other in folders_of(place, self.run_id) if other != newest]
            others += sorted(newest.glob("member-*-before"))
            superseded = [other for other in others if not self.keep_all or other.name.endswith("-before")]
            if superseded and are_whole(newest):
                for other in superseded:
                    shutil.rmtree(other)
            for other in others:
                if other.exists() and is_empty(other):
                    shutil.rmtree(other)

    def adopt(self, trainer: pl.Trainer, number: int, states: object) -> None:
        """Mark the folder of a checkpoint that is being loaded and that a version without marks wrote.

        Args:
            trainer: The Trainer.
            number: Number of the round.
            states: The callbacks' states in the checkpoint. The state of a ModelCheckpoint names its folder.
        """
        self.name_run(trainer)
        assert self.run_id is not None
        run_id = self.run_id
        of_callbacks = states.values() if isinstance(states, dict) else ()
        named = {state.get("dirpath") for state in of_callbacks if isinstance(state, dict)}

        def mark() -> None:
            for _, place in self._checkpoints_in_places(trainer):
                folder = Path(place, f"round-{number}")
                if str(folder) in named and is_unmarked(folder):
                    mark_folder(folder, number, run_id)

        on_first_rank(trainer, mark)

    @staticmethod
    def best(trainer: pl.Trainer) -> pl.callbacks.ModelCheckpoint | None:
        """Return the first ModelCheckpoint that monitors a metric and has saved a best one."""
        for checkpoint in _checkpoints(trainer):
            if checkpoint.monitor is not None and checkpoint.best_model_path:
                return checkpoint
        return None

    def _checkpoints_in_places(self, trainer: pl.Trainer) -> Iterator[tuple[pl.callbacks.ModelCheckpoint, str]]:
        """Yield each ModelCheckpoint that has a folder, with the one that the user gave it or Lightning chose."""
        for checkpoint in _checkpoints(trainer):
            if checkpoint.dirpath is not None:
                given = str(checkpoint.dirpath).rstrip("/") or "/"
                # A relative path counts from the current directory of now, even if that changes later.
                place = self._places.setdefault(checkpoint, os.path.abspath(given) if is_local(given) else given)
                self._all_places.add(place)
                yield checkpoint, place

    def _set_aside(self, place: str, number: int, member: int) -> None:
        assert self.run_id is not None
        newest = Path(folder_of(place, number, self.run_id))
        if not is_local(place) or not is_ours(newest, self.run_id):
            return
        if member > 0:  # only this fit starts again
            _set_member_aside(newest / f"member-{member}")
            return
        own = f"round-{number}-{self.run_id[:8]}-before"
        aside = [newest.with_name(f"{newest.name}-before"), newest.with_name(own)]
        free = [folder for folder in aside if not os.path.lexists(folder)]
        if is_empty(newest) or any(is_ours(folder, self.run_id) for folder in aside):
            # A fit was interrupted twice. Of its checkpoints, only the first that were set aside may be complete.
            shutil.rmtree(newest)
        elif free:
            newest.rename(free[0])

    def _tell_of_unmarked(self, place: str) -> None:
        """Tell once which folders a version without marks has left, and that they stay."""
        unmarked = [folder.name for folder in rounds_in(place) if is_unmarked(folder)]
        if unmarked and not self._told:
            self._told = True
            rank_zero_info(
                f"{place} has {', '.join(unmarked[:5])} without the mark of a run. `ActiveLearning` does not remove "
                "folders that it did not make. Remove them yourself if an older version made them."
            )


def _checkpoints(trainer: pl.Trainer) -> list[pl.callbacks.ModelCheckpoint]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelCheckpoint)]


def _of_member(folder: str, member: int | None) -> str:
    """Return the folder of one of a round's fits, which its first checkpoint makes."""
    return folder if member is None else f"{folder}/member-{member}"


def _set_member_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}-before")
    if kind_of(folder) != "a folder":
        return
    if not os.listdir(folder) or os.path.lexists(aside):
        shutil.rmtree(folder)  # the fit was interrupted twice
    else:
        folder.rename(aside)
