"""The user's train loader, and loaders over parts of its dataset with the same settings."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler, default_collate
from torch.utils.data.distributed import DistributedSampler

from lightning_al.data.batches import Batches, needs_two_points
from lightning_al.data.draws import Draws
from lightning_al.data.own_loader import OwnLoader
from lightning_al.data.samplers import Shuffled, is_of_torchdata, seeds_of_workers
from lightning_al.host.loaders import splits_among_ranks
from lightning_al.host.namespace import pl

WITHOUT_GRADIENTS = 4
"""How many times the size of a training batch a batch has that is scored. Scoring keeps the outputs of one layer at a
time; training keeps those of all layers, for the gradients."""


class TrainLoader:
    """Take a user's train loader apart: its dataset, and its settings for loaders over parts of it.

    Args:
        loader: What `train_dataloader` returned.
        owner: The name of the class that has the loader, for errors.

    Attributes:
        dataset: The training data.
        draws: Which of their points the loader's sampler draws, and how.

    Raises:
        ValueError: If it is not a single DataLoader, or if it cannot make batches of a part of its dataset.
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
                f"`ActiveDataModule` needs a map-style training dataset, whose items are queried by index, but "
                f"`{owner}` gave the IterableDataset {type(loader.dataset).__name__}. Give it `__getitem__` and "
                "`__len__`."
            )
        if not hasattr(loader.dataset, "__len__"):
            raise ValueError(
                f"`ActiveDataModule` needs a training dataset with a length, but "
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
                f"batch sampler {type(batches).__name__}, which makes its own batches of all points. Pass "
                "`batch_size=`, `drop_last=` and `shuffle=` instead, or a `WeightedRandomSampler` as `sampler=` "
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
        self._own: OwnLoader | None = None
        if type(loader) is not DataLoader:
            self._own = OwnLoader(loader, owner)
            self._own.check(self.members[:2], self.batch_size)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

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
        """Return a loader to train on a part of the data, which draws like the user's loader.

        Args:
            dataset: The labelled points.
            labelled: Their indices.
            samples_per_epoch: How many points an epoch has, instead of what the user's sampler says.
            order: The generator of the order.
            trainer: The Trainer that will train.

        Raises:
            ValueError: If batch norm would be trained on a single point.
        """
        sampler = self.draws.sampler(dataset, labelled, samples_per_epoch, order)
        size = _share(sampler, trainer)
        # Few labels may not fill one batch. Without it there would be nothing to train on.
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
            # If it were passed to the constructor, the loader would have no attributes `sampler` and `batch_size`.
            vars(loader)["batch_sampler"] = batches(sampler, self.batch_size, drop_last)
        return loader

    def of_tensors(self) -> TrainLoader:
        """Return the same for items that are tensors and labels in memory, which need no workers and no collation."""
        fresh = copy.copy(self)
        fresh._own = None
        fresh.settings = {"num_workers": 0, "collate_fn": default_collate, "persistent_workers": False}
        fresh.settings["pin_memory"] = self.settings["pin_memory"]
        return fresh

    def in_order(self, dataset: Dataset[Any], batch_size: int | None) -> DataLoader[Any]:
        """Return a loader that reads a part of the data once, in order.

        Args:
            dataset: The part.
            batch_size: Batch size; by default `WITHOUT_GRADIENTS` times that of training.
        """
        batch_size = batch_size or WITHOUT_GRADIENTS * self.batch_size
        if self._own is not None:
            return self._own.in_order(dataset, batch_size)
        settings = {**self.settings, "persistent_workers": False}
        return DataLoader(dataset, batch_size=batch_size, shuffle=False, **settings)


def _share(sampler: Sampler[int], trainer: pl.Trainer | None) -> int:
    """Return how many of a sampler's points one rank gets in an epoch."""
    size = len(sampler)  # type: ignore[arg-type]
    if trainer is None or isinstance(sampler, DistributedSampler) or not splits_among_ranks(trainer):
        return size
    return math.ceil(size / trainer.world_size)


def _takes(trainer: pl.Trainer | None, batches: int) -> bool:
    """Return whether the Trainer takes that many batches an epoch, so that `limit_train_batches` cuts off none."""
    limit: int | float = 1.0 if trainer is None else trainer.limit_train_batches
    return limit >= (batches if isinstance(limit, int) else 1.0)


def _check_two_points(size: int, trainer: pl.Trainer | None) -> None:
    """Refuse an epoch of one point for batch norm: there is no other batch to take a second point from."""
    if size == 1 and trainer is not None:
        raise ValueError(
            f"`{type(trainer.lightning_module).__name__}` has batch norm, which cannot be trained on a single point, "
            f"but an epoch has only one{' on a rank' if trainer.world_size > 1 else ''}. Begin with more labels, "
            f"`ActiveDataModule(initial_size={trainer.world_size + 1})` or more, and do not set `samples_per_epoch` "
            "below that."
        )
