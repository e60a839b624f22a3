"""MNIST, as in the BatchBALD paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_al.demos.repeats import with_repeats
from lightning_al.host.namespace import pl

if TYPE_CHECKING:
    from torchvision import datasets

MEAN, SD = 0.1307, 0.3081


class MNIST(pl.LightningDataModule):
    """MNIST as float tensors ``[1, 28, 28]``, normalised to mean 0 and standard deviation 1.

    Args:
        root: The folder of ``MNIST/raw``, which holds the four files.
        download: Whether to download missing files.
        batch_size: Number of points in a batch.
        val_size: Number of the 60,000 train images to use for validation.
        train_size: Number of the other train images to choose from; by default all.
        class_sizes: Number of train images of each class to choose from, ten numbers in the order of the digits, in
            place of ``train_size``: an unbalanced pool, beside balanced test data.
        test_size: Number of test images, evenly spaced over the file; by default all 10,000.
        repeats: Number of copies of each train image.
        noise: Standard deviation of the Gaussian noise on each train image, after normalisation.
        seed: Seed of the split and of the noise.

    Attributes:
        num_classes: How many classes there are, 10.
    """

    num_classes = 10
    train: TensorDataset
    val: TensorDataset
    test: TensorDataset

    def __init__(
        self,
        root: str | Path = "data",
        *,
        download: bool = True,
        batch_size: int = 64,
        val_size: int = 0,
        train_size: int | None = None,
        class_sizes: Sequence[int] | None = None,
        test_size: int | None = None,
        repeats: int = 1,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.download = download
        self.batch_size = batch_size
        self.val_size = val_size
        self.train_size = train_size
        self.class_sizes = None if class_sizes is None else list(class_sizes)
        self.test_size = test_size
        self.repeats = repeats
        self.noise = noise
        self.seed = seed
        if val_size:  # Lightning validates if this method exists
            self.val_dataloader = self._val_dataloader  # type: ignore[method-assign]

    @override
    def prepare_data(self) -> None:
        """Download missing files.

        Raises:
            FileNotFoundError: If files are still missing; the message says which files belong where.
        """
        for train in (True, False):
            self._read(train=train, download=self.download)

    @override
    def setup(self, stage: str | None = None) -> None:
        """Read and split the images, the same way at every call.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If there are fewer images than asked for, or both `train_size` and `class_sizes` are given.
        """
        images, labels = _tensors(self._read(train=True))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        val, rest = order[: self.val_size], order[self.val_size :]
        train = self._of_sizes(rest, labels[rest]).sort().values
        self.val = TensorDataset(images[val], labels[val])
        self.train = with_repeats(images[train], labels[train], repeats=self.repeats, noise=self.noise, seed=self.seed)
        tested = _tensors(self._read(train=False))
        self.test = TensorDataset(*(part[self._tested(len(part))] for part in tested))

    def _of_sizes(self, rest: Tensor, labels: Tensor) -> Tensor:
        """Return the images to choose from, of those in random order that are not for validation."""
        if self.class_sizes is None:
            size = len(rest) if self.train_size is None else self.train_size
            if not 0 < size <= len(rest):
                raise ValueError(
                    f"`MNIST` has {len(rest) + self.val_size} train images, but got val_size={self.val_size} and "
                    f"train_size={self.train_size}. Choose sizes that leave train images and add up to at most "
                    f"{len(rest) + self.val_size}."
                )
            return rest[:size]
        there = labels.bincount(minlength=self.num_classes).tolist()
        fit = len(self.class_sizes) == self.num_classes and all(
            0 <= size <= most for size, most in zip(self.class_sizes, there, strict=True)
        )
        if self.train_size is not None or not fit or sum(self.class_sizes) == 0:
            raise ValueError(
                f"`MNIST` expects class_sizes to be {self.num_classes} numbers of images, at most {there}, without "
                f"train_size, but got class_sizes={self.class_sizes} and train_size={self.train_size}. Choose one of "
                "the two, within these numbers."
            )
        return torch.cat([rest[labels == digit][:size] for digit, size in enumerate(self.class_sizes)])

    def _tested(self, there: int) -> Tensor:
        size = there if self.test_size is None else self.test_size
        if not 0 < size <= there:
            raise ValueError(
                f"`MNIST` expects test_size from 1 to {there}, but got {self.test_size}. Choose a size within these."
            )
        return torch.arange(size) * there // size

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the train images in a new order each epoch."""
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def _val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.val, batch_size=512)

    @override
    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test images."""
        return DataLoader(self.test, batch_size=512)

    def _read(self, *, train: bool, download: bool = False) -> datasets.MNIST:
        from torchvision import datasets

        try:
            return datasets.MNIST(self.root, train=train, download=download)
        except (RuntimeError, URLError, OSError) as error:
            # torchvision's message names no files: "Dataset not found", or the mirrors that it could not reach.
            names = [Path(name).stem for name, _ in datasets.MNIST.resources]
            raise FileNotFoundError(
                f"`MNIST` expects the files {', '.join(names)} in the folder {(self.root / 'MNIST' / 'raw').absolute()}"
                ", unpacked (or each with .gz if `download` is on), but could not "
                f"{'download' if download else 'find'} them: {str(error).strip()}. Put them there from a machine with "
                "a network, or choose another folder by `root`."
            ) from error


def _tensors(files: datasets.MNIST) -> tuple[Tensor, Tensor]:
    images = files.data.unsqueeze(1).float().div_(255).sub_(MEAN).div_(SD)
    return images, files.targets.long()
