"""The handwritten digits that come with scikit-learn, without a download."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_al.demos.repeats import with_repeats
from lightning_al.host.namespace import pl
from lightning_al.values.whole_numbers import whole_number


class Digits(pl.LightningDataModule):
    """1,797 images of handwritten digits, as float tensors ``[1, 8, 8]`` from 0 to 1.

    Args:
        batch_size: Number of points in a batch.
        test_size: Number of test images, stratified by class: 10 to 1,787.
        repeats: Number of copies of each train image.
        noise: Standard deviation of the Gaussian noise on each train image; pixels are from 0 to 1.
        seed: Seed of the split and of the noise, from 0 to 2**32 - 1.

    Raises:
        TypeError: If a size or the seed is not a number.
        ValueError: If it is not whole or out of range.

    Attributes:
        num_classes: How many classes there are, 10.

    >>> data = Digits(test_size=450)
    >>> data.setup()
    >>> len(data.train), len(data.test), data.train[0][0].shape
    (1347, 450, torch.Size([1, 8, 8]))
    """

    num_classes = 10
    train: TensorDataset
    test: TensorDataset

    def __init__(
        self, *, batch_size: int = 32, test_size: int = 450, repeats: int = 1, noise: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.batch_size = whole_number("Digits", "batch_size", batch_size)
        self.test_size = whole_number("Digits", "test_size", test_size, least=10, most=1_787)
        self.repeats = repeats
        self.noise = noise
        self.seed = whole_number("Digits", "seed", seed, least=0, most=2**32 - 1)

    @override
    def setup(self, stage: str | None = None) -> None:
        """Split the images, the same way at every call."""
        digits = load_digits()
        images = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.as_tensor(digits.target, dtype=torch.int64)
        train, test = train_test_split(
            torch.arange(len(labels)), test_size=self.test_size, random_state=self.seed, stratify=labels
        )
        self.train = with_repeats(images[train], labels[train], repeats=self.repeats, noise=self.noise, seed=self.seed)
        self.test = TensorDataset(images[test], labels[test])

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the train images in a new order each epoch."""
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    @override
    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test images."""
        return DataLoader(self.test, batch_size=256)
