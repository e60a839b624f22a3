"""The LightningDataModule of active learning: it trains on the points that are labelled so far.

`ActiveDataModule` is long because Lightning and users find every argument, hook and loader of the data on it. What
these do lies in the modules that it puts together.
"""

from __future__ import annotations

import hashlib
import os
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from typing_extensions import override

from lightning_al.acquisition import Acquisition
from lightning_al.data.audit import draw_audit, num_audited, read_audit
from lightning_al.data.augmentation import warn_of_augmentation
from lightning_al.data.batches import needs_two_points
from lightning_al.data.class_numbers import as_class, lack_some, listed_targets
from lightning_al.data.cold_start import select_first
from lightning_al.data.dataset import AnyDataset
from lightning_al.data.delegation import TRANSFER_HOOKS, Delegation, shown
from lightning_al.data.earlier_labels import read_labels
from lightning_al.data.features import Arrays, FrozenFeatures, read_cache, read_features, read_inputs
from lightning_al.data.features.points import (
    compute_features,
    features_at,
    pool_items,
    target_items,
    training_items,
    with_features,
)
from lightning_al.data.from_datasets import FromDatasets, as_datamodule
from lightning_al.data.initial import (
    check_one_is_given,
    check_size_of_initial,
    draw_initial,
    initial_indices,
    num_initial,
    read_cold_start,
    read_initial,
)
from lightning_al.data.keys import Key, Known, Numbering, read_keys, without_column
from lightning_al.data.pool import Pool
from lightning_al.data.pool_dataset import read_pool_dataset
from lightning_al.data.pseudo_labels import read_threshold
from lightning_al.data.reading import OF_LABELLED, OF_QUERY, read
from lightning_al.data.stages import Stages
from lightning_al.data.target import Target, TargetSpec
from lightning_al.data.target_inputs import TargetInputs, dataset_of, read_target_inputs
from lightning_al.data.training_points import TrainingPoints, are_others
from lightning_al.data.unlabelled import Unlabelled
from lightning_al.data.views import Hidden, Labelled, Relabelled
from lightning_al.host.before_setup import call_before_setup, has_before_setup
from lightning_al.host.found_checkpoints import choose_checkpoints
from lightning_al.host.hyperparameters import take_own_hyperparameters
from lightning_al.host.namespace import check_namespace, is_overridden, pl, rank_zero_info
from lightning_al.host.ranks import from_first_rank
from lightning_al.run.effort import Effort
from lightning_al.run.labels import Label
from lightning_al.run.seeds import Seed, derive, generator, seeded
from lightning_al.task.class_names import classes_of, listed_classes, shown_class
from lightning_al.task.labels import is_lacking
from lightning_al.values.content_hash import content_hash
from lightning_al.values.whole_numbers import MOST_HELD, optional_whole_number

# LightningCLI tries the types in this order, and would take a dataset's class for a function that returns datasets.
PoolDataset = Callable[[Any], Any] | AnyDataset

Features = Any
"""A module, a function, a NamedEncoder, a text, an array or a dict of arrays: see `ActiveDataModule`."""


