"""Checkpoints that Lightning finds by itself, of a run that was cut off: whether and how a run resumes from one.

They are SLURM's, written before a job is queued again, and those of an `OnExceptionCheckpoint`; ``ckpt_path="last"``
and ``"hpc"`` name no file either. Lightning would take such a file in every fit and test. Here it only says where a
run stands: it is read once, where the run has no folder that says so, and the round in which it was written begins
again, so that the run ends as if nothing had cut it off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning_al.host.namespace import SLURMEnvironment, pl

_CHOOSE = "_select_ckpt_path"

_NEWEST = "_CheckpointConnector__max_ckpt_version_in_folder"

_SLURMS = re.compile(r"hpc_ckpt_(0|[1-9][0-9]*)\.ckpt")
"""The name of SLURM's checkpoints, as Lightning makes it. Lightning itself takes any name for one that has a part of
it, and fails where no number is in the rest."""

_ROUND = re.compile(r"round-([0-9]{1,9})(-[0-9a-f]{8})?(-before)?")

_MEMBER = re.compile(r"member-[0-9]{1,9}")

_UNNAMED = (None, "last", "hpc")
"""What a user passes as `ckpt_path` who names no file."""


class Choice:
    """Choose a Trainer's checkpoint in place of Lightning: in the fits of active learning only one that a user names.

    Args:
        connector: The part of the Trainer that chooses.
        is_active: A function of the Trainer that tells whether its fits are active learning.
        has_fitted: Whether the model and the data that it gets were fitted in this process.

    Attributes:
        found: The checkpoint that Lightning would have taken at the last fit, where none was named.
    """

    def __init__(self, connector: Any, is_active: Callable[[Any], bool], has_fitted: bool) -> None:
        self.connector = connector
        self.is_active = is_active
        self.has_fitted = has_fitted
        self.found: str | None = None

    def __call__(self, state_fn: Any, ckpt_path: Any, model_provided: bool, model_connected: bool) -> Any:
        """Take the place of the method of the connector."""
        trainer = self.connector.trainer
        is_named = self.connector._user_managed or ckpt_path not in _UNNAMED
        if state_fn == "fit" and self.is_active(trainer):
            self.has_fitted = True
            self.found = None
            _keep_from_writing(trainer)
            if not is_named:
                with _in_round_folders(trainer) if ckpt_path == "last" else nullcontext():
                    self.found = self._lightnings(state_fn, ckpt_path, model_provided, model_connected)
                return None
        chosen = self._lightnings(state_fn, ckpt_path, model_provided, model_connected)
        if ckpt_path is None and not is_named and self.has_fitted and chosen == self.connector._hpc_resume_path:
            # SLURM's, of the middle of a fit that has ended since: a test wants the weights of its end.
            return None if model_provided else self._lightnings(state_fn, "best", model_provided, model_connected)
        return chosen

    def newest_slurms(self, folder: Any, *key: str) -> int | None:
        """Return the number of the last of SLURM's checkpoints in a folder; what only has such a name is let be."""
        if not self._knows(folder):
            found: int | None = getattr(type(self.connector), _NEWEST)(folder, *key)
            return found
        numbers = _slurms_in(folder)
        return max((number for number, path in numbers.items() if os.path.isfile(path)), default=None)

    def path_of_next_slurms(self, folder: Any) -> str:
        """Return the path of the next one, at which there is nothing yet."""
        if not self._knows(folder):
            return str(type(self.connector).hpc_save_path(folder))
        return os.path.join(folder, f"hpc_ckpt_{max(_slurms_in(folder), default=0) + 1}.ckpt")

    def _knows(self, folder: Any) -> bool:
        return self.is_active(self.connector.trainer) and "://" not in str(folder)

    def _lightnings(self, *arguments: Any) -> Any:
        return getattr(type(self.connector), _CHOOSE)(self.connector, *arguments)


def watch(trainer: pl.Trainer, is_active: Callable[[Any], bool], has_fitted: bool) -> None:
    """Let a `Choice` choose the Trainer's checkpoints, unless one does."""
    connector = _connector(trainer)
    if _CHOOSE not in vars(connector):
        choice = Choice(connector, is_active, has_fitted)
        vars(connector).update(
            {_CHOOSE: choice, _NEWEST: choice.newest_slurms, "hpc_save_path": choice.path_of_next_slurms}
        )


