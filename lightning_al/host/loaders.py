"""How Lightning splits a loader's points among ranks, reads the validation loaders, and moves a batch to the device."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Sampler

from lightning_al.host.lightning_names import (
    BEFORE_TRANSFER,
    COMBINED_MODE,
    IS_DISTRIBUTED,
    RESOLVE_SAMPLER,
    USES_DISTRIBUTED_SAMPLER,
    VALIDATION_LOADERS,
)
from lightning_al.host.namespace import pl


def split_among_ranks(trainer: pl.Trainer, loader: DataLoader[Any]) -> Sampler[Any]:
    """Return the sampler of this rank's points of a train loader, or the loader's own if each rank takes them all."""
    mode = pl.trainer.states.RunningStage.TRAINING
    sampler: Sampler[Any] = RESOLVE_SAMPLER.of(trainer)(loader, shuffle=True, mode=mode)
    return sampler


def splits_among_ranks(trainer: pl.Trainer) -> bool:
    """Return whether the Trainer splits the points of a train loader among its ranks."""
    return bool(USES_DISTRIBUTED_SAMPLER.of(trainer) and IS_DISTRIBUTED.of(trainer))


def validation_loaders(trainer: pl.Trainer) -> Any:
    """Return the validation loaders of the fit, a `CombinedLoader`."""
    return VALIDATION_LOADERS.of(trainer)


def mode_of(loaders: Any) -> str:
    """Return the mode in which a `CombinedLoader` reads its loaders, such as `sequential`."""
    return str(COMBINED_MODE.of(loaders))


def to_device(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    """Move a batch to the module's device and precision, through the transfer hooks."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = BEFORE_TRANSFER.of(module)(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)
