"""Loaders over parts of a training set, with the settings of the user's own loader."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
)

from lightning_al._lightning import rank_zero_warn
from lightning_al.pool import Label
from lightning_al.target import Target


class TrainLoader:
    """Take a user's train loader apart: its dataset, and its settings for loaders over parts of it.

    Args:
        loader: What `train_dataloader` returned.
        owner: The name of the class whose it is, for errors.

    Raises:
        ValueError: If it is not one DataLoader, or if its batches cannot be made of parts of its dataset.
    """

    def __init__(self, loader: Any, owner: str) -> None:
        if not isinstance(loader, DataLoader):
            raise ValueError(
                f"`ActiveDataModule` expected `{owner}.train_dataloader` to return one DataLoader, but got "
                f"{type(loader).__name__}. Join several datasets by `torch.utils.data.ConcatDataset`."
            )
        if isinstance(loader.dataset, IterableDataset):
            raise ValueError(
                f"`ActiveDataModule` needs a map-style training dataset, whose items have indices to ask for, but "
                f"`{owner}` gave the IterableDataset {type(loader.dataset).__name__}. Give it `__getitem__` and "
                "`__len__`."
            )
        if type(loader.batch_sampler) is not BatchSampler:
            raise ValueError(
                f"`ActiveDataModule` makes its own batches of the labelled points, but `{owner}.train_dataloader` has "
                f"the batch sampler {type(loader.batch_sampler).__name__}. Give it `batch_size=` instead."
            )
        if not isinstance(loader.sampler, RandomSampler | SequentialSampler):
            rank_zero_warn(
                f"`ActiveDataModule` shuffles the labelled points in place of {type(loader.sampler).__name__} of "
                f"`{owner}.train_dataloader`."
            )
        self.dataset: Dataset[Any] = loader.dataset
        self.shuffle = not isinstance(loader.sampler, SequentialSampler)
        self.batch_size: int = loader.batch_size or 1
        self.drop_last = loader.drop_last
        self.settings: dict[str, Any] = {
            "num_workers": loader.num_workers,
            "collate_fn": loader.collate_fn,
            "pin_memory": loader.pin_memory,
            "timeout": loader.timeout,
            "worker_init_fn": loader.worker_init_fn,
            "multiprocessing_context": loader.multiprocessing_context,
            "prefetch_factor": loader.prefetch_factor,
            "persistent_workers": loader.persistent_workers,
        }
        self._targets: Sequence[Any] | None = None
        self._classes: dict[int, int | None] = {}

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def over(self, dataset: Dataset[Any], samples_per_epoch: int | None, order: torch.Generator) -> DataLoader[Any]:
        """Return a loader to train on a part of the data, shuffled where the user's is."""
        size = len(dataset)  # type: ignore[arg-type]
        # Few labels may not fill one batch; to drop it would leave nothing to train on.
        drop_last = self.drop_last and (samples_per_epoch or size) >= self.batch_size
        sampler: Sampler[int] | None = None
        if samples_per_epoch:
            sampler = _Repeated(size, samples_per_epoch, order)
        elif self.shuffle:
            ends_in_smaller_batch = not drop_last and size % self.batch_size > 0
            sampler = _Shuffled(dataset, order, ends_in_smaller_batch=ends_in_smaller_batch)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            generator=order,
            **self.settings,
        )

    def in_order(self, dataset: Dataset[Any], batch_size: int | None) -> DataLoader[Any]:
        """Return a loader to go through a part of the data once."""
        settings = {**self.settings, "persistent_workers": False}
        return DataLoader(dataset, batch_size=batch_size or self.batch_size, shuffle=False, **settings)

    def read_class(self, index: int, target: Target) -> int | None:
        """Read a target's class once, from the dataset's list of targets where that agrees with its items."""
        if index not in self._classes:
            if self._targets is None:
                self._targets = _target_list(self.dataset, target)
            # As a number, since a label that is a tensor may keep the memory of its whole item.
            self._classes[index] = as_class(self._targets[index] if self._targets else target.find(self.dataset[index]))
        return self._classes[index]


def _target_list(dataset: Dataset[Any], target: Target) -> Sequence[Any]:
    """Return the targets of a dataset that lists them as torchvision's do, or nothing where items disagree."""
    listed = _listed(dataset)
    places = spread(len(listed))
    agree = all(as_class(listed[index]) == as_class(target.find(dataset[index])) for index in places)
    return listed if agree else []


def _listed(dataset: Any) -> Sequence[Any]:
    if isinstance(dataset, Subset):
        whole = _listed(dataset.dataset)
        return [whole[index] for index in dataset.indices] if whole else []
    if getattr(dataset, "target_transform", None) is None:
        for name in ("targets", "labels"):
            listed: Any = getattr(dataset, name, None)
            if hasattr(listed, "__getitem__") and len(listed) == len(dataset):
                return list(listed.tolist() if hasattr(listed, "tolist") else listed)
    return []


def spread(size: int, most: int = 32) -> list[int]:
    """Return some indices of a dataset, evenly spread, the first and the last among them."""
    return sorted({round(place * (size - 1) / (most - 1)) for place in range(most)}) if size else []


class _Shuffled(RandomSampler):
    """Shuffle as torch does in a loader without workers, whatever the number of workers.

    When torch's sampler is read to its end it draws once more. A loader without workers does so to fill the last batch
    where that stays smaller; workers read ahead and may do so or not, and the next epoch would begin otherwise.
    """

    def __init__(self, dataset: Dataset[Any], generator: torch.Generator, *, ends_in_smaller_batch: bool) -> None:
        super().__init__(dataset, generator=generator)  # type: ignore[arg-type]
        self.num_draws = 2 if ends_in_smaller_batch else 1

    def __iter__(self) -> Iterator[int]:
        order, *_ = [torch.randperm(len(self), generator=self.generator) for _ in range(self.num_draws)]
        yield from order.tolist()


class _Repeated(Sampler[int]):
    """Go through `size` points in one random order after the other, until an epoch has its number of samples."""

    def __init__(self, size: int, samples: int, generator: torch.Generator) -> None:
        self.size = size
        self.samples = samples
        self.generator = generator

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        times = math.ceil(self.samples / self.size)
        orders = [torch.randperm(self.size, generator=self.generator) for _ in range(times)]
        yield from torch.cat(orders)[: self.samples].tolist()


class Relabelled(Dataset[Any]):
    """Labelled points, with the oracle's labels where it gave any."""

    def __init__(
        self, dataset: Dataset[Any], indices: Sequence[int], labels: Mapping[int, Label], target: Target
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.labels = labels
        self.target = target

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        index = self.indices[place]
        item = self.dataset[index]
        return self.target.replace(item, self.labels[index]) if index in self.labels else item


class Hidden(Dataset[Any]):
    """Unlabelled points with another point's label in place of their own, unless `strict` is off."""

    def __init__(
        self, dataset: Dataset[Any], indices: Sequence[int], target: Target, strict: bool, stand_in: Any
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.target = target
        self.strict = strict
        self.stand_in = stand_in

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        item = self.dataset[self.indices[place]]
        return self.target.hide(item, self.stand_in) if self.strict else item


def as_class(label: Any) -> int | None:
    """Return a label as a class number, or None where it is none."""
    if hasattr(label, "item") and getattr(label, "size", None) is not None:
        number = label.numel() if isinstance(label, torch.Tensor) else label.size
        label = label.item() if number == 1 else None
    return int(label) if isinstance(label, int) else None
