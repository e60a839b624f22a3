"""Learn the digits from few labels with LightningCLI, with all settings in a file.

Run it with ``python main.py fit --config config.yaml``, and change settings by
``--data.initial_size=40`` or ``--trainer.callbacks.acquisition=BALD``. It needs `jsonargparse[signatures]`.
"""

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule


class Digits(LightningDataModule):
    """An ordinary LightningDataModule, which knows nothing of active learning."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        images, labels = load_digits(return_X_y=True)
        inputs = torch.tensor(images, dtype=torch.float32) / 16
        self.train = TensorDataset(inputs[:1300], torch.tensor(labels[:1300]))
        self.test = TensorDataset(inputs[1300:], torch.tensor(labels[1300:]))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.test, batch_size=256)


class LitDigits(LightningModule):
    """An ordinary LightningModule; its dropout is what the posterior samples come from."""

    def __init__(self, hidden: int = 128, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(self(inputs), labels)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        inputs, labels = batch
        self.log("test_acc", (self(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


if __name__ == "__main__":
    LightningCLI(LitDigits, ActiveDataModule)
