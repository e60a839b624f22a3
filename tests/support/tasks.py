"""A tiny task that the tests share: synthetic points, a module that learns them in a few steps, a silent Trainer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al.host.namespace import pl

CLASSES = 4
FEATURES = 8


def points(n: int, seed: int = 0) -> TensorDataset:
    """Make n points in 8 dimensions around 4 well separated centres, index i of class i mod 4."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3.0 * torch.eye(CLASSES, FEATURES)
    labels = torch.arange(n) % CLASSES
    return TensorDataset(centres[labels] + torch.randn(n, FEATURES, generator=generator), labels)


class LitMLP(pl.LightningModule):
    """A small classifier with dropout."""

    def __init__(self, hidden: int = 16, p: float = 0.3, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Dropout(p), nn.Linear(hidden, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("test_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


class LitPoints(pl.LightningDataModule):
    """The points as a user's LightningDataModule, which counts how often its hooks are called."""

    def __init__(self, n: int = 40, batch_size: int = 8, **loader: Any) -> None:
        super().__init__()
        self.save_hyperparameters("n", "batch_size")
        self.n = n
        self.loader = {"batch_size": batch_size, **loader}
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare_data")

    def setup(self, stage: str) -> None:
        self.calls.append(f"setup {getattr(stage, 'value', stage)}")
        self.train: Dataset[Any] = points(self.n, seed=0)
        self.val: Dataset[Any] = points(16, seed=1)
        self.test: Dataset[Any] = points(24, seed=2)

    def teardown(self, stage: str) -> None:
        self.calls.append(f"teardown {getattr(stage, 'value', stage)}")

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, shuffle=True, **self.loader)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, **self.loader)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, **self.loader)


class Items(Dataset[Any]):
    """The points with their items made into any other form."""

    def __init__(self, n: int, form: Callable[[Tensor, int], Any], seed: int = 0) -> None:
        self.points = points(n, seed)
        self.form = form

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Any:
        x, y = self.points[index]
        return self.form(x, int(y))


def trainer(tmp_path: str | os.PathLike[str], **kwargs: Any) -> pl.Trainer:
    """Make a Trainer that says nothing and writes nothing, unless told otherwise; on the CPU, or by a variable."""
    silent: dict[str, Any] = {
        "default_root_dir": tmp_path,
        "accelerator": os.environ.get("LIGHTNING_AL_TEST_ACCELERATOR", "cpu"),
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**silent, **kwargs})
