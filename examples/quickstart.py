"""Learn scikit-learn's digits from few labels: the program of the README, with its data and model.

Run it with ``python examples/quickstart.py``.
"""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout


class Digits(pl.LightningDataModule):
    """An ordinary LightningDataModule, which knows nothing of active learning."""

    def setup(self, stage: str) -> None:
        images, labels = load_digits(return_X_y=True)
        inputs = torch.tensor(images, dtype=torch.float32) / 16
        self.train = TensorDataset(inputs[:1300], torch.tensor(labels[:1300]))
        self.test = TensorDataset(inputs[1300:], torch.tensor(labels[1300:]))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=32, shuffle=True)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.test, batch_size=256)


class LitDigits(pl.LightningModule):
    """An ordinary LightningModule; its dropout is what the posterior samples come from."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(self(inputs), labels)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        inputs, labels = batch
        self.log("test_acc", (self(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> ActiveLearning:
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    active = ActiveLearning("batchbald", query_size=10, budget=60, posterior=MCDropout(num_samples=50))
    trainer = pl.Trainer(max_epochs=10, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(LitDigits(), datamodule=data)  # every round, to the budget
    print(active.history)  # what each round asked, and what it gained
    return active


if __name__ == "__main__":
    main()
