"""The points of the training data: how a run reads them, and by what it recognises them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch.utils.data import Dataset

from lightning_al.data.class_numbers import ClassNumbers
from lightning_al.data.delegation import shown
from lightning_al.data.fingerprint import fingerprint
from lightning_al.data.from_datasets import FromDatasets
from lightning_al.data.keys import Key
from lightning_al.data.pool import Pool
from lightning_al.data.pool_dataset import pool_dataset_of
from lightning_al.data.reading import UNREADABLE, read
from lightning_al.data.target import Target
from lightning_al.data.train_loader import TrainLoader
from lightning_al.data.unlabelled import Unlabelled, with_places
from lightning_al.data.views import Relabelled
from lightning_al.host.namespace import is_overridden, pl
from lightning_al.host.same_on_ranks import check_same_on_ranks, hash_of_items
from lightning_al.run.same_run import labels_agree
from lightning_al.run.seeds import derive, seeded
from lightning_al.task.class_names import Classes, classes_of
from lightning_al.values.content_hash import content_hash
from lightning_al.values.errors import said_shortly


class TrainingPoints:
    """Read the points that a datamodule trains on.

    Args:
        wrapped: The user's datamodule, after its `setup`.
        target: Where the label of an item is.
        pool_dataset: The same points for scoring: a dataset, or a function of `wrapped`. None stands for the training
            data themselves.
        classes: The classes that the user listed, if any.
        groups: The group of each point, if any.
        target_inputs: Where predictions will be made, if the user said so: "val" or a dataset.
        keys: The key of each point, if it has one.
        seed: Seed of what the dataset draws at random when an item is read.
        skips_unreadable: Whether points that cannot be read are passed over.

    Attributes:
        loader: The user's train loader, taken apart.

    Raises:
        ValueError: If `wrapped` has no train loader over a map-style dataset.
    """

    def __init__(
        self,
        wrapped: pl.LightningDataModule,
        *,
        target: Target,
        pool_dataset: Any,
        classes: Classes | None,
        groups: Sequence[Any] | None,
        target_inputs: Any,
        keys: Sequence[Key] | None,
        seed: int,
        skips_unreadable: bool,
    ) -> None:
        if not is_overridden("train_dataloader", wrapped):
            raise ValueError(
                f"`ActiveDataModule` wraps `{type(wrapped).__name__}`, which has no `train_dataloader`. Define it: the "
                "pool is made of its dataset."
            )
        self.wrapped = wrapped
        self.target = target
        self.seed = seed
        self.skips_unreadable = skips_unreadable
        self.loader = TrainLoader(wrapped.train_dataloader(), type(wrapped).__name__)
        self._pool_dataset = pool_dataset
        self._classes = classes
        self._groups = groups
        self._target_inputs = target_inputs
        self.keys = keys
        self._class_numbers = ClassNumbers(self.dataset, target, self.read)
        self._stand_in: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def dataset(self) -> Dataset[Any]:
        """The training data."""
        return self.loader.dataset

    @property
    def members(self) -> Sequence[int]:
        """Indices of the points that the user's loader draws, in increasing order."""
        return self.loader.members

    @property
    def scored(self) -> Dataset[Any]:
        """The dataset by which points are scored.

        Raises:
            ValueError: If it has another length than the training data.
            TypeError: If the function that was to return it returned no dataset.
        """
        if self._pool_dataset is None:
            return self.dataset
        dataset: Any = pool_dataset_of(self._pool_dataset, self.wrapped)
        if isinstance(self.wrapped, FromDatasets):
            dataset = self.wrapped.numbered(dataset)
        if len(dataset) != len(self):
            raise ValueError(
                f"`ActiveDataModule(pool_dataset=...)` has {len(dataset)} points, but the training data have "
                f"{len(self)}. Pass the same points in the same order."
            )
        if isinstance(self.dataset, Unlabelled):
            dataset = with_places(dataset, self.target)
        return cast(Dataset[Any], dataset)

    @property
    def classes(self) -> Classes:
        """The classes that labels name: those that the user listed, or those of the dataset or the datamodule."""
        if self._classes is not None:
            return self._classes
        found = classes_of(self.dataset)
        return found if found.numbers else classes_of(self.wrapped)

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """The collate function of the train loader."""
        return cast(Callable[[list[Any]], Any], self.loader.settings["collate_fn"])

    def read(self, index: int) -> Any:
        """Return an item, or `UNREADABLE` where it cannot be read and such points are passed over."""
        return read(self.dataset, index, skip=self.skips_unreadable)

    def can_read(self, index: int) -> bool:
        """Return whether an item can be read. Where unreadable points are errors, each counts as readable."""
        return not self.skips_unreadable or self.read(index) is not UNREADABLE

    def first_readable(self, indices: Sequence[int], most: int) -> list[int]:
        """Return the first few of some points, without those that cannot be scored and are passed over."""
        if not self.skips_unreadable:
            return list(indices[:most])
        scored = self.scored
        return [index for index in indices[: 8 * most] if read(scored, index, skip=True) is not UNREADABLE][:most]

    def class_of(self, index: int) -> int | None:
        """Return the class of a point by the dataset's own label, or None where that is not a class number."""
        return self._class_numbers.of(index)

    def reference(self, pool: Pool) -> int:
        """Return the first initial point that has a label and whose item is there."""
        there = self.members if len(self.members) == len(self) else frozenset(self.members)
        return next(index for index in pool.initial if index not in pool.aside and index in there)

    def stand_in(self, pool: Pool) -> Any:
        """Return the label that stands for every label of the pool: that of the first initial point that has one.

        Args:
            pool: Which points are labelled, and by what.
        """
        initial = self.reference(pool)
        given = pool.labels.get(initial)
        if self._stand_in is None or self._stand_in[0] != given:
            first = Relabelled(self.dataset, [initial], pool.labels, self.target)
            with seeded(derive(self.seed, "stand-in")):
                label = self.target.find(first[0])
            self._stand_in = given, label
        label = self._stand_in[1]
        return 0 if label is None and initial in pool.lacking else label

    def fingerprint(self) -> dict[str, Any]:
        """Return what the points are recognised by, as plain data: see `lightning_al.data.fingerprint`.

        Groups and target inputs belong to it. Points with keys may change between two starts, so of them only the form
        is recognised; labelled ones have hashes of their own.
        """
        members, scored = self.members, self.scored
        with seeded(derive(self.seed, "fingerprint")):
            found = fingerprint(
                len(members),
                lambda place: self.class_of(members[place]),
                lambda place: read(scored, members[place], skip=self.skips_unreadable),
            )
        if self.keys is not None:
            found = {"keyed": True, "form": found["form"]}
        elif len(members) < len(self):
            found["members"] = content_hash(list(members))
        if self._groups is not None and self.keys is None:
            found["groups"] = content_hash([str(group) for group in self._groups])
        if isinstance(self._target_inputs, str):
            found["target_inputs"] = self._target_inputs
        elif self._target_inputs is not None:
            inputs: Any = self._target_inputs
            with seeded(derive(self.seed, "fingerprint of target inputs")):
                found["target_inputs"] = fingerprint(len(inputs), lambda place: None, inputs.__getitem__)
        return found

    def check_length(self, pool: Pool) -> None:
        """Refuse a dataset that grew or shrank since the pool was made of it.

        Raises:
            ValueError: If it did.
        """
        before, now = pool.dataset_size, len(self)
        if now != before:
            raise ValueError(
                f"The training data of `{shown(self.wrapped)}` had {before} points when the run began and have {now} "
                f"now, in its round {len(pool.rounds) - 1}. Do not change the dataset during a run. Begin another run "
                "with the other points."
            )

    def check_groups(self) -> None:
        """Refuse groups that do not say of each point which other points are of its group.

        Raises:
            ValueError: If there are more or fewer than points, or if one is missing or cannot be compared.
        """
        groups = self._groups or []
        if self._groups is not None and len(groups) != len(self):
            raise ValueError(
                f"`ActiveDataModule(groups=...)` has {len(groups)} groups, but the training data have "
                f"{len(self)} points. Pass one for each point, in the order of the dataset."
            )
        without = [place for place, group in enumerate(groups) if not _is_group(group)]
        if without:
            raise ValueError(
                f"`ActiveDataModule(groups=...)` expected a number or a name for each point, but got "
                f"{groups[without[0]]!r} for point {without[0]} ({len(without)} such points). Give points without a "
                "group one of their own each, or a name that they share."
            )

    def check_same(self, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Refuse other training data than those of an earlier `setup`.

        Args:
            now: The fingerprint of these points.
            before: The earlier fingerprint.

        Raises:
            ValueError: If points or labels differ.
        """
        if are_others(now, before):
            lengths = f" from {before['length']} to {now['length']} points" * (before["length"] != now["length"])
            raise ValueError(
                f"The training data of `{shown(self.wrapped)}` changed between two calls of its `setup`{lengths}, so "
                "indices have lost their meaning. Make `setup` give the same dataset in the same order every time."
            )

    def check_same_on_ranks(self, trainer: pl.Trainer) -> None:
        """Refuse training data or arguments that are not the same on every rank.

        Args:
            trainer: The Trainer.

        Raises:
            ValueError: If ranks differ.
        """
        scored = self.scored
        size = trainer.strategy.broadcast(len(self.members))

        def read_both(place: int) -> Any:
            index = self.members[place]
            item = read(scored, index, skip=self.skips_unreadable)
            return item if scored is self.dataset else (item, self.read(index))

        try:
            items = hash_of_items(trainer, min(size, len(self.members)), read_both, derive(self.seed, "ranks"))
        except Exception as error:
            items = said_shortly(error)
        check_same_on_ranks(
            trainer,
            f"The training data of `{shown(self.wrapped)}`, or the points that its sampler draws,",
            lambda: {
                **self.fingerprint(),
                "order of the items": items,
                "order of the labels": content_hash(repr(self._class_numbers.listed())),
            },
            "Sort the list of files, and give a random split or shuffle the same seed on every rank.",
        )


def are_others(found: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether fingerprints are of other training data, not of other contents by augmentation alone."""
    differ = any(found.get(part) != before.get(part) for part in ("length", "form", "members"))
    return differ or not labels_agree(found, before)


def _is_group(value: Any) -> bool:
    """Return whether a value can name a group: it equals itself, as NaN does not, and is no list, array or tensor.

    >>> [_is_group(value) for value in (3, "anna", None, float("nan"), [1])]
    [True, True, False, False, False]
    """
    if value is None or not isinstance(value, Hashable):
        return False
    is_same = value == value
    return isinstance(is_same, bool | np.bool_) and bool(is_same)
