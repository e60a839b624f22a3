"""Answer SLURM's signal before the end of a job's time between two fits too, as Lightning does within a fit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_al._lightning import SLURMEnvironment, pl


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
