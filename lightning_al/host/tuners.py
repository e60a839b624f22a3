"""Callbacks of Lightning's that find a learning rate or a batch size, and cannot be fitted with again."""

from __future__ import annotations

from lightning_al.host.namespace import pl
from lightning_al.host.trainer import callbacks_of


def refuse_tuners(trainer: pl.Trainer) -> None:
    """Refuse a Trainer with such a callback.

    Raises:
        ValueError: If there is one. The message gives the remedy.
    """
    for callback in callbacks_of(trainer):
        if isinstance(callback, pl.callbacks.LearningRateFinder | pl.callbacks.BatchSizeFinder):
            raise ValueError(
                f"`ActiveLearning` cannot fit again with the callback `{type(callback).__name__}`, after which "
                "Lightning trains 0 steps from the second fit on. Find the value once beforehand, with "
                "`pytorch_lightning.tuner.Tuner` and a Trainer without `ActiveLearning`, and pass it on."
            )
