"""A LightningDataModule whose training data are the points labelled so far."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lightning_al._lightning import check_namespace, is_overridden, pl, rank_zero_warn
from lightning_al.fingerprint import fingerprint
from lightning_al.attributes import Attributes
from lightning_al.loaders import Hidden, Relabelled, TrainLoader, as_class
from lightning_al.pool import Pool
from lightning_al.seeds import derive, generator, seeded
from lightning_al.target import Target, TargetSpec

PoolDataset = Dataset[Any] | Callable[[Any], Dataset[Any]]

# Lightning looks at whether a datamodule overrides these, so they may exist only where the wrapped one has them.
_FORWARDED = (
    "val_dataloader",
    "test_dataloader",
    "predict_dataloader",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)


class BeforeSetup(pl.Callback):
    """A callback that acts before anything is set up.

    Lightning has no such hook. It sets up the datamodule first of all, and `ActiveDataModule` calls this one then.
    """

    def before_setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Act before the `setup` of datamodule, callbacks and module."""


class ActiveDataModule(pl.LightningDataModule):
    """Split the training data of a datamodule into labelled points, to train on, and a pool, to choose from.

    Everything else stays the wrapped datamodule's: validation, test and predict data, batch size, workers, collate
    function, transfer hooks, hyperparameters. Its `setup` runs under a seed of its own, so that a random split in it
    is the same every time.

    Args:
        data: A LightningDataModule, or a map-style dataset to train on.
        initial_size: How many points are labelled before the first round.
        balanced: Draw as many initial points of each class as of any other.
        initial: Indices of the points labelled before the first round, in place of a draw.
        seed: Seed of the initial draw and of the order of batches.
        target: Where the label of an item is: a key, a position, or a function of the item. By default the last of a
            tuple or list, or in a dict the key among label, labels, target, targets and y.
        pool_dataset: The training data without augmentation, in the same numbering, for scoring: a dataset, or a
            function of the wrapped datamodule that returns one once it is set up.
        samples_per_epoch: Length of an epoch in samples: the labelled points are repeated, each as often as any
            other, so that few labels do not make short epochs. By default each point comes once.
        pool_batch_size: Batch size for scoring; by default that of training.
        val: Validation dataset, where `data` is a dataset.
        test: Test dataset, likewise.
        predict: Dataset for `trainer.predict`, likewise.
        batch_size: Batch size, likewise.
        num_workers: Number of worker processes, likewise.
        collate_fn: Collate function, likewise.
        pin_memory: Whether to pin memory, likewise.

    Raises:
        ValueError: If arguments are missing, contradict each other, or do not fit the data.
        TypeError: If `data` is neither a LightningDataModule of this process's namespace nor a map-style dataset.

    >>> from torch.utils.data import TensorDataset
    >>> data = ActiveDataModule(TensorDataset(torch.zeros(8, 2), torch.arange(8) % 2), initial_size=4, balanced=True)
    >>> data.setup("fit")
    >>> len(data.pool.labelled), data.class_counts(), len(data.pool.unlabelled)
    (4, {0: 2, 1: 2}, 4)
    """

    def __init__(
        self,
        data: pl.LightningDataModule | Dataset[Any],
        *,
        initial_size: int | None = None,
        balanced: bool = False,
        initial: Sequence[int] | None = None,
        seed: int = 0,
        target: TargetSpec = None,
        pool_dataset: PoolDataset | None = None,
        samples_per_epoch: int | None = None,
        pool_batch_size: int | None = None,
        val: Dataset[Any] | None = None,
        test: Dataset[Any] | None = None,
        predict: Dataset[Any] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
    ) -> None:
        if hasattr(data, "train_dataloader"):
            check_namespace(data, "LightningDataModule")
            given = {"val": val, "test": test, "predict": predict, "collate_fn": collate_fn, "pin_memory": pin_memory}
            strange = [name for name, value in given.items() if value is not None and value is not False]
            strange += ["batch_size"] * (batch_size != 32) + ["num_workers"] * (num_workers != 0)
            if strange:
                raise ValueError(
                    f"`ActiveDataModule` got a LightningDataModule and also `{'`, `'.join(strange)}`. Leave these to "
                    "the LightningDataModule, or pass the training dataset in its place."
                )
            self.data: pl.LightningDataModule = cast(pl.LightningDataModule, data)
        else:
            loader = {
                "batch_size": batch_size,
                "num_workers": num_workers,
                "collate_fn": collate_fn,
                "pin_memory": pin_memory,
            }
            self.data = _Datasets(data, val, test, predict, loader)
        super().__init__()
        if (initial_size is None) == (initial is None):
            raise ValueError(
                "`ActiveDataModule` needs either `initial_size`, how many points are labelled before the first round, "
                f"or `initial`, their indices, but got initial_size={initial_size} and initial={initial}. "
                "Pass one of the two."
            )
        if initial is not None and balanced:
            raise ValueError(
                "`ActiveDataModule` got `initial`, the indices to begin with, and also `balanced=True`, which draws "
                "them. Pass `initial_size` in place of `initial`, or leave `balanced` out."
            )
        for name, number in (
            ("initial_size", len(initial) if initial is not None else initial_size),
            ("samples_per_epoch", samples_per_epoch),
            ("pool_batch_size", pool_batch_size),
        ):
            if number is not None and number < 1:
                raise ValueError(
                    f"`ActiveDataModule` needs `{name}` of at least 1, but got {number}. Pass a larger one."
                )
        self.initial_size = initial_size
        self.balanced = balanced
        self.initial = initial
        self.seed = seed
        self.target = Target(target)
        self.pool_dataset = pool_dataset
        self.samples_per_epoch = samples_per_epoch
        self.pool_batch_size = pool_batch_size
        self.prepare_data_per_node = self.data.prepare_data_per_node
        self.allow_zero_length_dataloader_with_multiple_devices = (
            self.data.allow_zero_length_dataloader_with_multiple_devices
        )
        self._pool: Pool | None = None
        self._train: TrainLoader | None = None
        self._fingerprint: dict[str, Any] | None = None
        self._stages: dict[str, Attributes] = {}
        self._held = False
        for hook in _FORWARDED:
            if is_overridden(hook, self.data):
                setattr(self, hook, getattr(self.data, hook))
        if is_overridden("prepare_data", self.data):
            self.prepare_data = self._prepare_data  # type: ignore[method-assign]

    # What Lightning sets or reads belongs to the wrapped datamodule.

    @property
    def trainer(self) -> pl.Trainer | None:
        """The Trainer that the wrapped datamodule is attached to."""
        return self.data.trainer

    @trainer.setter
    def trainer(self, trainer: pl.Trainer | None) -> None:
        if trainer is not None:
            check_namespace(trainer, "Trainer")
        self.data.trainer = trainer

    @property
    def hparams(self) -> Any:
        """The hyperparameters of the wrapped datamodule."""
        return self.data.hparams

    @property
    def hparams_initial(self) -> Any:
        """The hyperparameters that the wrapped datamodule began with."""
        return self.data.hparams_initial

    @property
    def _log_hyperparams(self) -> bool:
        return self.data._log_hyperparams

    @_log_hyperparams.setter
    def _log_hyperparams(self, value: bool) -> None:
        """Leave the choice to the wrapped datamodule."""

    def _prepare_data(self) -> None:
        if not self._held:
            self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Set up the wrapped datamodule; before the first fit, draw the initial set.

        Raises:
            ValueError: If the training data cannot be used, or are not those of the last time.
        """
        trainer = self.trainer
        for callback in getattr(trainer, "callbacks", ()):
            if isinstance(callback, BeforeSetup):
                callback.before_setup(trainer, trainer.lightning_module, getattr(stage, "value", stage))
        if self._held and stage in self._stages:
            self._stages[stage].put_back()
            return
        with seeded(derive(self.seed, "setup")):
            before = Attributes(self.data)
            self.data.setup(stage)
            self._stages[stage] = before.changed()
            if stage == "fit":
                self._take_training_data()

    def teardown(self, stage: str) -> None:
        """Tear down the wrapped datamodule for all stages that were set up, each with what its `setup` made."""
        if not self._held:
            self._stages.setdefault(stage, Attributes(self.data).changed())
            for done, made in sorted(self._stages.items()):
                made.put_back()
                self.data.teardown(done)
            self._stages.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the wrapped datamodule set up while one run's rounds follow each other."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def on_exception(self, exception: BaseException) -> None:
        """Tell the wrapped datamodule of an exception."""
        self.data.on_exception(exception)

    def state_dict(self) -> dict[str, Any]:
        """Return the pool's state and the wrapped datamodule's."""
        return {"pool": self.pool.state_dict(), "data": self.data.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the pool's state and the wrapped datamodule's; for a test or a prediction, the latter alone."""
        if self.trainer is None or not (self.trainer.evaluating or self.trainer.predicting):
            self.pool.load_state_dict(state_dict["pool"])
        self.data.load_state_dict(state_dict["data"])

    # The pool and the labels.

    @property
    def pool(self) -> Pool:
        """Which points are labelled; there is one once the datamodule was set up for a fit."""
        if self._pool is None:
            raise RuntimeError(
                "`ActiveDataModule.pool` does not exist before the data are set up. Call `trainer.fit` or "
                '`data.setup("fit")` first.'
            )
        return self._pool

    @property
    def dataset(self) -> Dataset[Any]:
        """The wrapped training dataset, by whose indices points are known."""
        return self._training.dataset

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a restart knows the training data by: see `lightning_al.fingerprint`."""
        assert self._fingerprint is not None
        return self._fingerprint

    @property
    def _training(self) -> TrainLoader:
        if self._train is None:
            raise RuntimeError('`ActiveDataModule` is not set up. Call `trainer.fit` or `data.setup("fit")` first.')
        return self._train

    def class_of(self, index: int) -> int | None:
        """Return the class of a point: an oracle's label, or else the dataset's target; None where it is no class."""
        label = self.pool.labels.get(index) if self._pool is not None else None
        return self._training.read_class(index, self.target) if label is None else as_class(label)

    def class_counts(self) -> dict[int, int] | None:
        """Count the labelled points of each class, or return None where labels are not class numbers."""
        counts: dict[int, int] = {}
        for index in self.pool.labelled:
            label = self.class_of(index)
            if label is None:
                return None
            counts[label] = counts.get(label, 0) + 1
        return dict(sorted(counts.items()))

    # The loaders.

    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the labelled points, with the wrapped loader's settings."""
        labels = self.pool.labels
        labelled = self.pool.labelled
        dataset: Dataset[Any] = Subset(self.dataset, labelled)
        if labels:
            dataset = Relabelled(self.dataset, labelled, labels, self.target)
        # A loader made anew in the middle of a fit goes on in another order than the one of the first epoch.
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        order = generator(self.seed, len(self.pool.rounds) - 1, "batches", *([epoch] if epoch else []))
        return self._training.over(dataset, self.samples_per_epoch, order)

    def pool_dataloader(self, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        """Return a loader of unlabelled points in index order, with their labels hidden.

        Args:
            indices: The points to load in place of all unlabelled ones, in this order.
        """
        strict = self.pool_dataset is None or not callable(self.target.spec)
        indices = self.pool.unlabelled if indices is None else list(indices)
        view = Hidden(self._scored_dataset(), indices, self.target, strict)
        return self._training.in_order(view, self.pool_batch_size)

    def _scored_dataset(self) -> Dataset[Any]:
        if self.pool_dataset is None:
            return self.dataset
        given: Any = self.pool_dataset
        dataset: Any = given if hasattr(given, "__getitem__") else given(self.data)
        if len(dataset) != len(self._training):
            raise ValueError(
                f"`ActiveDataModule(pool_dataset=...)` has {len(dataset)} points, but the training data have "
                f"{len(self._training)}. Pass the same points in the same order."
            )
        return cast(Dataset[Any], dataset)

    def _take_training_data(self) -> None:
        if not is_overridden("train_dataloader", self.data):
            raise ValueError(
                f"`ActiveDataModule` wraps `{type(self.data).__name__}`, which has no `train_dataloader`. Define it: "
                "its dataset is what the pool is made of."
            )
        self._train = TrainLoader(self.data.train_dataloader(), type(self.data).__name__)
        size = len(self._train)
        with seeded(derive(self.seed, "fingerprint")):
            found = fingerprint(
                size,
                lambda index: self._training.read_class(index, self.target),
                self._scored_dataset().__getitem__,
            )
        before = self._fingerprint or found
        # Contents may come out otherwise by a rare augmentation, which is no other dataset.
        if any(found[part] != before[part] for part in ("length", "labels", "form")):
            raise ValueError(
                f"The training data of `{type(self.data).__name__}` changed between two calls of its `setup`, so "
                "indices have lost their meaning. Make `setup` give the same dataset in the same order every time."
            )
        self._fingerprint = before
        if self._pool is None:
            self._pool = Pool(size, self._initial(size))
            self._warn_of_augmentation()

    def _initial(self, size: int) -> list[int]:
        if self.initial is not None:
            return list(self.initial)
        assert self.initial_size is not None
        if self.initial_size > size:
            raise ValueError(
                f"`ActiveDataModule(initial_size={self.initial_size})` asks for more points than the training data "
                f"have, which is {size}. Lower it, so that there is a pool to choose from."
            )
        order = torch.randperm(size, generator=generator(self.seed, "initial")).tolist()
        return self._balance(order)[: self.initial_size] if self.balanced else order[: self.initial_size]

    def _balance(self, order: list[int]) -> list[int]:
        """Deal the indices out class by class, in the order in which a class first comes."""
        by_class = defaultdict(list)
        for index in order:
            label = self.class_of(index)
            if label is None:
                raise ValueError(
                    "`ActiveDataModule(balanced=True)` needs labels that are class numbers, but the label of index "
                    f"{index} is not one. Pass `initial=` with the indices to begin with."
                )
            by_class[label].append(index)
        turns = max(map(len, by_class.values()))
        return [members[turn] for turn in range(turns) for members in by_class.values() if turn < len(members)]

    def _warn_of_augmentation(self) -> None:
        unlabelled = self.pool.unlabelled[:2]
        items = self.pool_dataloader(unlabelled).dataset
        with seeded(derive(self.seed, "twice")):
            for place, index in enumerate(unlabelled):
                draws = [items[place] for _ in range(4)]
                if not all(_same(draws[0], draw) for draw in draws[1:]):
                    rank_zero_warn(
                        f"`ActiveDataModule` drew item {index} of the pool twice and got two different ones, so the "
                        "pool would be scored under random augmentation. Pass `pool_dataset=`, the same points without "
                        "it."
                    )
                    return


class _Datasets(pl.LightningDataModule):
    """Plain datasets as the LightningDataModule that `ActiveDataModule` wraps."""

    def __init__(
        self,
        train: Any,
        val: Dataset[Any] | None,
        test: Dataset[Any] | None,
        predict: Dataset[Any] | None,
        loader: dict[str, Any],
    ) -> None:
        super().__init__()
        if not isinstance(train, IterableDataset) and not (hasattr(train, "__getitem__") and hasattr(train, "__len__")):
            raise TypeError(
                "`ActiveDataModule` expected a LightningDataModule or a map-style dataset (with `__getitem__` and "
                f"`__len__`), but got {type(train).__name__}. Pass one of these."
            )
        self.train = train
        self.loader = loader
        for name, dataset in (("val", val), ("test", test), ("predict", predict)):
            if dataset is not None:
                setattr(self, f"{name}_dataloader", partial(self._in_order, dataset))

    def train_dataloader(self) -> DataLoader[Any]:
        shuffle = None if isinstance(self.train, IterableDataset) else True
        return DataLoader(self.train, shuffle=shuffle, **self.loader)

    def _in_order(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        return DataLoader(dataset, **self.loader)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray | np.generic):
        return one.shape == other.shape and bool(np.all((one == other) | ((one != one) & (other != other))))
    if dataclasses.is_dataclass(one):
        return all(_same(getattr(one, part.name), getattr(other, part.name)) for part in dataclasses.fields(one))
    # Of things without an equality of their own nothing can be said.
    has_equality = type(one).__eq__ is not object.__eq__  # type: ignore[comparison-overlap]
    return not has_equality or bool(one == other or one != one)
