"""A small program in which a person labels for a while. It is started again for each sitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from tests.support.diary import new_order
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]


class Photos(Dataset[Tensor]):
    """The points without labels, in some order, perhaps each with a key."""

    def __init__(self, order: list[int], keyed: bool) -> None:
        self.order = order
        if keyed:
            self.keys = [f"{number:03}.png" for number in order]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Tensor:
        return X[self.order[place]]


def sit(folder: Path, oracle: Any, diary: Path, *, rounds: int, keyed: bool = False, audit: int | None = None) -> None:
    """Run a program from its start until the run has finished, or answers are awaited.

    Args:
        folder: The run's folder.
        oracle: Who labels.
        diary: The diary of the person who does, which is there once somebody was asked.
        rounds: How many rounds the run has.
        keyed: Whether items have keys, and another order in each sitting.
        audit: How many audit points there are.
    """
    torch.manual_seed(0)
    order = new_order(diary, len(X)) if keyed else list(range(len(X)))
    data = ActiveDataModule(
        Photos(order, keyed), initial_size=5, classes=NAMES, batch_size=8, seed=0, audit=audit, samples_per_epoch=16
    )
    active = ActiveLearning(
        "bald", query_size=4, max_rounds=rounds, posterior=MCDropout(2), oracle=oracle, folder=folder, seed=0
    )
    trainer(folder.parent, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
