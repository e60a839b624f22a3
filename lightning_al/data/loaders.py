"""Loaders over parts of a training set, with the settings of the user's own loader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler, Subset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lightning_al.data.batches import Batches, needs_two_points
from lightning_al.data.own_loader import OwnLoader
from lightning_al.data.reading import OF_LABELLED, UNREADABLE, read, unreadable
from lightning_al.data.samplers import Draws, Shuffled, is_of_torchdata, seeds_of_workers
from lightning_al.data.target import Target
from lightning_al.host.loaders import splits_among_ranks
from lightning_al.host.namespace import pl
from lightning_al.run.labels import Label
from lightning_al.values.content_hash import spread


class TrainLoader:
    """Take a user's train loader apart: its dataset, and its settings for loaders over parts of it.

    Args:
        loader: What `train_dataloader` returned.
        owner: The name of the class whose it is, for errors.

    Attributes:
        dataset: The training data.
        draws: Which of their points the loader's sampler draws, and how.
        skips_unreadable: Whether the run goes on without points that cannot be read.

    Raises:
        ValueError: If it is not one DataLoader, or if its batches cannot be made of parts of its dataset.
    """

    def __init__(self, loader: Any, owner: str) -> None:
        if not isinstance(loader, DataLoader):
            raise ValueError(
                f"`ActiveDataModule` expected `{owner}.train_dataloader` to return one DataLoader, but got "
                f"{type(loader).__name__}. Return a `torch.utils.data.DataLoader` over a dataset with `__getitem__` "
                "and `__len__`. Join several datasets by `torch.utils.data.ConcatDataset`."
            )
        if isinstance(loader.dataset, IterableDataset):
            raise ValueError(
                f"`ActiveDataModule` needs a map-style training dataset, whose items have indices to ask for, but "
                f"`{owner}` gave the IterableDataset {type(loader.dataset).__name__}. Give it `__getitem__` and "
                "`__len__`."
            )
        if not hasattr(loader.dataset, "__len__"):
            raise ValueError(
                f"`ActiveDataModule` needs a training dataset that says how many points it has, but "
                f"{type(loader.dataset).__name__} of `{owner}` has no `__len__`. Give it one."
            )
        batches: Any = loader.batch_sampler
        if batches is None:
            raise ValueError(
                f"`ActiveDataModule` makes batches of the labelled points, but `{owner}.train_dataloader` has "
                "`batch_size=None`, which leaves batches to its dataset or its sampler. Let the dataset give single "
                "points, and pass `batch_size=` to the DataLoader."
            )
        if type(batches) is not BatchSampler and not is_of_torchdata(batches):
            raise ValueError(
                f"`ActiveDataModule` makes batches of the labelled points, but `{owner}.train_dataloader` has the "
                f"batch sampler {type(batches).__name__}, which makes them of all points in a way of its own. Pass "
                "`batch_size=`, `drop_last=` and `shuffle=` in its place, or a `WeightedRandomSampler` as `sampler=` "
                "where some points should come more often."
            )
        self.dataset: Dataset[Any] = loader.dataset
        self.draws = Draws.of(batches.sampler, len(self), owner)
        self.batch_size: int = batches.batch_size
        self.drop_last: bool = batches.drop_last
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
        self.skips_unreadable = False
        self._own: OwnLoader | None = None
        if type(loader) is not DataLoader:
            self._own = OwnLoader(loader, owner)
            self._own.check(self.members[:2], self.batch_size)
        self._targets: Sequence[Any] | None = None
        self._classes: dict[int, int | None] = {}

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def shuffle(self) -> bool:
        """Whether points come at random."""
        return self.draws.shuffle

    @property
    def members(self) -> Sequence[int]:
        """Indices of the points that the user's loader trains on, in increasing order."""
        return range(len(self)) if self.draws.members is None else self.draws.members

    def over(
        self,
        dataset: Dataset[Any],
        labelled: Sequence[int],
        samples_per_epoch: int | None,
        order: torch.Generator,
        trainer: pl.Trainer | None = None,
    ) -> DataLoader[Any]:
        """Return a loader to train on a part of the data, which draws as the user's does.

        Args:
            dataset: The labelled points.
            labelled: Their indices.
            samples_per_epoch: How many points an epoch has, in place of what the user's sampler says.
            order: What chance is drawn from.
            trainer: The Trainer that will train.

        Raises:
            ValueError: If batch norm is to be trained on a single point.
        """
        sampler = self.draws.sampler(dataset, labelled, samples_per_epoch, order)
        size = _share(sampler, trainer)
        # Few labels may not fill one batch; to drop it would leave nothing to train on.
        drop_last = self.drop_last and size >= self.batch_size
        seeds = seeds_of_workers(sampler, order, self.settings["persistent_workers"])
        batches: type[BatchSampler] = BatchSampler
        if needs_two_points(trainer):
            batches = Batches
            _check_two_points(size, trainer)
        if isinstance(sampler, Shuffled):
            has_smaller = not drop_last and size % self.batch_size > 0
            sampler.ends_in_smaller_batch = has_smaller and _takes(trainer, math.ceil(size / self.batch_size))
            sampler.is_read_ahead = self.settings["num_workers"] > 0 or batches is Batches
        if self._own is not None:
            return self._own.over(
                dataset,
                sampler,
                batches,
                batch_size=self.batch_size,
                drop_last=drop_last,
                generator=seeds,
                trainer=trainer,
            )
        loader = DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            generator=seeds,
            **self.settings,
        )
        if batches is not BatchSampler:
            # Passed to the constructor, it would take the sampler and the batch size from the loader's attributes.
            vars(loader)["batch_sampler"] = batches(sampler, self.batch_size, drop_last)
        return loader

    def in_order(self, dataset: Dataset[Any], batch_size: int | None) -> DataLoader[Any]:
        """Return a loader to go through a part of the data once."""
        if self._own is not None:
            return self._own.in_order(dataset, batch_size or self.batch_size)
        settings = {**self.settings, "persistent_workers": False}
        return DataLoader(dataset, batch_size=batch_size or self.batch_size, shuffle=False, **settings)

    def read(self, index: int) -> Any:
        """Return an item, or `UNREADABLE` where it cannot be read and the run goes on without such points."""
        return read(self.dataset, index, skip=self.skips_unreadable)

    def can_read(self, index: int) -> bool:
        """Return whether an item can be read, or is to be read whatever comes."""
        return not self.skips_unreadable or self.read(index) is not UNREADABLE

    def read_class(self, index: int, target: Target) -> int | None:
        """Read a target's class once, from the dataset's list of targets where that agrees with its items."""
        if index not in self._classes:
            if self._targets is None:
                self._targets = self.target_list(target)
            item = None if self._targets else self.read(index)
            if item is UNREADABLE:
                return None
            # As a number, since a label that is a tensor may keep the memory of its whole item.
            self._classes[index] = as_class(self._targets[index] if self._targets else target.find(item))
        return self._classes[index]

    def target_list(self, target: Target) -> Sequence[Any]:
        """Return the targets of a dataset that lists them as torchvision's do, or nothing where items disagree."""
        listed = _listed(self.dataset)
        agree = all(
            item is UNREADABLE or as_class(listed[index]) == as_class(target.find(item))
            for index in spread(len(listed))
            for item in [self.read(index)]
        )
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


