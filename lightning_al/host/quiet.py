"""Print once a run what Lightning prints at every fit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_utilities.core import rank_zero
from typing_extensions import override

from lightning_al.host.lightning_names import RANK_ZERO_LOG
from lightning_al.host.namespace import NAMESPACE, pl
from lightning_al.host.trainer import callbacks_of, set_callbacks, without_sanity_check


@contextmanager
def quiet(trainer: pl.Trainer) -> Iterator[None]:
    """Leave out the model summary, the devices, the reason why a fit stopped, and the sanity check."""
    once = _OncePerRun()
    # With both namespaces imported, the first logger belongs to the one imported last.
    others = ("trainer.connectors.signal_connector", "accelerators.cuda")
    loggers = RANK_ZERO_LOG.of(rank_zero), *(logging.getLogger(f"{NAMESPACE}.{name}") for name in others)
    summaries = [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelSummary)]
    for logger in loggers:
        logger.addFilter(once)
    set_callbacks(trainer, [callback for callback in callbacks_of(trainer) if callback not in summaries])
    try:
        with _advised_once(), without_sanity_check(trainer):
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)
        set_callbacks(trainer, [*summaries, *callbacks_of(trainer)])


class _OncePerRun(logging.Filter):
    MESSAGES = (
        "`Trainer.fit` stopped",
        "LOCAL_RANK:",
        "The following callbacks returned in `LightningModule.configure_callbacks`",
        "`Trainer(barebones=True)` started running",
        "Loading `train_dataloader` to estimate number of stepping batches",
        "SLURM auto-requeueing enabled",
    )

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.MESSAGES)


@contextmanager
def _advised_once() -> Iterator[None]:
    """Drop Lightning's advice on the logging interval.

    It names the number of batches, which grows with the labels, so Python takes it for a new warning in each round. A
    warnings filter would show all other warnings once more.
    """
    show = warnings.showwarning

    def show_others(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if not str(message).startswith("The number of training batches"):
            show(message, *args, **kwargs)

    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show
