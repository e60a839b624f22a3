"""A LightningDataModule whose training data are the points labelled so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lightning_al.data.arrays import as_dataset
from lightning_al.data.attributes import Attributes
from lightning_al.data.batches import needs_two_points
from lightning_al.data.dataset import AnyDataset
from lightning_al.data.delegation import Delegation, shown
from lightning_al.data.fingerprint import fingerprint
from lightning_al.data.initial import initial_indices, num_initial, read_initial
from lightning_al.data.loaders import Hidden, Labelled, Relabelled, TrainLoader, as_class
from lightning_al.data.pool import Pool
from lightning_al.data.reading import OF_LABELLED, OF_QUERY, UNREADABLE, read
from lightning_al.data.target import Target, TargetSpec
from lightning_al.data.target_inputs import TargetInputs, dataset_of
from lightning_al.host.found_checkpoints import choose_checkpoints
from lightning_al.host.hyperparameters import logs_hyperparameters, take_own_hyperparameters
from lightning_al.host.namespace import check_namespace, is_overridden, pl, rank_zero_info, rank_zero_warn
from lightning_al.host.same_on_ranks import check_same_on_ranks, hash_of_items
from lightning_al.run.same_run import labels_agree
from lightning_al.run.seeds import Seed, derive, generator, seeded
from lightning_al.task.class_names import listed_classes
from lightning_al.task.labels import is_lacking
from lightning_al.values.content_hash import content_hash
from lightning_al.values.errors import said_shortly
from lightning_al.values.parts import is_pandas
from lightning_al.values.whole_numbers import MOST_HELD, MOST_WORKERS, optional_whole_number, whole_number

# LightningCLI tries the types in this order, and would take a dataset's class for a function that returns datasets.
PoolDataset = Callable[[Any], Any] | AnyDataset

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


class ActiveDataModule(Delegation, pl.LightningDataModule):
    """Split the training data of a datamodule into labelled points, to train on, and a pool, to choose from.

    Everything else stays the wrapped datamodule's: validation, test and predict data, batch size, workers, collate
    function, transfer hooks, hyperparameters, and every public attribute that is not defined here. Its `setup` runs
    under a seed of its own, so that a random split in it is the same every time.

    In scoring, every point of the pool has the label of the first initial point in place of its own.

    The sampler of the train loader is kept too. Where it draws only some points (a `SubsetRandomSampler`, a list of
    indices), the pool is made of these. A number of samples and whether points are drawn with replacement are kept, a
    number that is that of its points being one epoch over the labelled ones. A `WeightedRandomSampler` weighs the
    labelled points by their indices, and points of weight 0 are not in the pool. A sampler of your own class is asked
    for the order of each epoch, of which the labelled points are kept.

    Where the module that is fitted has batch norm, which cannot be trained on one point, a last batch of one point gets
    a second one from the batch before; in batches of two, the last three points make one batch.

    Args:
        data: A LightningDataModule, a map-style dataset to train on, or a pair of arrays, inputs and labels (see
            `lightning_al.data.arrays.as_dataset`).
        initial_size: How many points are labelled before the first round.
        balanced: Draw as many initial points of each class as of any other.
        initial: Indices of the points labelled before the first round, or a mask with a bool for each point of the
            dataset, in place of a draw.
        seed: Seed of the initial draw and of the order of batches. By default that of
            `pytorch_lightning.seed_everything`, where the program called it, else 0.
        target: Where the label of an item is: a key or an attribute's name, a position, or a function of the item. By
            default the last of a tuple or list, or the key or attribute among label, labels, target, targets and y.
        pool_dataset: The training data without augmentation, in the same numbering, for scoring: a dataset, or a
            function of the wrapped datamodule that returns one once it is set up.
        samples_per_epoch: Length of an epoch in samples: the labelled points are repeated, each as often as any
            other or by its weight, so that few labels do not make short epochs. By default what the sampler says, or
            each point once.
        pool_batch_size: Batch size for scoring; by default that of training.
        classes: What an oracle may answer: names of the classes, in the order of their class numbers, or the numbers
            that labels may be. By default the names are those of the dataset or the LightningDataModule, where these
            have a list `classes`, and numbers go up to the number of the network's outputs.
        target_inputs: Where predictions will be made, for methods that ask how much a label tells of these (EPIG): a
            dataset of items as those of the training data, with or without labels, or "val", the validation data. By
            default the pool.
        groups: The group that each point of the dataset belongs to, such as the patient or the video it comes from: one
            number or name a point, in the order of the dataset.
        val: Validation dataset or pair of arrays, where `data` is one.
        test: Test dataset, likewise.
        predict: Dataset for `trainer.predict`, likewise.
        batch_size: Batch size, likewise.
        num_workers: Number of worker processes, likewise.
        collate_fn: Collate function, likewise.
        pin_memory: Whether to pin memory, likewise.

    Attributes:
        wrapped: The wrapped LightningDataModule.
        target: A `Target`, which finds the label of an item.
        skips_unreadable: Whether points of the pool that cannot be read are passed over, as
            ``ActiveLearning(unscorable="skip")`` asks for.

    Raises:
        ValueError: If arguments are missing, contradict each other, or do not fit the data.
        TypeError: If `data` is neither a LightningDataModule of this process's namespace nor a map-style dataset.

    >>> from torch.utils.data import TensorDataset
    >>> data = ActiveDataModule(TensorDataset(torch.zeros(8, 2), torch.arange(8) % 2), initial_size=4, balanced=True)
    >>> data.setup("fit")
    >>> len(data.pool.labelled), data.class_counts(), len(data.pool.unlabelled)
    (4, {0: 2, 1: 2}, 4)
    """

    seed = Seed()

    _wrapped_first = frozenset({"dataset"})

    def __init__(
        self,
        data: pl.LightningDataModule | AnyDataset,
        *,
        initial_size: int | None = None,
        balanced: bool = False,
        initial: Sequence[int] | None = None,
        seed: int | None = None,
        target: TargetSpec = None,
        pool_dataset: PoolDataset | None = None,
        samples_per_epoch: int | None = None,
        pool_batch_size: int | None = None,
        classes: Sequence[str] | Sequence[int] | None = None,
        target_inputs: AnyDataset | Literal["val"] | None = None,
        groups: Sequence[Any] | None = None,
        val: AnyDataset | None = None,
        test: AnyDataset | None = None,
        predict: AnyDataset | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
    ) -> None:
        if isinstance(data, type):
            raise TypeError(
                f"`ActiveDataModule` expected a LightningDataModule or a dataset, but got the class `{data.__name__}`. "
                f"Pass an object, `{data.__name__}()`."
            )
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
            wrapped = cast(pl.LightningDataModule, data)
            take_own_hyperparameters(wrapped, type(self))
        else:
            loader = {
                "batch_size": whole_number("ActiveDataModule", "batch_size", batch_size),
                "num_workers": whole_number("ActiveDataModule", "num_workers", num_workers, least=0, most=MOST_WORKERS),
                "collate_fn": collate_fn,
                "pin_memory": pin_memory,
            }
            wrapped = _Datasets(
                as_dataset(data),
                as_dataset(val, "val"),
                as_dataset(test, "test"),
                as_dataset(predict, "predict"),
                loader,
            )
        # The base class sets a trainer, which is the wrapped datamodule's.
        self.__dict__["wrapped"] = wrapped
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
        who = type(self).__name__
        self.initial_size = optional_whole_number(who, "initial_size", initial_size)
        self.balanced = balanced
        self.initial = None if initial is None else read_initial(initial)
        self.seed = seed
        self.target = Target(target)
        self.pool_dataset = as_dataset(pool_dataset, "pool_dataset")
        self.samples_per_epoch = optional_whole_number(who, "samples_per_epoch", samples_per_epoch, most=MOST_HELD)
        self.pool_batch_size = optional_whole_number(who, "pool_batch_size", pool_batch_size)
        self._classes = None if classes is None else listed_classes(classes)
        if isinstance(target_inputs, str) and target_inputs != "val":
            raise ValueError(
                f"`ActiveDataModule(target_inputs={target_inputs!r})` is not known. Pass 'val' for the validation "
                "data, or a dataset."
            )
        is_val = isinstance(target_inputs, str)
        self.target_inputs = "val" if is_val else as_dataset(target_inputs, "target_inputs")
        self.groups = None if groups is None else list(groups)
        self.prepare_data_per_node = self.wrapped.prepare_data_per_node
        self.allow_zero_length_dataloader_with_multiple_devices = (
            self.wrapped.allow_zero_length_dataloader_with_multiple_devices
        )
        self._pool: Pool | None = None
        self._train: TrainLoader | None = None
        self._fingerprint: dict[str, Any] | None = None
        self._stages: dict[str, Attributes] = {}
        self._held = False
        self._stand_in: tuple[Any, Any] | None = None
        self.skips_unreadable = False
        self._forward_hooks()
        self._delegate()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forward_hooks()

    def __repr__(self) -> str:
        if "_delegates" not in vars(self):
            return f"{type(self).__name__}()"
        if self._pool is None:
            size = self.initial_size if self.initial is None else num_initial(self.initial)
            return f"{type(self).__name__}({shown(self.wrapped)}, initial_size={size}, not set up)"
        return f"{type(self).__name__}({shown(self.wrapped)}, {self.pool!r})"

    def _forward_hooks(self) -> None:
        for hook in _FORWARDED:
            if is_overridden(hook, self.wrapped):
                setattr(self, hook, getattr(self.wrapped, hook))
        if is_overridden("prepare_data", self.wrapped):
            self.prepare_data = self._prepare_data  # type: ignore[method-assign]

    # What Lightning sets or reads belongs to the wrapped datamodule.

    @property
    def trainer(self) -> pl.Trainer | None:
        """The Trainer that the wrapped datamodule is attached to."""
        return self.wrapped.trainer

    @trainer.setter
    def trainer(self, trainer: pl.Trainer | None) -> None:
        if trainer is not None:
            check_namespace(trainer, "Trainer")
            choose_checkpoints(trainer, _has_active_learning, has_fitted=self._pool is not None)
        self.wrapped.trainer = trainer

    @property
    def name(self) -> str | None:
        """The name of the wrapped datamodule, where it has one."""
        return self.wrapped.name

    @name.setter
    def name(self, name: str | None) -> None:
        self.wrapped.name = name

    @property
    def hparams(self) -> Any:
        """The hyperparameters of the wrapped datamodule."""
        return self.wrapped.hparams

    @property
    def hparams_initial(self) -> Any:
        """The hyperparameters that the wrapped datamodule began with."""
        return self.wrapped.hparams_initial

    @property
    def _log_hyperparams(self) -> bool:
        return logs_hyperparameters(self.wrapped)

    @_log_hyperparams.setter
    def _log_hyperparams(self, value: bool) -> None:
        """Leave the choice to the wrapped datamodule."""

    def _prepare_data(self) -> None:
        if not self._held:
            self.wrapped.prepare_data()

    def setup(self, stage: str) -> None:
        """Set up the wrapped datamodule; before the first fit, draw the initial set.

        Raises:
            ValueError: If the training data cannot be used, or are not those of the last time.
        """
        if self.trainer is not None:
            for callback in getattr(self.trainer, "callbacks", ()):
                if isinstance(callback, BeforeSetup):
                    callback.before_setup(self.trainer, self.trainer.lightning_module, getattr(stage, "value", stage))
        if self._held and stage in self._stages:
            self._stages[stage].put_back()
            return
        with seeded(derive(self.seed, "setup")):
            before = Attributes(self.wrapped)
            self.wrapped.setup(stage)
            self._stages[stage] = before.changed()
            if stage == "fit":
                self._take_training_data()
        self._tell_shared_names()
        if stage == "fit" and self.trainer is not None and not _has_active_learning(self.trainer):
            rank_zero_info(
                f"`trainer.fit` trains on the {self.pool.num_labelled} labelled of {self.pool.size} points and queries "
                "no labels, since the Trainer has no `ActiveLearning` among its callbacks. To run active learning, "
                "pass `callbacks=[ActiveLearning(...)]`; to train on all points, fit the wrapped data."
            )

    def teardown(self, stage: str) -> None:
        """Tear down the wrapped datamodule for all stages that were set up, each with what its `setup` made."""
        if not self._held:
            self._stages.setdefault(stage, Attributes(self.wrapped).changed())
            before = Attributes(self.wrapped)
            for done, made in sorted(self._stages.items()):
                # Two stages may share what one of them removes.
                before.put_back_lost()
                made.put_back()
                self.wrapped.teardown(done)
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
        self.wrapped.on_exception(exception)

    def state_dict(self) -> dict[str, Any]:
        """Return the pool's state, once there is one, and the wrapped datamodule's."""
        pool = {} if self._pool is None else {"pool": self._pool.state_dict()}
        return {**pool, "data": self.wrapped.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the pool's state and the wrapped datamodule's; for a test or a prediction, the latter alone."""
        is_for_the_weights = self.trainer is not None and (self.trainer.evaluating or self.trainer.predicting)
        if not is_for_the_weights and "pool" in state_dict:
            self.pool.load_state_dict(state_dict["pool"])
        self.wrapped.load_state_dict(state_dict["data"])

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
    def dataset(self) -> Any:
        """The training data, by whose indices points are known; or what the wrapped datamodule calls `dataset` itself.

        It is the one name of both that is the wrapped datamodule's, since many have it and mean other data by it.
        """
        return self.wrapped.dataset if hasattr(self.wrapped, "dataset") else self._training.dataset

    @dataset.setter
    def dataset(self, dataset: Any) -> None:
        self.wrapped.dataset = dataset  # type: ignore[attr-defined]

    def item_of(self, index: int) -> Any:
        """Return a point of the training data, as their dataset gives it; one that cannot be read is named."""
        return read(self._training.dataset, index, remedy=OF_LABELLED)

    def pool_item(self, index: int) -> Any:
        """Return a point as the pool is read, from `pool_dataset` where there is one; one not to be read is named."""
        return read(self._scored_dataset(), index, remedy=OF_QUERY)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a restart knows the training data by: see `lightning_al.data.fingerprint`."""
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

    def label_of(self, index: int) -> Any:
        """Return the label of a point as it is: an oracle's, or else the dataset's target; None where it has none."""
        label = self.pool.labels.get(index)
        return self.target.find(self.item_of(index)) if label is None else label

    def without_label(self) -> list[int]:
        """Return the initial points for which neither the dataset nor an oracle has a label, in their order.

        See `lightning_al.task.labels.is_lacking`.
        """
        with seeded(derive(self.seed, "labels")):
            labels = {index: self.label_of(index) for index in self.pool.rounds[0]}
        return [index for index, label in labels.items() if is_lacking(label, beside=labels.values())]

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
        # A loader made anew in the middle of a fit goes on in another order than the one of the first epoch, and may be
        # another, of larger batches say.
        self._check_length()
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        training = self._read_again(epoch) if epoch else self._training
        labels = self.pool.labels
        labelled = self.pool.labelled
        dataset: Dataset[Any] = Labelled(training.dataset, labelled)
        if labels or self.pool.lacking:
            dataset = Relabelled(training.dataset, labelled, labels, self.target)
        order = generator(self.seed, len(self.pool.rounds) - 1, "batches", *([epoch] if epoch else []))
        return training.over(dataset, labelled, self.samples_per_epoch, order, self.trainer)

    def pool_dataloader(self, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        """Return a loader of unlabelled points in index order, with their labels hidden.

        Args:
            indices: The points to load in place of all unlabelled ones, in this order.
        """
        self._check_length()
        strict = self.pool_dataset is None or not callable(self.target.spec)
        indices = self.pool.unlabelled if indices is None else list(indices)
        view = Hidden(self._scored_dataset(), indices, self.target, strict, self._label_to_show() if strict else None)
        return self._training.in_order(view, self.pool_batch_size)

    def labelled_dataloader(self, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        """Return a loader of labelled points in the order in which they were labelled, read as the pool is.

        Args:
            indices: The points to load in place of all labelled ones, in this order.
        """
        self._check_length()
        indices = self.pool.labelled if indices is None else list(indices)
        view = Relabelled(self._scored_dataset(), indices, self.pool.labels, self.target)
        return self._training.in_order(view, self.pool_batch_size)

    def target_inputs_dataset(self) -> TargetInputs:
        """Return the items at which predictions will be made, with one label in the place of their own.

        Raises:
            ValueError: If they are not given, or the validation data have no items by number.
        """
        if self.target_inputs is None:
            raise ValueError("`ActiveDataModule` was given no `target_inputs`. Pass a dataset, or 'val'.")
        found: Any = self.target_inputs
        if isinstance(found, str):
            found = dataset_of(self.wrapped.val_dataloader() if is_overridden("val_dataloader", self) else [])
        strict = not callable(self.target.spec)
        like = self.item_of(self.pool.initial[0])
        return TargetInputs(found, like, self.target, self._label_to_show() if strict else None)

    def target_inputs_dataloader(self, indices: Sequence[int]) -> DataLoader[Any]:
        """Return a loader of some of these items, in this order."""
        view: Dataset[Any] = Subset(self.target_inputs_dataset(), list(indices))
        return self._training.in_order(view, self.pool_batch_size)

    def group_numbers(self, indices: Sequence[int]) -> Tensor:
        """Return the number of the group of each of some points ``[n]``, int64; of one group, the same.

        Raises:
            ValueError: If no groups are known.
        """
        if self.groups is None:
            raise ValueError("`ActiveDataModule` was given no `groups`. Pass one for each point of the dataset.")
        numbers = {group: number for number, group in enumerate(dict.fromkeys(self.groups))}
        return torch.tensor([numbers[self.groups[index]] for index in indices], dtype=torch.int64)

    def _check_length(self) -> None:
        """Refuse a dataset that grew or shrank since the pool was made of it."""
        before, now = self.pool.dataset_size, len(self._training)
        if now != before:
            raise ValueError(
                f"The training data of `{type(self.wrapped).__name__}` had {before} points when the run began and have "
                f"{now} now, in its round {len(self.pool.rounds) - 1}. Leave the dataset as it is while a run goes on, "
                "and begin another run with the other points."
            )

    def _label_to_show(self) -> Any:
        """Return what stands for every label of the pool: that of the first initial point, as it is trained on."""
        initial = self.pool.initial[0]
        given = self.pool.labels.get(initial)
        if self._stand_in is None or self._stand_in[0] != given:
            first = Relabelled(self._training.dataset, [initial], self.pool.labels, self.target)
            with seeded(derive(self.seed, "stand-in")):
                label = self.target.find(first[0])
            self._stand_in = given, 0 if label is None and initial in self.pool.lacking else label
        return self._stand_in[1]

    def _scored_dataset(self) -> Dataset[Any]:
        if self.pool_dataset is None:
            return self._training.dataset
        given: Any = self.pool_dataset
        dataset: Any = given if hasattr(given, "__getitem__") else given(self.wrapped)
        if len(dataset) != len(self._training):
            raise ValueError(
                f"`ActiveDataModule(pool_dataset=...)` has {len(dataset)} points, but the training data have "
                f"{len(self._training)}. Pass the same points in the same order."
            )
        return cast(Dataset[Any], dataset)

    def _take_training_data(self) -> None:
        if not is_overridden("train_dataloader", self.wrapped):
            raise ValueError(
                f"`ActiveDataModule` wraps `{type(self.wrapped).__name__}`, which has no `train_dataloader`. Define "
                "it: its dataset is what the pool is made of."
            )
        self._train = TrainLoader(self.wrapped.train_dataloader(), type(self.wrapped).__name__)
        self._train.skips_unreadable = self.skips_unreadable
        members = self._train.members
        self._check_ranks(self._train, self._scored_dataset())
        if self.groups is not None and len(self.groups) != len(self._train):
            raise ValueError(
                f"`ActiveDataModule(groups=...)` has {len(self.groups)} groups, but the training data have "
                f"{len(self._train)} points. Pass one for each point, in the order of the dataset."
            )
        found = self._fingerprint_of(self._train, self._scored_dataset())
        before = self._fingerprint or found
        if _are_others(found, before):
            lengths = f" from {before['length']} to {found['length']} points" * (before["length"] != found["length"])
            raise ValueError(
                f"The training data of `{type(self.wrapped).__name__}` changed between two calls of its `setup`"
                f"{lengths}, so indices have lost their meaning. Make `setup` give the same dataset in the "
                "same order every time."
            )
        self._fingerprint = before
        if self._pool is None:
            self._pool = Pool(len(self._train), self._initial(members), members=members)
            self._check_batches()
            self._warn_of_augmentation()
        if needs_two_points(self.trainer):
            # Refuses one point alone here, before anything of the run is written.
            self.train_dataloader()

    def _read_again(self, epoch: int) -> TrainLoader:
        """Return the wrapped datamodule's loader for a later epoch of a fit, which may differ in all but its points."""
        later = TrainLoader(self.wrapped.train_dataloader(), type(self.wrapped).__name__)
        later.skips_unreadable = self.skips_unreadable
        is_same = later.dataset is self._training.dataset and list(later.members) == list(self._training.members)
        scored = later.dataset if self.pool_dataset is None else self._scored_dataset()
        if not is_same and _are_others(self._fingerprint_of(later, scored), self.fingerprint):
            raise ValueError(
                f"`{type(self.wrapped).__name__}.train_dataloader` gave other training points in epoch {epoch} than "
                "before the fit, so indices have lost their meaning. Make it give the same points in the same order in "
                "every epoch; batch size, transforms and weights may change."
            )
        return later

    def _fingerprint_of(self, training: TrainLoader, scored: Dataset[Any]) -> dict[str, Any]:
        members = training.members
        with seeded(derive(self.seed, "fingerprint")):
            found = fingerprint(
                len(members),
                lambda place: training.read_class(members[place], self.target),
                lambda place: read(scored, members[place], skip=self.skips_unreadable),
            )
        if len(members) < len(training):
            found["members"] = content_hash(list(members))
        if self.groups is not None:
            found["groups"] = content_hash([str(group) for group in self.groups])
        if isinstance(self.target_inputs, str):
            found["target_inputs"] = self.target_inputs
        elif self.target_inputs is not None:
            inputs: Any = self.target_inputs
            with seeded(derive(self.seed, "fingerprint of target inputs")):
                found["target_inputs"] = fingerprint(len(inputs), lambda place: None, inputs.__getitem__)
        return found

    def _check_ranks(self, training: TrainLoader, scored: Dataset[Any]) -> None:
        """Refuse training data or arguments that are not the same on every rank."""
        if self.trainer is None or self.trainer.world_size == 1:
            return
        size = self.trainer.strategy.broadcast(len(training.members))

        def read_both(place: int) -> Any:
            index = training.members[place]
            item = read(scored, index, skip=self.skips_unreadable)
            return item if scored is training.dataset else (item, training.read(index))

        try:
            items = hash_of_items(self.trainer, min(size, len(training.members)), read_both, derive(self.seed, "ranks"))
        except Exception as error:
            items = said_shortly(error)
        check_same_on_ranks(
            self.trainer,
            f"The training data of `{type(self.wrapped).__name__}`, or the points that its sampler draws,",
            lambda: {
                **self._fingerprint_of(training, scored),
                "order of the items": items,
                "order of the labels": content_hash(repr(training.target_list(self.target))),
            },
            "Sort the list of files, and give a random split or shuffle the same seed on every rank.",
        )

    def _initial(self, members: Sequence[int]) -> list[int]:
        if self.initial is not None:
            return initial_indices(self.initial, len(self._training), members)
        assert self.initial_size is not None
        size = len(members)
        if self.initial_size > size:
            raise ValueError(
                f"`ActiveDataModule(initial_size={self.initial_size})` asks for more points than the training data "
                f"have, which is {size}. Lower it, so that there is a pool to choose from."
            )
        places = torch.randperm(size, generator=generator(self.seed, "initial")).tolist()
        order = [members[place] for place in places]
        return self._balance(order)[: self.initial_size] if self.balanced else order[: self.initial_size]

    def _balance(self, order: list[int]) -> list[int]:
        """Deal the indices out class by class, in the order in which a class first comes."""
        by_class = defaultdict(list)
        for index in order:
            label = self.class_of(index)
            if label is None and not self._training.can_read(index):
                continue
            if label is None:
                raise ValueError(
                    "`ActiveDataModule(balanced=True)` needs labels that are class numbers, but the label of index "
                    f"{index} is not one. Pass `initial=` with the indices to begin with."
                )
            by_class[label].append(index)
        turns = max(map(len, by_class.values()))
        return [members[turn] for turn in range(turns) for members in by_class.values() if turn < len(members)]

    def _readable(self, most: int) -> list[int]:
        """Return the first few unlabelled points, without those that are passed over."""
        first = self.pool.unlabelled[: most if not self.skips_unreadable else 8 * most]
        return [index for index in first if self._can_read(index)][:most]

    def _can_read(self, index: int) -> bool:
        return not self.skips_unreadable or read(self._scored_dataset(), index, skip=True) is not UNREADABLE

    def _check_batches(self) -> None:
        """Refuse a dataset that reads a batch at once in a form whose labels cannot be hidden."""
        some = self._readable(3)
        if some and hasattr(self._scored_dataset(), "__getitems__"):
            view: Any = self.pool_dataloader(some).dataset
            view.__getitems__(range(len(some)))

    def _warn_of_augmentation(self) -> None:
        unlabelled = self._readable(4)
        items: Any = self.pool_dataloader(unlabelled).dataset
        with seeded(derive(self.seed, "twice")):
            for place, index in enumerate(unlabelled[:2]):
                if _differ(partial(items.__getitem__, place)):
                    rank_zero_warn(
                        f"`ActiveDataModule` drew item {index} of the pool twice and got two different ones, so the "
                        "pool would be scored under random augmentation. Pass `pool_dataset=`, the same points without "
                        "it."
                    )
                    return
            collate: Any = self._training.settings["collate_fn"]
            # Where it fails, scoring will say more.
            with suppress(Exception):
                if unlabelled and _differ(lambda: collate([items[place] for place in range(len(unlabelled))])):
                    rank_zero_warn(
                        f"`ActiveDataModule` made a batch of the same {len(unlabelled)} points twice and got two "
                        "different ones, since the collate function of the train loader draws at random, so the pool "
                        "would be scored as it is mixed or changed there. Do this in `training_step`, or in "
                        "`on_after_batch_transfer` where `self.trainer.training` is true."
                    )