def _share(sampler: Sampler[int], trainer: pl.Trainer | None) -> int:
    """Return how many of a sampler's points one rank trains on in an epoch."""
    size = len(sampler)  # type: ignore[arg-type]
    if trainer is None or isinstance(sampler, DistributedSampler) or not splits_among_ranks(trainer):
        return size
    return math.ceil(size / trainer.world_size)


def _takes(trainer: pl.Trainer | None, batches: int) -> bool:
    """Return whether the Trainer trains on so many batches an epoch, and not on fewer by its `limit_train_batches`."""
    limit: int | float = 1.0 if trainer is None else trainer.limit_train_batches
    return limit >= (batches if isinstance(limit, int) else 1.0)


def _check_two_points(size: int, trainer: pl.Trainer | None) -> None:
    """Refuse an epoch of one point for batch norm, which no batch before could give a second one."""
    if size == 1 and trainer is not None:
        raise ValueError(
            f"`{type(trainer.lightning_module).__name__}` has batch norm, which cannot be trained on one point alone, "
            f"but an epoch has no other{' on a rank' if trainer.world_size > 1 else ''}. Begin with more labels, "
            f"`ActiveDataModule(initial_size={trainer.world_size + 1})` or more, and do not set `samples_per_epoch` "
            "below that."
        )


