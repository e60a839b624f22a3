"""Answer SLURM's signal before the end of a job's time: between two fits too, and on each rank by itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from lightning_al.host.namespace import SLURMEnvironment, pl


def requeue_without_waiting(trainer: pl.Trainer) -> None:
    """Let Lightning's answer to the signal, which saves a checkpoint and queues the job again, wait for no other rank.

    The first rank alone writes it. Others get the signal at other places: while one waits in a collective call for the
    first, that would wait for it in another, until the job's time is over and nobody has queued it again.
    """
    connector: Any = trainer._signal_connector
    connector._slurm_sigusr_handler_fn = partial(_requeue, trainer, connector)


def _requeue(trainer: pl.Trainer, connector: Any, number: int, frame: FrameType | None) -> None:
    strategy = vars(trainer.strategy)
    before = strategy.get("barrier")
    strategy["barrier"] = _wait_for_nobody
    try:
        type(connector)._slurm_sigusr_handler_fn(connector, number, frame)
    finally:
        strategy.pop("barrier", None)
        if before is not None:
            strategy["barrier"] = before


def _wait_for_nobody(name: str | None = None) -> None:
    """Stand in for a strategy's `barrier`."""


@contextmanager
def requeued_between_fits(trainer: pl.Trainer) -> Iterator[None]:
    """Let Lightning's handler, which saves a checkpoint and queues the job again, stay while points are labelled.

    Lightning sets it for a fit alone. Between two of them the signal would end the process, and the job with it.
    """
    owner: Any = trainer
    environment = owner._accelerator_connector.cluster_environment
    is_slurm = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
    if not is_slurm or threading.current_thread() is not threading.main_thread():
        yield
        return
    number = environment.requeue_signal
    before = signal.getsignal(number)
    # A handler that the user has is left alone, as Lightning leaves it.
    if before in (None, signal.SIG_DFL):
        signal.signal(number, owner._signal_connector._slurm_sigusr_handler_fn)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(number, before)
