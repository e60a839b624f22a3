"""Whether the labels of a dataset are those of the task that a module's outputs are scored for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from torch.utils.data import Subset

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.run.seeds import derive, seeded
from lightning_al.task.labels import as_array, check_class_labels, check_no_regression, check_several_classes
from lightning_al.values.content_hash import spread

MOST_READ = 2_000
"""How many items are read at most in search of a second class, where the dataset does not list its targets."""


class TaskCheck:
    """Check what a method reads against the labels, once it reads it.

    Args:
        data: The data.
        module: The name of the module's class.
        revealed: Whether the labels asked for are the dataset's own.
    """

    def __init__(self, data: ActiveDataModule, module: str, *, revealed: bool) -> None:
        self.data = data
        self.module = module
        self.revealed = revealed

    def __call__(self, num_classes: int | None) -> str | None:
        """Check the labels that are trained on, and whether there is anything to reveal.

        Args:
            num_classes: How many logits the module gives, or None where it gives no logits.

        Returns:
            What is to be said of labels that the training step has to change, if any.

        Raises:
            ValueError: If labels are no classes; the message says what they are and what to pass.
        """
        with seeded(derive(self.data.seed, "labels")):
            labels = self._labels(num_classes)
            if num_classes is None:
                check_no_regression(labels)
                return None
            parts, candidates = self._parts(num_classes)
            if self._are_made_classes(labels, num_classes):
                return None
            said = check_class_labels(labels, num_classes, self.module, candidates, parts)
            if self.revealed:
                check_several_classes(self._all_labels(), f"`{type(self.data.training_points.dataset).__name__}`")
        return said

    def are_of_two_classes(self) -> bool:
        """Return whether all labels that are trained on are 0 or 1, and both occur."""
        with seeded(derive(self.data.seed, "labels")):
            arrays = [as_array(label) for label in self._labels(None).values()]
        numbers = {None if array is None or array.ndim > 0 else float(array) for array in arrays}
        return numbers == {0.0, 1.0}

    def _labels(self, num_classes: int | None) -> dict[int, Any]:
        """Return labels that are trained on: all class numbers, and some of other labels, which have to be read."""
        labelled = self.data.pool.labelled
        classes = {index: self.data.class_of(index) for index in labelled}
        others = [index for index in labelled if classes[index] is None]
        raw = {index: self.data.label_of(index) for index in (others[place] for place in spread(len(others)))}
        if num_classes is not None and self.revealed and any(_is_vector(label) for label in raw.values()):
            # A few labels of several classes at once may each happen to have one.
            pool = self.data.pool.unlabelled
            raw.update(self._read_all(pool[place] for place in spread(len(pool))))
        return {**{index: label for index, label in classes.items() if label is not None}, **raw}

    def _are_made_classes(self, labels: dict[int, Any], num_classes: int) -> bool:
        """Return whether the collate function makes class numbers of labels that are none themselves."""
        arrays = [as_array(label) for label in labels.values()]
        if all(array is None or (array.ndim == 0 and array.dtype.kind in "biu") for array in arrays):
            return False
        # Of a batch of the pool, whose labels are hidden by one that is trained on. What cannot be read is no class.
        with suppress(Exception):
            made = as_array(self.data.target.labels(next(iter(self.data.pool_dataloader(self.data.pool.labelled[:2])))))
            return (
                made is not None
                and made.ndim == 1
                and made.dtype.kind in "iu"
                and bool(((made >= 0) & (made < num_classes)).all())
            )
        return False

    def _read_all(self, indices: Iterable[int]) -> dict[int, Any]:
        """Return the labels of some points, without those that cannot be read where these are passed over."""
        return {index: self.data.label_of(index) for index in indices if self.data.training_points.can_read(index)}

    def _parts(self, num_classes: int) -> tuple[int, list[int]]:
        """Return of how many parts an item is where the last is taken for the label unasked, and what it may be."""
        indices = self.data.pool.labelled[:8]
        items = [self.data.item_of(index) for index in indices[:1]]
        if self.data.target.spec is not None or not items or not isinstance(items[0], tuple | list):
            return 0, []
        if len(items[0]) < 3:
            return 0, []
        items += [self.data.item_of(index) for index in indices[1:]]

        def is_class(part: Any) -> bool:
            array = as_array(part)
            return array is not None and array.ndim == 0 and array.dtype.kind in "biu" and 0 <= int(array) < num_classes

        places = range(len(items[0]) - 1)
        return len(items[0]), [place for place in places if all(is_class(item[place]) for item in items)]

    def _all_labels(self) -> Iterator[Any]:
        """Yield labels until all were, or too many would have to be read from items; then one of no known class."""
        pool = self.data.pool
        members = [*pool.labelled, *pool.unlabelled]
        first = [*pool.labelled, *(members[place] for place in spread(len(members)))]
        order = list(dict.fromkeys([*first, *members]))
        limit = len(order) if _lists_targets(self.data.training_points.dataset) else MOST_READ
        for number, index in enumerate(order):
            if number >= limit:
                yield None
                return
            label = self.data.class_of(index)
            yield from self._read_all([index]).values() if label is None else [label]


def _is_vector(label: Any) -> bool:
    array = as_array(label)
    return array is not None and array.ndim > 0


def _lists_targets(dataset: Any) -> bool:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return any(hasattr(getattr(dataset, name, None), "__len__") for name in ("targets", "labels"))