class Labelled(Subset[Any]):
    """Labelled points; one that cannot be read is named."""

    def __getitem__(self, place: Any) -> Any:
        try:
            return super().__getitem__(place)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever reading and decoding may raise
            raise self._named([place], error) from error

    def __getitems__(self, places: list[int]) -> list[Any]:
        try:
            return super().__getitems__(places)
        except Exception as error:
            raise self._named(places, error) from error

    def _named(self, places: Sequence[Any], error: Exception) -> Exception:
        return naming(self.dataset, [self.indices[place] for place in places if isinstance(place, int)], error)


def naming(dataset: Dataset[Any], indices: Sequence[int], error: Exception) -> Exception:
    """Return an error of reading labelled points that names the first which cannot be read, where one cannot."""
    for index in indices:
        try:
            dataset[index]
        except Exception as again:
            return unreadable(index, again, OF_LABELLED)
    return error


class Relabelled(Dataset[Any]):
    """Labelled points, with the oracle's labels where it gave any; one that cannot be read is named."""

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
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[Any]:
        indices = [self.indices[place] for place in places]
        try:
            items = _items(self.dataset, indices) if len(indices) > 1 else [self.dataset[indices[0]]]
        except Exception as error:  # whatever reading and decoding may raise
            raise naming(self.dataset, indices, error) from error
        return [self._labelled(index, item) for index, item in zip(indices, items, strict=True)]

    def _labelled(self, index: int, item: Any) -> Any:
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
        return self._hidden(self.dataset[self.indices[place]])

    def __getitems__(self, places: Sequence[int]) -> list[Any]:
        indices = [self.indices[place] for place in places]
        return [self._hidden(item) for item in _items(self.dataset, indices)]

    def _hidden(self, item: Any) -> Any:
        return self.target.hide(item, self.stand_in) if self.strict else item


def _items(dataset: Any, indices: list[int]) -> list[Any]:
    """Return some items of a dataset, read at once where it can do that."""
    while type(dataset) is Subset:
        dataset, indices = dataset.dataset, [dataset.indices[index] for index in indices]
    # Hiding labels takes time, which is won back here.
    if type(dataset) is TensorDataset and all(tensor.layout is torch.strided for tensor in dataset.tensors):
        places = torch.tensor(indices)
        return list(zip(*(tensor[places].unbind() for tensor in dataset.tensors), strict=True))
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[index] for index in indices]
    items = dataset.__getitems__(indices)
    if not isinstance(items, list) or len(items) != len(indices):
        raise ValueError(
            f"`ActiveDataModule` hides or replaces the labels of single items, but `{type(dataset).__name__}"
            f".__getitems__` returned {type(items).__name__} for {len(indices)} indices. Let it return a list with one "
            "item for each index, or leave it out."
        )
    return items


def as_class(label: Any) -> int | None:
    """Return a label as a class number, or None where it is none."""
    if hasattr(label, "item") and getattr(label, "size", None) is not None:
        number = label.numel() if isinstance(label, torch.Tensor) else label.size
        label = label.item() if number == 1 else None
    return int(label) if isinstance(label, int) else None