def _differ(draw: Callable[[], Any], times: int = 4) -> bool:
    """Return whether what is drawn several times is not always the same."""
    return len({content_hash(draw()) for _ in range(times)}) > 1


def _are_others(found: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether fingerprints are of other training data, not of other contents by augmentation alone."""
    differ = any(found.get(part) != before.get(part) for part in ("length", "form", "members"))
    return differ or not labels_agree(found, before)


def _has_active_learning(trainer: pl.Trainer) -> bool:
    return any(isinstance(callback, BeforeSetup) for callback in getattr(trainer, "callbacks", ()))


def arguments_of(data: ActiveDataModule) -> dict[str, Any]:
    """Return the arguments of a datamodule that change weights or picks by more than the points and their labels."""
    given = {"seed": data.seed, "target": data.target.spec, "samples_per_epoch": data.samples_per_epoch}
    return given | (data.wrapped.given if isinstance(data.wrapped, _Datasets) else {})


class _Datasets(pl.LightningDataModule):
    """Plain datasets as the LightningDataModule that `ActiveDataModule` wraps."""

    def __init__(
        self,
        train: Any,
        val: AnyDataset | None,
        test: AnyDataset | None,
        predict: AnyDataset | None,
        loader: dict[str, Any],
    ) -> None:
        super().__init__()
        is_map_style = hasattr(train, "__getitem__") and hasattr(train, "__len__")
        if isinstance(train, Mapping) or is_pandas(train) or not (isinstance(train, IterableDataset) or is_map_style):
            raise TypeError(
                "`ActiveDataModule` expected a LightningDataModule or a map-style dataset (with `__getitem__` and "
                f"`__len__`), but got {type(train).__name__}. Pass one of these, or a pair of arrays, (inputs, labels)."
            )
        self._shown = type(train).__name__
        self._train = train
        self._loader = loader
        self._val = val
        for name, dataset in (("val", val), ("test", test), ("predict", predict)):
            if dataset is not None:
                setattr(self, f"{name}_dataloader", partial(self._in_order, dataset))

    @property
    def given(self) -> dict[str, Any]:
        """What changes the weights beside the training data."""
        return {**{name: self._loader[name] for name in ("batch_size", "collate_fn")}, "val": self._val}

    def train_dataloader(self) -> DataLoader[Any]:
        shuffle = None if isinstance(self._train, IterableDataset) else True
        return DataLoader(self._train, shuffle=shuffle, **self._loader)

    def _in_order(self, dataset: AnyDataset) -> DataLoader[Any]:
        return DataLoader(cast(Dataset[Any], dataset), **self._loader)
