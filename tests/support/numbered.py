"""What the programs of this folder share: points that say their index, and a module that notes what it sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from tests.support.tasks import trainer


def numbered(n: int = 60) -> TensorDataset:
    """Make n points of 3 classes whose first feature is their index."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, 1:4].argmax(1)
    return TensorDataset(torch.cat([torch.arange(float(n)).unsqueeze(1), x[:, 1:]], dim=1), y)


class LitNumbers(pl.LightningModule):
    """A small classifier that notes the indices of each batch that it trains, validates or predicts."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        parts = [nn.Linear(6, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU(), nn.Dropout(0.5)]
        self.net = nn.Sequential(*parts, nn.Linear(8, 3))
        self.trained: dict[int, list[list[list[int]]]] = {}
        self.validated: list[list[int]] = []
        self.scored: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        if self._trainer is not None and self.trainer.predicting:
            self.scored.update(x[:, 0].long().tolist())
        return self.net(x / 60)

    def on_train_epoch_start(self) -> None:
        self.trained.setdefault(self.round, []).append([])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        self.trained[self.round][-1].append(x[:, 0].long().tolist())
        return F.cross_entropy(self(x), y)

    def on_validation_start(self) -> None:
        self.validated = []

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        x = batch if isinstance(batch, Tensor) else batch[0]
        self.validated.append(x[:, 0].long().tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)

    @property
    def round(self) -> int:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return len(data.pool.rounds) - 1


class LitData(pl.LightningDataModule):
    """A user's datamodule around functions that make its loaders."""

    def __init__(self, train: Callable[[], Any], val: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.train = train
        if val is not None:
            self.val_dataloader = val  # type: ignore[method-assign]

    def train_dataloader(self) -> DataLoader[Any]:
        return self.train()  # type: ignore[no-any-return]


def run(
    folder: Path,
    train: Callable[[], Any],
    *,
    val: Callable[[], Any] | None = None,
    module: LitNumbers | None = None,
    rounds: int = 2,
    epochs: int = 2,
    query_size: int = 4,
    trainer_arguments: dict[str, Any] | None = None,
    run_folder: Path | None = None,
    **data_arguments: Any,
) -> tuple[LitNumbers, ActiveDataModule, ActiveLearning]:
    """Run active learning on a user's loaders."""
    torch.manual_seed(0)
    module = LitNumbers() if module is None else module
    if "initial" not in data_arguments:
        data_arguments.setdefault("initial_size", 6)
    data = ActiveDataModule(LitData(train, val), **data_arguments)
    active = ActiveLearning("bald", posterior=MCDropout(2), query_size=query_size, max_rounds=rounds, folder=run_folder)
    arguments = {"max_epochs": epochs, "num_sanity_val_steps": 2, **(trainer_arguments or {})}
    trainer(folder, callbacks=[active], **arguments).fit(module, datamodule=data)
    return module, data, active


def epochs_of(module: LitNumbers) -> list[tuple[int, list[list[int]]]]:
    """All epochs of all rounds, each with its round."""
    return [(number, epoch) for number, epochs in module.trained.items() for epoch in epochs]


def labelled_in(data: ActiveDataModule, number: int) -> list[int]:
    """The labelled points of a round, in their order."""
    return [index for indices in data.pool.rounds[: number + 1] for index in indices]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]
