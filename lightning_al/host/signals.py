"""Signals to a Trainer: SIGTERM and Ctrl-C end the run, and SLURM's signal requeues the job."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from lightning_al.host.lightning_names import (
    CLUSTER,
    INTERRUPT,
    KILL,
    ON_REQUEUE,
    ON_SIGTERM,
    RECEIVED_SIGTERM,
    RESTORE_SIGNALS,
    STAGE,
    TEARDOWN,
)
from lightning_al.host.namespace import SLURMEnvironment, pl
from lightning_al.run.stopping import StoppedError, let_finish


def only_note_sigterm(trainer: pl.Trainer) -> None:
    """Reduce Lightning's own handler of SIGTERM to a note; `Stopping` ends the run.

    Since Lightning 2.6 that handler also makes a collective call. One rank would make it inside a signal handler, while
    the others are in another call, and all would wait until the process group's timeout of half an hour. A rank that
    ends by itself closes its connections, and the next collective call of the others raises. Lightning's launcher kills
    the other ranks seconds after a process that it started has died.
    """
    let_finish(INTERRUPT.of(pl))
    ON_SIGTERM.set(trainer, partial(_note_sigterm, trainer))


def _note_sigterm(trainer: pl.Trainer, number: int, frame: FrameType | None) -> None:
    # The note ends the fit after the batch. submitit waits for another signal instead.
    RECEIVED_SIGTERM.set(trainer, "SUBMITIT_EXECUTOR" not in os.environ)


def tell_ranks(trainer: pl.Trainer, number: int) -> None:
    """Send a signal on to the processes that this rank started, in case only this rank got it."""
    if trainer.strategy.launcher is not None:
        KILL.of(trainer.strategy.launcher)(number)


def leave_by(trainer: pl.Trainer, error: StoppedError) -> NoReturn:
    """Leave a fit or a test by this error, whatever else is raised on the way out. Call it last in `on_exception`.

    Python may see the signal as another error: one from a loader whose workers got it too, or Lightning's own after it
    noted the signal. Or the signal comes during Lightning's teardown, which fails when it runs twice. So this calls
    all that Lightning would call from here on.
    """
    datamodule = getattr(trainer, "datamodule", None)
    steps: list[Callable[[], object]] = [
        *([] if datamodule is None else [partial(datamodule.on_exception, error)]),
        partial(trainer.strategy.on_exception, error),
        *(partial(logger.finalize, "failed") for logger in trainer.loggers),
        TEARDOWN.of(trainer),
        RESTORE_SIGNALS.of(trainer),  # the step before may fail before this
    ]
    for step in steps:
        with suppress(Exception):
            step()
    STAGE.set(trainer, None)
    raise error from None


def requeue_without_waiting(trainer: pl.Trainer) -> None:
    """Let Lightning's handler of SLURM's signal, which saves a checkpoint and requeues the job, wait for no other rank.

    The first rank alone writes the checkpoint. The other ranks get the signal at other places. If one of them waits
    for the first in a collective call, the first would wait for it in another, and the job would end without a requeue.
    """
    ON_REQUEUE.set(trainer, partial(_requeue, trainer))


def _requeue(trainer: pl.Trainer, number: int, frame: FrameType | None) -> None:
    strategy = vars(trainer.strategy)
    before = strategy.get("barrier")
    strategy["barrier"] = _wait_for_nobody
    try:
        ON_REQUEUE.original(trainer)(number, frame)
    finally:
        strategy.pop("barrier", None)
        if before is not None:
            strategy["barrier"] = before


def _wait_for_nobody(name: str | None = None) -> None:
    """Stand in for a strategy's `barrier`."""


@contextmanager
def requeued_between_fits(trainer: pl.Trainer) -> Iterator[None]:
    """Keep Lightning's handler of SLURM's signal while points are labelled.

    Lightning sets it only during a fit. Between two fits the signal would end the process, and the job with it.
    """
    environment: Any = CLUSTER.of(trainer)
    is_slurm = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
    if not is_slurm or threading.current_thread() is not threading.main_thread():
        yield
        return
    number = environment.requeue_signal
    before = signal.getsignal(number)
    # Lightning does not replace a user's handler either.
    if before in (None, signal.SIG_DFL):
        signal.signal(number, ON_REQUEUE.of(trainer))
    try:
        yield
    finally:
        if before is not None:
            signal.signal(number, before)
