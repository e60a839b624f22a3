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
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning_al._lightning import SLURMEnvironment, pl

_CHOOSE = "_select_ckpt_path"

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

    def _lightnings(self, *arguments: Any) -> Any:
        if SLURMEnvironment.detect() or "hpc" in arguments:
            _check_names(str(self.connector.trainer.default_root_dir))
        return getattr(type(self.connector), _CHOOSE)(self.connector, *arguments)


def watch(trainer: pl.Trainer, is_active: Callable[[Any], bool], has_fitted: bool) -> None:
    """Let a `Choice` choose the Trainer's checkpoints, unless one does."""
    connector = _connector(trainer)
    vars(connector).setdefault(_CHOOSE, Choice(connector, is_active, has_fitted))


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
    return re.fullmatch(r"hpc_ckpt_\d+\.ckpt", Path(path).name) is not None


def let_write(trainer: pl.Trainer) -> None:
    """Let `OnExceptionCheckpoint` write, once what it writes holds all that a checkpoint from before does."""
    for callback in _on_exception_checkpoints(trainer):
        vars(callback).pop("on_exception", None)


def to_be_found(trainer: pl.Trainer) -> str | None:
    """Return the checkpoint from which a program that is started again would resume, where there is one."""
    paths = [callback.ckpt_path for callback in _on_exception_checkpoints(trainer)]
    if SLURMEnvironment.detect():
        with suppress(ValueError):  # of a name that `_check_names` refuses
            paths.append(_connector(trainer)._hpc_resume_path)
    return next((path for path in paths if path is not None and Path(path).exists()), None)


def _check_names(root: str) -> None:
    """Refuse a file that is named as a checkpoint of SLURM's, but has no number by which Lightning could count it.

    Args:
        root: Where Lightning looks for them now, and before a job is queued again.

    Raises:
        ValueError: If there is one.
    """
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        if "hpc_ckpt_" in name and not re.search("[0-9]", name.rpartition("hpc_ckpt_")[2]):
            raise ValueError(
                f"{root} has {name}, which Lightning takes for a checkpoint of SLURM's, but it has no number. Remove "
                "it, or name it otherwise: those of a job are `hpc_ckpt_1.ckpt` and so on."
            )


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
            for newest in sorted(Path(folder).glob("round-*"), key=_age):
                callback.dirpath = str(newest)
                if callback._find_last_checkpoints(trainer):
                    break
            else:
                callback.dirpath = dirpath
        yield
    finally:
        for callback, dirpath in before:
            callback.dirpath = dirpath


def _age(folder: Path) -> tuple[int, bool]:
    """Sort the folders of rounds from the newest to the oldest, what was set aside of a round after its newest."""
    number = re.fullmatch(r"round-(\d+)(-before)?", folder.name)
    return (1, True) if number is None else (-int(number[1]), number[2] is not None)
