"""The hyperparameters that Lightning saves of a module or a datamodule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_al.host.lightning_names import INITIAL_HYPERPARAMETERS, LOGS_HYPERPARAMETERS
from lightning_al.host.namespace import pl


def take_own_hyperparameters(data: pl.LightningDataModule, outer: type) -> None:
    """Give a nested datamodule its own hyperparameters if LightningCLI gave it those of the outer one.

    LightningCLI does so if a file names the class of the datamodule (`subclass_mode_data`). It then takes every
    datamodule that saves its hyperparameters for the outermost one.

    Args:
        data: The nested datamodule.
        outer: The class that takes it as its argument `data`.
    """
    path: str = data.hparams.get("_class_path", "")
    given: Any = data.hparams.get("data")
    if path.rpartition(".")[2] != outer.__name__ or not isinstance(given, Mapping):
        return
    data.hparams.clear()
    data.save_hyperparameters(dict(given.get("init_args") or {}), logger=logs_hyperparameters(data))


def logs_hyperparameters(data: pl.LightningDataModule) -> bool:
    """Return whether Lightning logs the hyperparameters of a datamodule."""
    return bool(LOGS_HYPERPARAMETERS.of(data))


def change_logged(
    maker: pl.LightningModule | pl.LightningDataModule, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Change the hyperparameters that Lightning logs and saves, if there are any. `maker.hparams` stays.

    Args:
        maker: A module or a datamodule.
        change: Returns what to log instead.
    """
    if maker.hparams_initial:
        changed = change(dict(maker.hparams_initial))
        INITIAL_HYPERPARAMETERS.set(maker, type(maker.hparams_initial)(changed))
