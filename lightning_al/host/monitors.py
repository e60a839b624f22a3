"""Callbacks that watch a metric of a validation that the program does not have."""

from __future__ import annotations

import re

from lightning_al.host.namespace import pl
from lightning_al.host.trainer import callbacks_of

_OF_VALIDATION = re.compile(r"(val|valid|validation|dev)([_/\-. ]|$)", re.IGNORECASE)


def refuse_monitors_without_validation(trainer: pl.Trainer) -> None:
    """Refuse callbacks that watch a validation metric where nothing is validated, before labels are paid for.

    Lightning raises its own error only after the first epoch.

    Raises:
        ValueError: If there is one. The message gives the remedy.
    """
    if trainer.enable_validation:
        return
    for callback in callbacks_of(trainer):
        monitor = getattr(callback, "monitor", None)
        if (
            isinstance(callback, pl.callbacks.EarlyStopping | pl.callbacks.ModelCheckpoint)
            and getattr(callback, "strict", True)
            and isinstance(monitor, str)
            and _OF_VALIDATION.match(monitor)
        ):
            name = type(callback).__name__
            raise ValueError(
                f"`{name}(monitor={monitor!r})` watches a metric of the validation, but there is none: no validation "
                "data, no `validation_step`, or `limit_val_batches=0`. Pass labelled data as "
                f"`ActiveDataModule(val=...)`, monitor a metric of the training, or leave `{name}` out and train for a "
                "fixed number of epochs or steps."
            )
