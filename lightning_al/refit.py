"""Put a Trainer, its callbacks and a module back to where a round starts."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from lightning_utilities.core import rank_zero
from torch import Tensor, nn

from lightning_al._lightning import NAMESPACE, pl, rank_zero_warn

_T = TypeVar("_T")

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Tensor, torch.device, torch.dtype)


def callbacks_of(trainer: Any) -> list[pl.Callback]:
    """Return the Trainer's callbacks, an attribute that Lightning does not declare."""
    return trainer.callbacks  # type: ignore[no-any-return]


def set_callbacks(trainer: Any, callbacks: list[pl.Callback]) -> None:
    """Set the Trainer's callbacks in the order in which their hooks are called."""
    trainer.callbacks = callbacks


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's weights and buffers to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def reset_parameters(module: nn.Module) -> None:
    """Draw all weights anew by the `reset_parameters` of the module's parts.

    Raises:
        ValueError: If a parameter or buffer belongs to a part that cannot reset it; the message names it.

    >>> net = nn.Linear(2, 2)
    >>> before = net.weight.clone()
    >>> reset_parameters(net)
    >>> bool((net.weight == before).all())
    False
    """
    covered: set[str] = set()
    for path, part in module.named_modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
            covered.update(f"{path}.{name}" if path else name for name in part.state_dict())
    missing = [name for name, _ in module.named_parameters() if name not in covered]
    if missing:
        raise ValueError(
            f'`ActiveLearning(reset="fresh")` cannot reset {missing[0]!r} of `{type(module).__name__}` '
            f"({len(missing)} parameters in all): its part has no `reset_parameters()`. Pass `model_factory=`, a "
            'function that returns a new module, or use `reset="initial"`.'
        )


def rewind(trainer: pl.Trainer) -> None:
    """Set the Trainer's epoch and step counts to 0, all but the loggers' step, so that it fits again."""
    trainer.should_stop = False  # a fit does so itself only in later versions of Lightning than 2.4
    fit_loop = trainer.fit_loop
    fit_loop.epoch_progress.reset()
    epoch_loop = fit_loop.epoch_loop
    epoch_loop.batch_progress.reset()
    epoch_loop.scheduler_progress.reset()
    epoch_loop.automatic_optimization.optim_progress.reset()
    epoch_loop.manual_optimization.optim_step_progress.reset()
    epoch_loop.val_loop.batch_progress.reset()


def logger_step(trainer: pl.Trainer) -> int:
    """Return the step at which the Trainer's loggers stand; it grows through all rounds."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logger_step(trainer: pl.Trainer, step: int) -> None:
    """Let the Trainer's loggers go on from a step."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


class _ByCallback(WeakKeyDictionary[pl.Callback, _T]):
    """What is known of callbacks while they exist. Pickled, it is empty: other processes have callbacks of their own.

    Lightning pickles the callbacks where a strategy spawns processes, and only there can they say what they refuse.
    """

    def __reduce__(self) -> tuple[type[_ByCallback[_T]], tuple[()]]:
        return type(self), ()


