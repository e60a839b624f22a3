"""Which biopsies to have diagnosed: a project with a module and its data, which knows nothing of active learning.

Run it in this folder with ``PYTHONPATH=. lightning-al --config-dir conf experiment=biopsies 'allow=[biopsies]'``.
"""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Biopsies(pl.LightningDataModule):
    """Measurements of 569 biopsies, and whether they are benign, as scikit-learn ships them."""

    def __init__(self, batch_size: int = 32, test_size: int = 200, seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.test_size = test_size
        self.seed = seed

    def setup(self, stage: str) -> None:
        measured, benign = load_breast_cancer(return_X_y=True)
        train, test, train_labels, test_labels = train_test_split(
            measured, benign, test_size=self.test_size, random_state=self.seed, stratify=benign
        )
        scaler = StandardScaler().fit(train)  # which needs no labels
        self.train = TensorDataset(torch.tensor(scaler.transform(train)).float(), torch.tensor(train_labels))
        self.test = TensorDataset(torch.tensor(scaler.transform(test)).float(), torch.tensor(test_labels))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.test, batch_size=256)


class LitBiopsies(pl.LightningModule):
    """A small network; its dropout is what the posterior samples come from."""

    def __init__(self, hidden: int = 64, dropout: float = 0.3, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, 2),
        )  # fmt: skip

    def forward(self, measured: Tensor) -> Tensor:
        return self.net(measured)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        measured, benign = batch
        loss = nn.functional.cross_entropy(self(measured), benign)
        self.log("train_loss", loss)
        return loss

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        measured, benign = batch
        self.log("test_acc", (self(measured).argmax(1) == benign).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