class ActiveDataModule(Delegation, pl.LightningDataModule):
    """Split the training data of a datamodule into labelled points, to train on, and a pool, to choose from.

    Everything else is that of the wrapped datamodule: validation, test and predict data, batch size, workers, collate
    function, transfer hooks, hyperparameters, and every public attribute that is not defined here. Its `setup` runs
    under a seed of its own, so a random split in it is the same every time.

    While the pool is scored, each of its points has the label of the first initial point in place of its own.

    The sampler of the train loader is kept too:

    - Where it draws only some points (a `SubsetRandomSampler`, a list of indices), the pool is made of these.
    - Drawing with replacement is kept, and so is a number of samples. A number equal to the number of points means one
      epoch over the labelled points.
    - A `WeightedRandomSampler` weighs the labelled points by their indices. Points of weight 0 are not in the pool.
    - A sampler of your own class gives the order of each epoch. Points that are not labelled are left out of it.

    If the fitted module has batch norm, which cannot be trained on one point, a last batch of one point gets a second
    one from the batch before. In batches of two, the last three points make one batch.

    Args:
        data: A LightningDataModule, a map-style dataset to train on, or a pair of arrays, inputs and labels (see
            `lightning_al.data.arrays.as_dataset`). Inputs alone, with `classes`, are data without labels: a dataset,
            an array, a table or a list of texts. An oracle gives all labels, and a batch has the form that it would
            have with labels, ``(inputs, labels)``, or a dict with ``label``.
        initial_size: How many points are labelled before the first round. If the dataset's `targets` are None for some
            points, all others are labelled then, even if they are more.
        balanced: Draw as many initial points of each class as of any other.
        initial: Indices of the points labelled before the first round, or a mask with a bool for each point of the
            dataset, instead of a draw. Or an acquisition function, by its name or as an object, that selects
            `initial_size` points by their `features` before there is a model, such as ``"max_herding"``.
        seed: Seed of the initial draw and of the order of batches. By default the seed of
            `pytorch_lightning.seed_everything`, or 0 if the program did not call it.
        target: Where the label of an item is: a key or an attribute's name, a position, or a function of the item. By
            default the last of a tuple or list, or the key or attribute among label, labels, target, targets and y.
        pool_dataset: The training data without augmentation, in the same order, for scoring: a dataset, or a function
            of the wrapped datamodule that returns one after its `setup`.
        samples_per_epoch: Length of an epoch in samples. The labelled points are repeated, all equally often or by
            their weights, so that few labels do not make short epochs. By default what the sampler says, or each point
            once.
        pool_batch_size: Batch size for scoring. By default four times that of training: without gradients, a batch
            of that size takes little more memory than a smaller one that is trained on. Lower it if memory runs out.
        classes: What an oracle may answer: names of the classes in the order of their class numbers, or the allowed
            numbers. By default the names are the list `classes` of the dataset or the LightningDataModule, if there is
            one, and numbers go up to the number of the network's outputs.
        target_inputs: Where predictions will be made, for methods that measure what a label tells about these (EPIG): a
            dataset of items like those of the training data, with or without labels, or "val", the validation data. By
            default the pool.
        groups: The group that each point of the dataset belongs to, such as the patient or the video it comes from: one
            number or name a point, in the order of the dataset.
        keys: What each item is known by outside, such as its path or id: one text or whole number an item, or the name
            of a column of the table `data`. By default the dataset's attribute `keys`, if that is a list. With keys and
            a run folder, items may join between two starts and unlabelled ones may leave; order does not matter.
        labels: Labels to start from: the folder of an earlier run, or its ``labels.csv``. Their points are the initial
            ones, before others that `initial_size` may draw. A budget counts them, and unusable points too.
        audit: How many points to set aside to measure accuracy by, where there is no test set: a share of the budget
            (of the points, without one), such as 0.1, or a number. They are drawn at random from all points before
            anything else, are never in the pool and never trained on. They are mixed into the queries until all are
            answered, without suggestions, and a budget counts them. `Round.audit` has the accuracy on all answers so
            far with its 95 % interval (Wilson): 9 right of 10 tell that the accuracy is between .60 and .98, 90 of 100
            between .83 and .94. The audit points of `labels` stay audit points, and those of its other points that
            are drawn become some. Points that `initial` names are not drawn.
        pseudo_labels: Train each round also on points of the pool that the model of the round before is sure of: those
            whose likeliest class has at least this probability, such as 0.95, with that class as their label. They are
            chosen anew in each round, are no labels in any count, and are not validated on. They stay in the pool.
        features: What acquisition functions tell distances by, and what a head may be trained on: numbers of each point
            that do not depend on the network. A frozen encoder: a module, ``"timm:NAME"`` for images,
            ``"transformers:NAME"`` for texts, or a function of a batch's inputs. Or an array ``[N, D]`` with a row for
            each point, or the path of a ``.npy`` file, or a dict of these by train, val, test, predict and
            target_inputs, all with the same D. With `keys`, the array grows with its items. An encoder runs once, in
            float32 and without training-only augmentation, on the Trainer's device, and through the transfer hooks of
            `data`; the networks that a function uses stay on their device. By default methods read the network's
            embeddings.
        cache: A folder that keeps what an encoder gave for several runs, such as those of a sweep. By default it is
            kept in the run's folder, and without one in memory. It is known by the encoder's weights, by a function's
            source and the weights that it uses, by the items, and by the sizes and times of their files, and computed
            again where these differ. All items are compared that the dataset is, as a list, holds in an attribute with
            an entry for each, or has files for: a method `path_of`, or `samples` as in torchvision. Of others, only 32
            spread items are read, so that a change elsewhere is not noticed: delete the ``features-*.npy`` files then,
            or pass another folder.
        inputs: ``"features"`` to train, validate, test and score on features in place of the inputs: batches are
            ``(features, label)``, or dicts with ``features``. Oracles still get the items themselves.
        val: Validation dataset or pair of arrays, if `data` is a dataset or a pair of arrays. The arguments below are
            for that case too.
        test: Test dataset or pair of arrays.
        predict: Dataset or pair of arrays for `trainer.predict`.
        batch_size: Batch size.
        num_workers: Number of worker processes.
        collate_fn: Collate function.
        pin_memory: Whether to pin memory.

    Attributes:
        wrapped: The wrapped LightningDataModule.
        target: A `Target`, which finds the label of an item.
        keys: The key of each index, after `setup`, or None where items have none.
        known_items: What the run's folder knows of its items, as `ActiveLearning` sets it before the first `setup`.
        known_audit: The audit points of the run in the folder, or None, as `ActiveLearning` sets them then.
        known_initial: The initial points of the run in the folder, or None, where an acquisition function selects them.
        audit_budget: How many labels a share in `audit` is of, as `ActiveLearning` sets it then.
        pseudo_labelled: The predicted classes, by index, of the points of the pool that the fit trains on beside the
            labelled ones, as `ActiveLearning` sets them before each fit.
        frozen: A `FrozenFeatures`, which computes features and keeps them, or None where there are none.
        skips_unreadable: Whether points of the pool that cannot be read are passed over, as
            ``ActiveLearning(unscorable="skip")`` sets it.

    Raises:
        ValueError: If arguments are missing, contradict each other, or do not fit the data.
        TypeError: If `data` is neither a LightningDataModule of this process's namespace nor a map-style dataset, or if
            another argument that expects a dataset gets something else, such as a DataLoader.

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
        initial: Sequence[int] | str | Acquisition | None = None,
        seed: int | None = None,
        target: TargetSpec = None,
        pool_dataset: PoolDataset | None = None,
        samples_per_epoch: int | None = None,
        pool_batch_size: int | None = None,
        classes: Sequence[str] | Sequence[int] | None = None,
        target_inputs: AnyDataset | Literal["val"] | None = None,
        groups: Sequence[Any] | None = None,
        keys: Sequence[Any] | str | None = None,
        labels: str | os.PathLike[str] | None = None,
        audit: float | None = None,
        pseudo_labels: float | None = None,
        features: Features = None,
        cache: str | os.PathLike[str] | None = None,
        inputs: Literal["features"] | None = None,
        val: AnyDataset | None = None,
        test: AnyDataset | None = None,
        predict: AnyDataset | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
    ) -> None:
        if isinstance(keys, str):
            data, keys = without_column(data, keys)
        # The base class sets a trainer, which is the wrapped datamodule's.
        self.__dict__["wrapped"] = as_datamodule(
            data,
            val=val,
            test=test,
            predict=predict,
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            place=None if classes is None else Target(target),
        )
        take_own_hyperparameters(self.wrapped, type(self))
        super().__init__()
        self.earlier_labels = None if labels is None else read_labels(labels)
        if labels is None or initial is not None:
            check_one_is_given(initial_size, initial, balanced)
        who = type(self).__name__
        self.initial_size = optional_whole_number(who, "initial_size", initial_size)
        self.balanced = balanced
        self.cold_start = read_cold_start(initial)
        self.initial = None if initial is None or self.cold_start is not None else read_initial(initial)
        self.audit = read_audit(audit)
        self.pseudo_labels = read_threshold(pseudo_labels)
        self.features = read_features(features)
        self.cache = read_cache(cache)
        self.inputs = read_inputs(inputs, self.features)
        self.pseudo_labelled: dict[int, Label] = {}
        self.seed = seed
        self.target = Target(target)
        self.frozen: FrozenFeatures | None = None
        if self.features is not None:
            self.frozen = FrozenFeatures(self.features, cache=self.cache, target=self.target)
        self.pool_dataset = read_pool_dataset(pool_dataset)
        self.samples_per_epoch = optional_whole_number(who, "samples_per_epoch", samples_per_epoch, most=MOST_HELD)
        self.pool_batch_size = optional_whole_number(who, "pool_batch_size", pool_batch_size)
        self._classes = None if classes is None else listed_classes(classes)
        self.target_inputs = read_target_inputs(target_inputs)
        # Numbers of a tensor are objects that equal ones do not find in a dict.
        self.groups = None if groups is None else list(groups.tolist() if hasattr(groups, "tolist") else groups)
        self.keys: list[Key] | None = None
        self.known_items: Known | None = None
        self.known_audit: list[int] | None = None
        self.known_initial: list[int] | None = None
        self.audit_budget: int | None = None
        self._keys_given = keys
        self._numbering: Numbering | None = None
        self.skips_unreadable = False
        self._stages = Stages(self.wrapped)
        self._points: TrainingPoints | None = None
        self._pool: Pool | None = None
        self._fingerprint: dict[str, Any] | None = None
        if is_overridden("prepare_data", self.wrapped):
            self.prepare_data = self._stages.prepare_data  # type: ignore[method-assign]
        self._delegate()

    def __repr__(self) -> str:
        if "_delegates" not in vars(self):
            return f"{type(self).__name__}()"
        if self._pool is None:
            size = self.initial_size if self.initial is None else num_initial(self.initial)
            return f"{type(self).__name__}({shown(self.wrapped)}, initial_size={size}, not set up)"
        return f"{type(self).__name__}({shown(self.wrapped)}, {self.pool!r})"

    # Lightning's hooks.

    @property
    def trainer(self) -> pl.Trainer | None:
        """The Trainer that the wrapped datamodule is attached to."""
        return self.wrapped.trainer

    @trainer.setter
    def trainer(self, trainer: pl.Trainer | None) -> None:
        if trainer is not None:
            check_namespace(trainer, "Trainer")
            choose_checkpoints(trainer, has_before_setup, has_fitted=self._pool is not None)
        self.wrapped.trainer = trainer

    @override
    def setup(self, stage: str) -> None:
        """Set up the wrapped datamodule. Before the first fit, draw the initial set.

        Raises:
            ValueError: If the training data cannot be used, or changed since the last `setup`.
        """
        if self.trainer is not None:
            call_before_setup(self.trainer, stage)
        if self._stages.restore(stage):
            return
        with seeded(derive(self.seed, "setup")):
            self._stages.setup(stage)
            if stage == "fit":
                self._take_training_points()
        self._tell_shared_names()
        if stage == "fit" and self.trainer is not None and not has_before_setup(self.trainer):
            rank_zero_info(
                f"`trainer.fit` trains on the {self.pool.num_labelled} labelled of {self.pool.size} points and queries "
                "no labels, since the Trainer has no `ActiveLearning` among its callbacks. To run active learning, "
                "pass `callbacks=[ActiveLearning(...)]`; to train on all points, fit the wrapped data."
            )

    @override
    def teardown(self, stage: str) -> None:
        """Tear down the wrapped datamodule for all stages that were set up."""
        self._stages.teardown(stage)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the wrapped datamodule set up while the rounds of a run follow each other."""
        with self._stages.held():
            yield

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the pool's state, once there is one, and the wrapped datamodule's."""
        pool = {} if self._pool is None else {"pool": self._pool.state_dict()}
        return {**pool, "data": self.wrapped.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the pool's state and the wrapped datamodule's. For a test or a prediction, load only the latter."""
        is_for_the_weights = self.trainer is not None and (self.trainer.evaluating or self.trainer.predicting)
        if not is_for_the_weights and "pool" in state_dict:
            self.pool.load_state_dict(state_dict["pool"])
        self.wrapped.load_state_dict(state_dict["data"])

    # The points and their labels.

    @property
    def pool(self) -> Pool:
        """Which points are labelled. The pool exists once the datamodule was set up for a fit."""
        if self._pool is None:
            raise RuntimeError(
                "`ActiveDataModule.pool` does not exist before the data are set up. Call `trainer.fit` or "
                '`data.setup("fit")` first.'
            )
        return self._pool

    @property
    def is_set_up(self) -> bool:
        """Whether the datamodule was set up for a fit."""
        return self._pool is not None

    @property
    def training_points(self) -> TrainingPoints:
        """How the points are read, once the datamodule was set up for a fit."""
        if self._points is None:
            raise RuntimeError('`ActiveDataModule` is not set up. Call `trainer.fit` or `data.setup("fit")` first.')
        return self._points

    @property
    def dataset(self) -> Any:
        """The training data, whose indices the pool has; or the wrapped datamodule's own attribute `dataset`.

        It is the only name that is read from the wrapped datamodule where both define it: many datamodules have it, and
        mean other data by it.
        """
        return self.wrapped.dataset if hasattr(self.wrapped, "dataset") else self.training_points.dataset

    @dataset.setter
    def dataset(self, dataset: Any) -> None:
        self.wrapped.dataset = dataset  # type: ignore[attr-defined]

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the training data are recognised by when a run resumes: see `lightning_al.data.fingerprint`."""
        assert self._fingerprint is not None
        return self._fingerprint

    def item_of(self, index: int) -> Any:
        """Return an item of the training data. An error names an item that cannot be read."""
        return read(self.training_points.dataset, index, remedy=OF_LABELLED)

    def pool_item(self, index: int) -> Any:
        """Return an item for scoring, from `pool_dataset` if given. An error names one that cannot be read."""
        return read(self.training_points.scored, index, remedy=OF_QUERY)

    def content_of(self, index: int) -> str | None:
        """Return a hash of an item's inputs, or of its file; None where reading it twice gives two things."""
        path = self.path_of(index)
        if path is not None:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        with seeded(derive(self.seed, "content", index)):
            first, again = (content_hash(self.target.inputs(self.item_of(index))) for _ in range(2))
        return first if first == again else None

    def row_of(self, index: int) -> str | None:
        """Return a hash of an item's row in an array of features, or None where features are no array."""
        place = index if self._numbering is None else self._numbering.places[index]
        return self.features.hash_of(place) if isinstance(self.features, Arrays) and place is not None else None

    def path_of(self, index: int) -> Path | None:
        """Return the file of an item, where the data say which it is by a method `path_of`, or None."""
        dataset = self.wrapped.train_data if isinstance(self.wrapped, FromDatasets) else None
        path_of = getattr(dataset, "path_of", None)
        if not callable(path_of):
            return None
        place = index if self._numbering is None else self._numbering.places[index]
        return None if place is None else Path(path_of(place))

    @property
    def gone_items(self) -> set[int]:
        """The indices of items that the run had in an earlier start, and that the data have no longer."""
        places = [] if self._numbering is None else self._numbering.places
        return {index for index, place in enumerate(places) if place is None}

    @property
    def places(self) -> list[int | None] | None:
        """The place in the dataset that each index has, or None where an index is the place."""
        return None if self._numbering is None else self._numbering.places

    def key_of(self, index: int) -> Key:
        """Return the key of an item, or its index where items have none."""
        return index if self.keys is None else self.keys[index]

    def keys_of(self, indices: Sequence[int]) -> list[Key] | None:
        """Return the keys of some items, or None where items have none."""
        return None if self.keys is None else [self.keys[index] for index in indices]

    def class_of(self, index: int) -> int | None:
        """Return the class of a point by an oracle's label or the dataset's target; None if that is not a class."""
        label = None
        if self._pool is not None:
            label = self._pool.labels.get(index, self._pool.audit.answers.get(index))
        return self.training_points.class_of(index) if label is None else as_class(label)

    def label_of(self, index: int) -> Any:
        """Return an oracle's label of a point, or else the dataset's target, which is None for a bare input."""
        label = self.pool.labels.get(index, self.pool.audit.answers.get(index))
        return self.target.find(self.item_of(index)) if label is None else label

    def without_label(self) -> list[int]:
        """Return the initial points for which neither the dataset nor an oracle has a label, in their order.

        See `lightning_al.task.labels.is_lacking`.
        """
        initial, gone = self.pool.rounds[0], self.gone_items  # one that is gone was skipped, since it had no label
        with seeded(derive(self.seed, "labels")):
            labels = {index: self.label_of(index) for index in initial if index not in gone}
        allowed = self.training_points.classes.allowed
        lacking = {index for index, label in labels.items() if is_lacking(label, labels.values(), classes=allowed)}
        return [index for index in initial if index in lacking or index in gone]

    def with_own_label(self, indices: Iterable[int]) -> list[int]:
        """Return the points that have a label in a dataset which lists labels of only some points."""
        listed = self._listed_targets()
        by_index = self._by_index(list(listed)) if lack_some(listed) else []
        return [index for index in indices if by_index and by_index[index] is not None]

    def class_counts(self) -> dict[int, int] | None:
        """Count the labelled points of each class, or return None where labels are not class numbers."""
        counts: dict[int, int] = {}
        for index in self.pool.labelled:
            label = self.class_of(index)
            if label is None:
                return None
            counts[label] = counts.get(label, 0) + 1
        return dict(sorted(counts.items()))

    def group_numbers(self, indices: Sequence[int]) -> Tensor:
        """Return the number of the group of each of some points ``[n]``, int64.

        Raises:
            ValueError: If no groups were given.
        """
        if self.groups is None:
            raise ValueError("`ActiveDataModule` was given no `groups`. Pass one for each point of the dataset.")
        groups = self._by_index(self.groups)
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        return torch.tensor([numbers[groups[index]] for index in indices], dtype=torch.int64)

    @property
    def is_unlabelled(self) -> bool:
        """Whether the training data have no labels, or not all of them, so that only an oracle knows some."""
        return isinstance(self.training_points.dataset, Unlabelled) or lack_some(self._listed_targets())

    def _listed_targets(self) -> Sequence[Any]:
        """Return the targets that the dataset lists in its own order, some of which may be None, or nothing."""
        wrapped = self.wrapped
        return listed_targets(wrapped.train_data if isinstance(wrapped, FromDatasets) else self.training_points.dataset)

    # The loaders.

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the labelled points, with the wrapped loader's settings."""
        # Where Lightning makes the loader anew within a fit, the order differs from that of the first epoch, and the
        # user's loader may be another, of larger batches say.
        self.training_points.check_length(self.pool)
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        points = self._read_again(epoch) if epoch else self.training_points
        labelled = [*self.pool.labelled, *self.pseudo_labelled]
        labels = ChainMap(self.pool.labels, self.pseudo_labelled)  # with the answers that are still to come
        given: Dataset[Any] = points.dataset if self.inputs is None else training_items(self)
        dataset: Dataset[Any] = Labelled(given, labelled)
        if labels or self.pool.lacking:
            dataset = Relabelled(given, labelled, labels, self.target)
        order = generator(self.seed, len(self.pool.rounds) - 1, "batches", *([epoch] if epoch else []))
        loader = points.loader if self.inputs is None else points.loader.of_tensors()
        return loader.over(dataset, labelled, self.samples_per_epoch, order, self.trainer)

    def pool_dataloader(self, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        """Return a loader of unlabelled points in index order, with their labels hidden.

        Args:
            indices: The points to load instead of all unlabelled ones, in this order.
        """
        points = self.training_points
        points.check_length(self.pool)
        indices = self.pool.unlabelled if indices is None else list(indices)
        if self.inputs is not None:
            return points.loader.of_tensors().in_order(pool_items(self, indices), self.pool_batch_size)
        return points.loader.in_order(self._hidden(indices), self.pool_batch_size)

    def labelled_dataloader(self, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        """Return a loader of labelled points in the order in which they were labelled, read as the pool is.

        Args:
            indices: The points to load instead of all labelled ones, in this order.
        """
        points = self.training_points
        points.check_length(self.pool)
        indices = self.pool.labelled if indices is None else list(indices)
        given: Any = points.scored if self.inputs is None else training_items(self)
        loader = points.loader if self.inputs is None else points.loader.of_tensors()
        return loader.in_order(Relabelled(given, indices, self.pool.labels, self.target), self.pool_batch_size)

    def target_inputs_dataset(self) -> TargetInputs:
        """Return the items at which predictions will be made, with one label in the place of their own.

        Raises:
            ValueError: If they were not given, or the validation data have no items by number.
        """
        return self.original_target_inputs() if self.inputs is None else target_items(self)

    def original_target_inputs(self) -> TargetInputs:
        """Return these items with their own inputs, even where a module gets features in their place."""
        if self.target_inputs is None:
            raise ValueError("`ActiveDataModule` was given no `target_inputs`. Pass a dataset, or 'val'.")
        found: Any = self.target_inputs
        if isinstance(found, str):
            found = dataset_of(self.wrapped.val_dataloader() if is_overridden("val_dataloader", self.wrapped) else [])
        like = self.item_of(self.training_points.reference(self.pool))
        stand_in = None if callable(self.target.spec) else self.training_points.stand_in(self.pool)
        return TargetInputs(found, like, self.target, stand_in)

    def target_inputs_dataloader(self, indices: Sequence[int]) -> DataLoader[Any]:
        """Return a loader of some of these items, in this order."""
        view: Dataset[Any] = Subset(self.target_inputs_dataset(), list(indices))
        loader = self.training_points.loader
        return (loader if self.inputs is None else loader.of_tensors()).in_order(view, self.pool_batch_size)

    def _hidden(self, indices: Sequence[int]) -> Hidden:
        """Return some points as they are scored, with their labels hidden."""
        points = self.training_points
        strict = self.pool_dataset is None or not callable(self.target.spec)
        stand_in = points.stand_in(self.pool) if strict else None
        return Hidden(points.scored, indices, self.target, strict, stand_in)

    @override
    def _forward_hooks(self) -> None:
        super()._forward_hooks()
        if self.inputs is not None:
            self._give_features()

    def _give_features(self) -> None:
        """Give features to validation, test and prediction. Transfer hooks are for the original inputs."""
        for hook in TRANSFER_HOOKS:
            vars(self).pop(hook, None)
        for split in ("val", "test", "predict"):
            if f"{split}_dataloader" in vars(self):
                vars(self)[f"{split}_dataloader"] = partial(self._loaders_of_features, split)

    def _loaders_of_features(self, split: str) -> Any:
        assert self.frozen is not None
        return self.frozen.loaders(split, getattr(self.wrapped, f"{split}_dataloader")(), self.wrapped)

    # What `setup` finds.

    def _take_training_points(self) -> None:
        is_first, wrapped = self._points is None, self.wrapped
        if is_first and isinstance(wrapped, FromDatasets):
            self._number_items(wrapped.train_data)
        points = self._points = self._read_points()
        if is_first and self._keys_given is not None and not isinstance(wrapped, FromDatasets):
            self._number_items(points.dataset)
            points.keys = self.keys
        if self.trainer is not None and self.trainer.world_size > 1:
            points.check_same_on_ranks(self.trainer)
        points.check_groups()
        if isinstance(self.features, Arrays):
            self.features.of("train", len(points), self.places)
        found = points.fingerprint()
        self._fingerprint = self._fingerprint or found
        points.check_same(found, self._fingerprint)
        if self._pool is None:
            answered = () if self.known_items is None else self.known_items.answered
            members = sorted({*points.members, *answered}) if answered else points.members
            audit = self._audit_of(points)
            self._pool = Pool(len(points), self._initial_of(points, set(audit)), members=members, audit=audit)
            self._check_pool()
        if needs_two_points(self.trainer):
            # Refuses one point alone here, before anything of the run is written.
            self.train_dataloader()

    def _number_items(self, dataset: Any) -> None:
        """Give each item of the training data the number that its key has in the run."""
        wrapped = self.wrapped
        keys = read_keys(self._keys_given, dataset)
        if keys is None:
            return
        known = [] if self.known_items is None else self.known_items.keys
        self._numbering = Numbering(keys, known)
        self.keys = self._numbering.keys
        if isinstance(self.features, Arrays):
            self.features.has_keys = True
        if self.known_items is not None:
            self.known_items.check_none_is_gone(self._numbering)
        if isinstance(wrapped, FromDatasets):
            wrapped.number_by(self._numbering)
        elif known and not self._numbering.is_plain:
            raise ValueError(
                f"The items of `{type(wrapped).__name__}` have other keys, or another order, than when the run began. "
                "Give it the same items, or pass the dataset itself to `ActiveDataModule`, whose items may change."
            )

    def _by_index(self, values: list[Any] | None) -> Any:
        """Return what was given for each place of the dataset by the items' numbers; None for items that are gone."""
        if values is None or self._numbering is None or len(values) != len(self._numbering.present):
            return values
        return [None if place is None else values[place] for place in self._numbering.places]

    def _read_points(self) -> TrainingPoints:
        return TrainingPoints(
            self.wrapped,
            target=self.target,
            pool_dataset=self.pool_dataset,
            classes=self._classes,
            groups=self._by_index(self.groups),
            keys=self.keys,
            target_inputs=self.target_inputs,
            seed=self.seed,
            skips_unreadable=self.skips_unreadable,
        )

    def _read_again(self, epoch: int) -> TrainingPoints:
        """Read the wrapped train loader for a later epoch of a fit, in which all but its points may differ."""
        points, later = self.training_points, self._read_points()
        is_same = later.dataset is points.dataset and list(later.members) == list(points.members)
        if not is_same and are_others(later.fingerprint(), self.fingerprint):
            raise ValueError(
                f"`{type(self.wrapped).__name__}.train_dataloader` gave other training points in epoch {epoch} than "
                "before the fit, so indices have lost their meaning. Make it give the same points in the same order in "
                "every epoch; batch size, transforms and weights may change."
            )
        return later

    def num_audited(self, budget: int | None) -> int:
        """Return how many audit points are drawn where a share of a budget, or else of all points, is set aside."""
        return num_audited(self.audit, len(self.training_points.members) if budget is None else budget)

    def _audit_of(self, points: TrainingPoints) -> list[int]:
        """Return the points to measure accuracy by, drawn before anything else."""
        if self.known_audit is not None:
            return list(self.known_audit)
        earlier = self.earlier_labels
        first = [] if earlier is None else earlier.audit_by_index(self.keys, len(points))
        if self.audit is None:
            return first
        named = self._named_initial(points)
        return draw_audit(points.members, self.num_audited(self.audit_budget), seed=self.seed, first=first, named=named)

    def _initial_of(self, points: TrainingPoints, audit: set[int]) -> list[int]:
        if self.known_items is not None and self.known_items.may_be_drawn(self.initial_size, self._listed_targets()):
            return list(self.known_items.initial)
        if self.cold_start is not None:
            return self._selected_initial(points, audit)
        if self.earlier_labels is not None:
            return self._initial_with_earlier(points, audit)
        if self.initial is not None:
            return self._named_initial(points)
        assert self.initial_size is not None
        return draw_initial(points, self.initial_size, balanced=self.balanced, seed=self.seed, without=audit)

    def _named_initial(self, points: TrainingPoints) -> list[int]:
        if self.initial is None:
            return []
        return self._numbers_of(initial_indices(self.initial, len(points), points.members))

    def _selected_initial(self, points: TrainingPoints, audit: set[int]) -> list[int]:
        """Return the points that have a label, and those that an acquisition function selects beside them."""
        acquisition = self.cold_start
        assert acquisition is not None
        assert self.initial_size is not None
        members = [index for index in points.members if index not in audit]
        first = self._labelled_before(points, audit)
        size = max(self.initial_size, len(first))
        if self.known_initial is not None and len(self.known_initial) == size:
            return list(self.known_initial)
        rest = [index for index in members if index not in set(first)]
        if self.skips_unreadable:
            rest = [index for index in rest if points.can_read(index)]
        check_size_of_initial(size, len(first) + len(rest), len(audit))
        compute_features(self)
        known = first
        if self.skips_unreadable and self.features is not None:
            rest, known = with_features(self, rest), with_features(self, first)
            check_size_of_initial(size, len(first) + len(rest), len(audit))

        def select() -> list[int]:
            return select_first(
                acquisition,
                size - len(first),
                rest,
                labelled=known,
                features_at=None if self.features is None else partial(features_at, self),
                groups_at=None if self.groups is None else self.group_numbers,
                generator=generator(self.seed, "initial"),
            )

        if size == len(first):
            return first
        return [*first, *(select() if self.trainer is None else from_first_rank(self.trainer, select))]

    def _initial_with_earlier(self, points: TrainingPoints, audit: set[int]) -> list[int]:
        """Return the points that have a label, those of an earlier run first, and others that are drawn beside them."""
        if self.known_items is not None:
            return list(self.known_items.initial)
        first = self._labelled_before(points, audit)
        most = len(points.members) - len(audit)
        size = min(max(self.initial_size or 1, len(first)), most)
        drawn = draw_initial(points, most, balanced=self.balanced, seed=self.seed, without=audit)
        return [*first, *(index for index in drawn if index not in set(first))][:size]

    def _labelled_before(self, points: TrainingPoints, audit: set[int]) -> list[int]:
        """Return the points that an earlier run had labels of, and those that have one in data where others lack it."""
        earlier = [] if self.earlier_labels is None else self.earlier_labels.by_index(self.keys, len(points))
        members = set(points.members) - audit
        return [index for index in dict.fromkeys([*earlier, *self.with_own_label(points.members)]) if index in members]

    def given_labels(self) -> dict[int, Any]:
        """Return the answers of an earlier run by index, which initial points have, without the data's own labels."""
        if self.earlier_labels is None:
            return {}
        given = self.earlier_labels.by_index(self.keys, len(self.training_points))
        return {index: label for index, label in given.items() if label is not None}

    def given_efforts(self) -> dict[int, Effort]:
        """Return how long these labels took and who gave them, by index, as far as it is known."""
        if self.earlier_labels is None:
            return {}
        return self.earlier_labels.efforts_by_index(self.keys, len(self.training_points))

    def check_earlier_classes(self) -> None:
        """Refuse labels of an earlier run whose classes the data do not have, as far as these are known already.

        A run that has begun need not be checked: its classes may have changed since.

        Raises:
            ValueError: If there are some; the message names their classes.
        """
        if self.earlier_labels is not None:
            wrapped = self.wrapped
            found = classes_of(wrapped.train_data if isinstance(wrapped, FromDatasets) else wrapped)
            known = found if self._classes is None else self._classes
            self.earlier_labels.check_classes(known if self._points is None else self._points.classes)

    def check_given(self, given: Mapping[int, Any]) -> None:
        """Refuse labels of an earlier run that contradict the dataset's own.

        Raises:
            ValueError: If some do; the message names them.
        """
        points, numbers = self.training_points, self.training_points.classes.numbers
        for index, answer in given.items():
            own, other = points.class_of(index), numbers.get(answer) if isinstance(answer, str) else answer
            if isinstance(other, int) and own not in (None, other) and not is_lacking(own):
                name = shown_class(own, points.classes.names, before="class ")
                raise ValueError(
                    f"The label of {self.key_of(index)!r} is {answer!r} in the earlier run, but {name} in the data. "
                    "Correct one of them: the run's by `lightning-al-journal correct`."
                )

    def _numbers_of(self, places: list[int]) -> list[int]:
        """Return the numbers of items by their places in the dataset."""
        if self._numbering is None or self._numbering.is_plain:
            return places
        numbers = {place: index for index, place in enumerate(self._numbering.places) if place is not None}
        return [numbers[place] for place in places]

    def _check_pool(self) -> None:
        """Refuse batches whose labels cannot be hidden, and warn of random augmentation."""
        points, gone = self.training_points, self.gone_items
        unlabelled = [index for index in self.pool.unlabelled if index not in gone]
        some = points.first_readable(unlabelled, 3)
        if some and hasattr(points.scored, "__getitems__"):
            view: Any = self._hidden(some)
            view.__getitems__(range(len(some)))
        few = points.first_readable(unlabelled, 4)
        warn_of_augmentation(self._hidden(few), few, points.collate, self.seed)


def arguments_of(data: ActiveDataModule) -> dict[str, Any]:
    """Return the arguments of a datamodule that change weights or picks by more than the points and their labels."""
    given = {
        "seed": data.seed,
        "target": data.target.spec,
        "samples_per_epoch": data.samples_per_epoch,
        "audit": data.audit,
        "pseudo_labels": data.pseudo_labels,
        "initial": data.cold_start,
        "features": data.features,
        "inputs": data.inputs,
    }
    return given | (data.wrapped.given if isinstance(data.wrapped, FromDatasets) else {})
