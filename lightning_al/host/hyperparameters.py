"""The hyperparameters of a datamodule that LightningCLI made as an argument of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_al.host.namespace import pl


def take_own_hyperparameters(data: pl.LightningDataModule, outer: type) -> None:
    """Give a nested datamodule its own hyperparameters, where LightningCLI gave it those of what it is nested in.

    LightningCLI does so where it is told the class of the datamodule by a file (`subclass_mode_data`): every datamodule
    that saves its hyperparameters is then taken for the outermost one.

    Args:
        data: The nested datamodule.
        outer: The class that takes it as its argument `data`.
    """
    path: str = data.hparams.get("_class_path", "")
    given: Any = data.hparams.get("data")
    if path.rpartition(".")[2] != outer.__name__ or not isinstance(given, Mapping):
        return
    data.hparams.clear()
    data.save_hyperparameters(dict(given.get("init_args") or {}), logger=data._log_hyperparams)