class CallbackStates:
    """Remember the state of callbacks before their first fit, and put it back before every other.

    What is remembered is what `state_dict` returns, and for Lightning's own callbacks, which do not return all of it,
    also the attributes that hold plain data. What a user's callback gathers in its attributes is left alone, as are
    progress bars and `Timer`, whose clock `carry_on_timers` keeps going.
    """

    def __init__(self) -> None:
        self._before: _ByCallback[tuple[dict[str, Any], dict[str, Any]]] = _ByCallback()

    def remember_or_restore(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and restore the others."""
        for callback in callbacks_of(trainer):
            if callback in self._before:
                self._restore(callback)
        self.remember_new(trainer, but)

    def remember(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks as new ones."""
        self._before.clear()
        self.remember_new(trainer, but)

    def remember_new(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and leave the others alone."""
        for callback in callbacks_of(trainer):
            left_alone = callback is but or isinstance(callback, pl.callbacks.ProgressBar | pl.callbacks.Timer)
            if not left_alone and callback not in self._before:
                own = vars(callback) if _is_lightnings(callback) else {}
                plain = {name: copy.deepcopy(value) for name, value in own.items() if _is_plain(value)}
                self._before[callback] = plain, copy.deepcopy(callback.state_dict())

    def _restore(self, callback: pl.Callback) -> None:
        plain, state = self._before[callback]
        vars(callback).update(copy.deepcopy(plain))
        if state:
            callback.load_state_dict(copy.deepcopy(state))


def carry_on_timers(trainer: pl.Trainer, started: float) -> None:
    """Let each `Timer` count from the start of the run, so that `max_time` holds for all rounds together."""
    for timer in _timers(trainer):
        timer._offset = time.monotonic() - started  # type: ignore[assignment]  # Lightning sets a float there too
        timer._start_time = dict.fromkeys(timer._start_time)
        timer._end_time = dict.fromkeys(timer._end_time)


def time_is_up(trainer: pl.Trainer) -> bool:
    """Return whether a `Timer` cut the fit short, the same on every rank."""
    remaining = [timer.time_remaining() for timer in _timers(trainer)]
    return bool(trainer.strategy.broadcast(any(left is not None and left <= 0 for left in remaining)))


def _timers(trainer: pl.Trainer) -> list[pl.callbacks.Timer]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.Timer)]


def only_note_sigterm(trainer: pl.Trainer) -> None:
    """Let Lightning's own answer to a SIGTERM be no more than to note it; `Stopping` ends the run.

    From Lightning 2.6 on it is a collective call as well, made by one rank from within a signal's handler while the
    others are at another call, so that all wait for each other until the process group's timeout of half an hour. A
    rank that ends by itself closes its connections, at which the others' next collective call raises; and Lightning's
    launcher kills the rest within seconds of the death of a process that it started.
    """
    connector: Any = trainer._signal_connector

    def note(number: int, frame: FrameType | None) -> None:
        # What is noted ends the fit after the batch, where submitit would wait for another signal.
        connector.received_sigterm = "SUBMITIT_EXECUTOR" not in os.environ

    connector._sigterm_notifier_fn = note


class RoundCheckpoints:
    """Give each round's checkpoints a folder of their own, and remove the others once a round has whole ones.

    Args:
        keep_all: Remove none but those of a fit that was begun again.
    """

    def __init__(self, keep_all: bool) -> None:
        self.keep_all = keep_all
        self._folders: _ByCallback[Path] = _ByCallback()
        self._all_folders: set[Path] = set()

    def begin(self, trainer: pl.Trainer, number: int) -> None:
        """Let every ModelCheckpoint of the Trainer write to the round's folder."""
        for checkpoint in self._checkpoints(trainer):
            if checkpoint.dirpath is not None:
                folder = self._folders.setdefault(checkpoint, Path(checkpoint.dirpath))
                self._all_folders.add(folder)
                checkpoint.dirpath = str(folder / f"round-{number}")

    def begin_again(self, trainer: pl.Trainer, number: int) -> None:
        """Begin a round that was begun before, with its checkpoints of then set aside until there are new ones."""
        self.begin(trainer, number)
        if not trainer.is_global_zero:
            return
        for folder in self._all_folders:
            newest, aside = folder / f"round-{number}", folder / f"round-{number}-before"
            if newest.exists() and not aside.exists():
                newest.rename(aside)
            elif newest.exists():
                # A fit that was cut off twice: those set aside first may be the only whole ones.
                shutil.rmtree(newest)

    def finish(self, trainer: pl.Trainer, number: int) -> None:
        """Remove the folders of other rounds, once this one's checkpoints are on disk and can be loaded."""
        trainer.strategy.barrier("lightning_al: checkpoints")
        if not trainer.is_global_zero:
            return
        for folder in self._all_folders:
            newest = folder / f"round-{number}"
            pattern = "round-*-before" if self.keep_all else "round-*"
            others = [other for other in folder.glob(pattern) if other != newest]
            if others and _are_whole(newest):
                for other in others:
                    shutil.rmtree(other)

    @staticmethod
    def best(trainer: pl.Trainer) -> pl.callbacks.ModelCheckpoint | None:
        """Return the first ModelCheckpoint that monitors a metric and has saved a best one."""
        for checkpoint in RoundCheckpoints._checkpoints(trainer):
            if checkpoint.monitor is not None and checkpoint.best_model_path:
                return checkpoint
        return None

    @staticmethod
    def _checkpoints(trainer: pl.Trainer) -> list[pl.callbacks.ModelCheckpoint]:
        return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelCheckpoint)]


def _are_whole(folder: Path) -> bool:
    """Bring a folder's checkpoints to disk, and return whether there are any and all can be loaded; warn of others."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        try:
            _sync(path)
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what loading a damaged file raises depends on where the damage is
            reason = " ".join(str(error).split())[:100]
            rank_zero_warn(
                f"The checkpoint {path} cannot be loaded ({type(error).__name__}: {reason}). "
                "The checkpoints of the rounds before are kept. Check that the disk has room, and that what the module "
                "saves are tensors and plain data."
            )
            return False
    if paths:
        _sync(folder)
    return len(paths) > 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def nested(trainer: pl.Trainer) -> Iterator[None]:
    """Run a fit or a test inside a hook of another fit: its state is put back, and an exception told of once.

    Lightning tells all callbacks of an exception where it leaves the inner run, and would again where it leaves the
    outer one.
    """
    before = trainer.state.fn, trainer.state.status, trainer.state.stage
    try:
        yield
    except BaseException:
        set_callbacks(trainer, [_AlreadyTold(callbacks_of(trainer))])
        raise
    finally:
        trainer.state.fn, trainer.state.status, trainer.state.stage = before


class _AlreadyTold(pl.Callback):
    """Stand in for the callbacks while an exception that they were told of leaves the outer fit."""

    def __init__(self, callbacks: list[pl.Callback]) -> None:
        self.callbacks = callbacks

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        set_callbacks(trainer, self.callbacks)


@contextmanager
def quiet(trainer: pl.Trainer) -> Iterator[None]:
    """Say once what Lightning says at every fit: the model summary, the devices, and why the fit stopped."""
    said = _OncePerFit()
    logger = rank_zero.log  # of the Lightning namespace imported last, where both are
    summaries = [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelSummary)]
    sanity_steps = trainer.num_sanity_val_steps
    logger.addFilter(said)
    set_callbacks(trainer, [callback for callback in callbacks_of(trainer) if callback not in summaries])
    trainer.num_sanity_val_steps = 0
    try:
        yield
    finally:
        logger.removeFilter(said)
        set_callbacks(trainer, [*summaries, *callbacks_of(trainer)])
        trainer.num_sanity_val_steps = sanity_steps


class _OncePerFit(logging.Filter):
    SAID = (
        "`Trainer.fit` stopped",
        "LOCAL_RANK:",
        "The following callbacks returned in `LightningModule.configure_callbacks`",
        "`Trainer(barebones=True)` started running",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.SAID)


def _is_lightnings(callback: pl.Callback) -> bool:
    """Return whether a callback's class, or one it derives from, is one of Lightning's that keep a state."""
    classes = (cls for cls in type(callback).__mro__ if cls not in (pl.Callback, pl.callbacks.LambdaCallback))
    return any(cls.__module__.startswith(f"{NAMESPACE}.callbacks.") for cls in classes)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(part) for key, part in value.items())
    return isinstance(value, _PLAIN)
