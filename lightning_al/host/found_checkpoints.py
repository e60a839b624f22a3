"""Checkpoints that Lightning finds by itself after a run was interrupted: whether and how the run resumes from one.

These are SLURM's, which Lightning writes before a job is requeued, and those of an `OnExceptionCheckpoint`. Lightning
also finds one for ``ckpt_path="last"`` and ``"hpc"``, which name no file. It would load such a checkpoint in every fit
and test. Active learning uses it only to see where a run without a folder stands: it is read once, and the round in
which it was written starts again. So the run ends as if it had not been interrupted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning_al.host.lightning_names import (
    CHECKPOINT_FOLDER,
    EXCEPTION_CHECKPOINT,
    IS_USERS_CHECKPOINT,
    LAST_CHECKPOINTS,
    NEWEST_SLURM_CHECKPOINT,
    NEXT_SLURM_CHECKPOINT,
    SELECT_CHECKPOINT,
    SLURM_CHECKPOINT,
)
from lightning_al.host.namespace import SLURMEnvironment, pl
from lightning_al.host.trainer import callbacks_of

_SLURMS = re.compile(r"hpc_ckpt_(0|[1-9][0-9]*)\.ckpt")
"""The names of SLURM's checkpoints. Lightning takes any file whose name has a part of this, and fails without a
number in the rest."""

_ROUND = re.compile(r"round-([0-9]{1,9})(-[0-9a-f]{8})?(-before)?")

_MEMBER = re.compile(r"member-[0-9]{1,9}")

_UNNAMED = (None, "last", "hpc")
"""Values of `ckpt_path` that name no file."""


class CheckpointChoice:
    """Choose a Trainer's checkpoint instead of Lightning. A fit of active learning loads only one that the user names.

    Args:
        trainer: The Trainer.
        is_active: A function of the Trainer that tells whether its fits are active learning.
        has_fitted: Whether the model and its data were fitted in this process.

    Attributes:
        found: The checkpoint that Lightning would have loaded in the last fit, if the user named none.
    """

    def __init__(self, trainer: pl.Trainer, is_active: Callable[[pl.Trainer], bool], has_fitted: bool) -> None:
        self.trainer = trainer
        self.is_active = is_active
        self.has_fitted = has_fitted
        self.found: str | None = None

    def __call__(self, state_fn: Any, ckpt_path: Any, model_provided: bool, model_connected: bool) -> Any:
        """Choose the checkpoint of a fit, a test or a prediction."""
        by_lightning = SELECT_CHECKPOINT.original(self.trainer)
        is_named = IS_USERS_CHECKPOINT.of(self.trainer) or ckpt_path not in _UNNAMED
        if state_fn == "fit" and self.is_active(self.trainer):
            self.has_fitted = True
            self.found = None
            _keep_from_writing(self.trainer)
            if not is_named:
                with _in_round_folders(self.trainer) if ckpt_path == "last" else nullcontext():
                    self.found = by_lightning(state_fn, ckpt_path, model_provided, model_connected)
                return None
        chosen = by_lightning(state_fn, ckpt_path, model_provided, model_connected)
        if ckpt_path is None and not is_named and self.has_fitted and chosen == SLURM_CHECKPOINT.of(self.trainer):
            # SLURM's checkpoint is from the middle of a fit that has ended since. A test wants the final weights.
            return None if model_provided else by_lightning(state_fn, "best", model_provided, model_connected)
        return chosen

    def newest_slurms(self, folder: Any, *key: str) -> int | None:
        """Return the number of SLURM's last checkpoint in a folder, and ignore files with only a similar name."""
        if not self._is_ours(folder):
            found: int | None = NEWEST_SLURM_CHECKPOINT.original(self.trainer)(folder, *key)
            return found
        numbers = _slurms_in(folder)
        return max((number for number, path in numbers.items() if os.path.isfile(path)), default=None)

    def path_of_next_slurms(self, folder: Any) -> str:
        """Return a path for SLURM's next checkpoint at which nothing exists yet."""
        if not self._is_ours(folder):
            return str(NEXT_SLURM_CHECKPOINT.original(self.trainer)(folder))
        return os.path.join(folder, f"hpc_ckpt_{max(_slurms_in(folder), default=0) + 1}.ckpt")

    def _is_ours(self, folder: Any) -> bool:
        return self.is_active(self.trainer) and "://" not in str(folder)