@contextmanager
def from_no_checkpoint(trainer: pl.Trainer) -> Iterator[None]:
    """Keep Lightning from taking any checkpoint, be it one that it finds or one that the user set as its `ckpt_path`.

    Raises:
        RuntimeError: If this Lightning chooses checkpoints in another way.
    """
    chooser = vars(_connector(trainer))
    before = chooser.get(_CHOOSE)
    chooser[_CHOOSE] = _no_checkpoint
    try:
        yield
    finally:
        chooser.pop(_CHOOSE, None)
        if before is not None:
            chooser[_CHOOSE] = before


def found_by_lightning(trainer: pl.Trainer) -> str | None:
    """Return the checkpoint that Lightning found for the fit under way where the user named none, on every rank."""
    choice = vars(_connector(trainer)).get(_CHOOSE)
    path = str(choice.found) if isinstance(choice, Choice) and choice.found is not None else None
    return trainer.strategy.broadcast(path)


def is_slurms(path: str) -> bool:
    """Return whether a found checkpoint is SLURM's. Nobody removes it, as an `OnExceptionCheckpoint` does its own."""
    return _SLURMS.fullmatch(Path(path).name) is not None


def let_write(trainer: pl.Trainer) -> None:
    """Let `OnExceptionCheckpoint` write, once what it writes holds all that a checkpoint from before does."""
    for callback in _on_exception_checkpoints(trainer):
        vars(callback).pop("on_exception", None)


def to_be_found(trainer: pl.Trainer) -> str | None:
    """Return the checkpoint from which a program that is started again would resume, where there is one."""
    paths = [callback.ckpt_path for callback in _on_exception_checkpoints(trainer)]
    if SLURMEnvironment.detect():
        paths.append(_connector(trainer)._hpc_resume_path)
    return next((path for path in paths if path is not None and Path(path).exists()), None)


def _slurms_in(folder: Any) -> dict[int, str]:
    """Return what has the name of one of SLURM's checkpoints in a folder, by the number in it."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    return {int(found[1]): os.path.join(folder, found[0]) for found in map(_SLURMS.fullmatch, names) if found}


def _connector(trainer: Any) -> Any:
    connector = trainer._checkpoint_connector
    if not hasattr(connector, _CHOOSE):
        raise RuntimeError(
            "lightning_al works with Lightning 2.4 to 2.6, whose Trainers choose a checkpoint by "
            "`_checkpoint_connector._select_ckpt_path`, but this Lightning has none. Use one of these."
        )
    return connector


def _no_checkpoint(*_: Any, **__: Any) -> None:
    """Choose no checkpoint, and write none."""


def _keep_from_writing(trainer: Any) -> None:
    """Keep `OnExceptionCheckpoint` from writing over a checkpoint that was not read yet, where a setup fails."""
    for callback in _on_exception_checkpoints(trainer):
        vars(callback)["on_exception"] = _no_checkpoint


def _on_exception_checkpoints(trainer: Any) -> list[pl.callbacks.OnExceptionCheckpoint]:
    return [callback for callback in trainer.callbacks if isinstance(callback, pl.callbacks.OnExceptionCheckpoint)]


@contextmanager
def _in_round_folders(trainer: Any) -> Iterator[None]:
    """Let Lightning look for the last checkpoint in the newest round's folder, where `RoundCheckpoints` has it."""
    callbacks: list[Any] = [one for one in trainer.callbacks if isinstance(one, pl.callbacks.ModelCheckpoint)]
    before = [(callback, callback.dirpath) for callback in callbacks]
    try:
        for callback, dirpath in before:
            folder = callback._ModelCheckpoint__resolve_ckpt_dir(trainer)
            for newest in _newest_first(Path(folder)):
                callback.dirpath = str(newest)
                if callback._find_last_checkpoints(trainer):
                    break
            else:
                callback.dirpath = dirpath
        yield
    finally:
        for callback, dirpath in before:
            callback.dirpath = dirpath


def _newest_first(place: Path) -> Iterator[Path]:
    """Yield the folders of rounds, and before each those of its fits where it has several, from the newest on."""
    for folder in sorted(place.glob("round-*"), key=_age):
        numbers = {path: _MEMBER.fullmatch(path.name) for path in folder.glob("member-*")}
        yield from sorted((path for path in numbers if numbers[path]), key=lambda path: -int(path.name[7:]))
        yield folder


def _age(folder: Path) -> tuple[int, bool]:
    """Sort the folders of rounds from the newest to the oldest, what was set aside of a round after its newest."""
    name = _ROUND.fullmatch(folder.name)
    return (1, True) if name is None else (-int(name[1]), name[3] is not None)
