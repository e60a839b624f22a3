"""A hook that Lightning lacks: act before anything of a Trainer is set up."""

from __future__ import annotations

from typing import Any

from lightning_al.host.namespace import pl
from lightning_al.host.trainer import callbacks_of


class BeforeSetup(pl.Callback):
    """A callback that acts before anything is set up.

    Lightning sets up the datamodule first, and `ActiveDataModule` calls these callbacks at the start of its `setup`.
    """

    def before_setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Act before the `setup` of datamodule, callbacks and module."""


def has_before_setup(trainer: pl.Trainer) -> bool:
    """Return whether a Trainer has such a callback, which is whether its fits are active learning."""
    return any(isinstance(callback, BeforeSetup) for callback in callbacks_of(trainer))


def call_before_setup(trainer: pl.Trainer, stage: Any) -> None:
    """Call `before_setup` of each callback of a Trainer that has it."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, BeforeSetup):
            callback.before_setup(trainer, trainer.lightning_module, getattr(stage, "value", stage))