def choose_checkpoints(trainer: pl.Trainer, is_active: Callable[[pl.Trainer], bool], has_fitted: bool) -> None:
    """Let a `CheckpointChoice` choose the Trainer's checkpoints, unless one does already, or none is to be chosen."""
    chooses = SELECT_CHECKPOINT.of(trainer)
    if chooses is not _do_nothing and not isinstance(chooses, CheckpointChoice):
        choice = CheckpointChoice(trainer, is_active, has_fitted)
        SELECT_CHECKPOINT.set(trainer, choice)
        NEWEST_SLURM_CHECKPOINT.set(trainer, choice.newest_slurms)
        NEXT_SLURM_CHECKPOINT.set(trainer, choice.path_of_next_slurms)


@contextmanager
def from_no_checkpoint(trainer: pl.Trainer) -> Iterator[None]:
    """Keep Lightning from loading any checkpoint, both one that it finds and one that the user set as `ckpt_path`."""
    with SELECT_CHECKPOINT.replaced(trainer, _do_nothing):
        yield


def found_by_lightning(trainer: pl.Trainer) -> str | None:
    """Return the checkpoint that Lightning found for the current fit, the same on every rank.

    It is None if the user named one.
    """
    choice = SELECT_CHECKPOINT.of(trainer)
    path = str(choice.found) if isinstance(choice, CheckpointChoice) and choice.found is not None else None
    return trainer.strategy.broadcast(path)


def is_slurms(path: str) -> bool:
    """Return whether a found checkpoint is SLURM's. Nobody removes it, as an `OnExceptionCheckpoint` does its own."""
    return _SLURMS.fullmatch(Path(path).name) is not None


def let_write(trainer: pl.Trainer) -> None:
    """Let `OnExceptionCheckpoint` write again, once the run has read the checkpoint from before."""
    for callback in _on_exception_checkpoints(trainer):
        vars(callback).pop("on_exception", None)


def to_be_found(trainer: pl.Trainer) -> str | None:
    """Return the checkpoint from which a program that starts again would resume, or None if there is none."""
    paths = [EXCEPTION_CHECKPOINT.of(callback) for callback in _on_exception_checkpoints(trainer)]
    if SLURMEnvironment.detect():
        paths.append(SLURM_CHECKPOINT.of(trainer))
    return next((path for path in paths if path is not None and Path(path).exists()), None)


def _slurms_in(folder: Any) -> dict[int, str]:
    """Map numbers to the paths in a folder that are named like SLURM's checkpoints."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    return {int(found[1]): os.path.join(folder, found[0]) for found in map(_SLURMS.fullmatch, names) if found}


def _do_nothing(*_: Any, **__: Any) -> None:
    """Choose no checkpoint, or write none."""


def _keep_from_writing(trainer: pl.Trainer) -> None:
    """Keep `OnExceptionCheckpoint` from overwriting a checkpoint that was not read yet, if a setup fails."""
    for callback in _on_exception_checkpoints(trainer):
        vars(callback)["on_exception"] = _do_nothing


def _on_exception_checkpoints(trainer: pl.Trainer) -> list[pl.callbacks.OnExceptionCheckpoint]:
    return [one for one in callbacks_of(trainer) if isinstance(one, pl.callbacks.OnExceptionCheckpoint)]


@contextmanager
def _in_round_folders(trainer: pl.Trainer) -> Iterator[None]:
    """Let Lightning look for the last checkpoint in the newest round's folder, where `RoundCheckpoints` puts it."""
    callbacks: list[Any] = [one for one in callbacks_of(trainer) if isinstance(one, pl.callbacks.ModelCheckpoint)]
    before = [(callback, callback.dirpath) for callback in callbacks]
    try:
        for callback, dirpath in before:
            folder = CHECKPOINT_FOLDER.of(callback)(trainer)
            for newest in _newest_first(Path(folder)):
                callback.dirpath = str(newest)
                if LAST_CHECKPOINTS.of(callback)(trainer):
                    break
            else:
                callback.dirpath = dirpath
        yield
    finally:
        for callback, dirpath in before:
            callback.dirpath = dirpath


def _newest_first(place: Path) -> Iterator[Path]:
    """Yield the folders of rounds from the newest to the oldest, each after those of its fits, if it has several."""
    for folder in sorted(place.glob("round-*"), key=by_age):
        numbers = {path: _MEMBER.fullmatch(path.name) for path in folder.glob("member-*")}
        yield from sorted((path for path in numbers if numbers[path]), key=lambda path: -int(path.name[7:]))
        yield folder


def by_age(folder: Path) -> tuple[int, bool]:
    """Return a key that sorts folders of rounds from the newest to the oldest, then all others.

    The folder that a restarted round set aside comes after the round's new one.

    >>> sorted([Path("round-2-before"), Path("round-10"), Path("round-2")], key=by_age)[0].name
    'round-10'
    """
    name = _ROUND.fullmatch(folder.name)
    return (1, True) if name is None else (-int(name[1]), name[3] is not None)
