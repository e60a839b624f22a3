"""A Trainer's callbacks, profiler and progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from lightning_al.host.lightning_names import (
    AUTOMATIC_PROGRESS,
    BATCH_PROGRESS,
    CALLBACKS,
    EPOCH_PROGRESS,
    LOGGER_STEP,
    MANUAL_PROGRESS,
    PROFILER,
    SANITY_CHECK_STEPS,
    SCHEDULER_PROGRESS,
    TRAIN_BATCH_LIMIT,
    VALIDATION_PROGRESS,
)
from lightning_al.host.namespace import pl

_PROGRESS = (
    EPOCH_PROGRESS,
    BATCH_PROGRESS,
    SCHEDULER_PROGRESS,
    AUTOMATIC_PROGRESS,
    MANUAL_PROGRESS,
    VALIDATION_PROGRESS,
)


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the Trainer's callbacks."""
    return cast(list[pl.Callback], CALLBACKS.of(trainer))


def set_callbacks(trainer: pl.Trainer, callbacks: list[pl.Callback]) -> None:
    """Set the Trainer's callbacks. Lightning calls their hooks in this order."""
    CALLBACKS.set(trainer, callbacks)


def put_first(trainer: pl.Trainer, callback: pl.Callback) -> None:
    """Move a callback to the front, unless the Trainer does not have it at the moment."""
    if callback in callbacks_of(trainer):
        set_callbacks(trainer, [callback, *(other for other in callbacks_of(trainer) if other is not callback)])


def tell_those_after(
    trainer: pl.Trainer, callback: pl.Callback, module: pl.LightningModule, exception: BaseException
) -> None:
    """Call `on_exception` of the callbacks after this one, and ignore what they raise."""
    callbacks = callbacks_of(trainer)
    for other in callbacks[callbacks.index(callback) + 1 :] if callback in callbacks else []:
        with suppress(Exception):
            other.on_exception(trainer, module, exception)


def profiler_of(trainer: pl.Trainer) -> pl.profilers.Profiler:
    """Return the Trainer's profiler."""
    return cast(pl.profilers.Profiler, PROFILER.of(trainer))


def rewind(trainer: pl.Trainer) -> None:
    """Set the Trainer's counts of epochs, batches and steps to 0, so that it can fit again.

    The step of the loggers stays.
    """
    trainer.should_stop = False  # Lightning 2.4 does not reset it when a fit begins
    for progress in _PROGRESS:
        progress.of(trainer).reset()


def logger_step(trainer: pl.Trainer) -> int:
    """Return the step that the loggers have reached. It grows over all rounds."""
    return cast(int, LOGGER_STEP.of(trainer))


def set_logger_step(trainer: pl.Trainer, step: int) -> None:
    """Set the step from which the loggers continue."""
    LOGGER_STEP.set(trainer, step)


@contextmanager
def without_sanity_check(trainer: pl.Trainer) -> Iterator[None]:
    """Let a fit validate nothing before its first step.

    The sanity check makes the loaders, whose persistent workers stay, and calls the module. What these draw, count or
    keep would differ between a run that resumes with this round and one that was never interrupted.
    """
    with SANITY_CHECK_STEPS.replaced(trainer, 0):
        yield


@contextmanager
def without_training(trainer: pl.Trainer) -> Iterator[None]:
    """Let a fit end before its first step, without making the train loader."""
    with TRAIN_BATCH_LIMIT.replaced(trainer, 0):
        yield
