"""Items whose inputs are features: what a head is trained on, in place of images or texts.

Axes: N items, n of them in a batch, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lightning_al.data.class_numbers import ClassNumbers
from lightning_al.data.target import Target
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.parts import described

KEY = "features"
"""The key of the features in an item of named parts."""

Form = Callable[[Tensor, Any], Any]
"""Makes an item of features ``[D]`` and a label."""


def rows_of(table_N_D: np.ndarray, indices: Sequence[int]) -> Tensor:
    """Return some rows of a table that may lie in a file, ``[n, D]`` in float32.

    >>> rows_of(np.array([[1.0], [2.0], [3.0]]), [2, 0]).tolist()
    [[3.0], [1.0]]
    """
    return torch.from_numpy(np.asarray(table_N_D[np.asarray(indices, dtype=np.int64)], dtype=np.float32))


def form_like(item: Any, target: Target) -> Form:
    """Return what makes items of features in the form of an item: a tuple, a dict, or the features alone.

    Args:
        item: An item of the dataset.
        target: Where its label is.

    Raises:
        ValueError: If the items of features would not have their label where `target` says.

    >>> form_like(("a", 1), Target())(torch.ones(2), 1), form_like({"x": "a", "y": 1}, Target())(torch.ones(1), 0)
    ((tensor([1., 1.]), 1), {'features': tensor([1.]), 'y': 0})
    """
    spec = target.spec
    if callable(spec) or (isinstance(item, tuple | list) and isinstance(spec, int) and not -2 <= spec < 2):
        raise ValueError(
            "`ActiveDataModule(inputs='features')` makes items (features, label), but `target` is "
            f"{'a function' if callable(spec) else spec} of items {described(item)}. Pass `target=-1`, or give items "
            "whose label is their last part."
        )
    place = target.place(item)
    if place is None:
        return lambda features, label: features
    if isinstance(item, tuple | list) and not isinstance(spec, str):
        is_first = spec in (0, -2)
        return lambda features, label: (label, features) if is_first else (features, label)
    key = spec if isinstance(spec, str) else place
    return lambda features, label: {KEY: features, key: label}


def check_labels(item: Any, collate: Callable[[list[Any]], Any], target: Target) -> None:
    """Check that a collate function gives a batch the labels of its items, since features are batched without it.

    Raises:
        ValueError: If it makes others of them.
    """
    own = None if collate is default_collate else target.find(item)
    if own is None:
        return
    try:
        with seeded(derive(0, "labels")):
            made = target.labels(collate([item]))
    except Exception:  # batches of features need none of it
        return
    try:
        is_same = torch.equal(torch.as_tensor(made).flatten().double(), torch.as_tensor(own).flatten().double())
    except (TypeError, ValueError, RuntimeError):  # such as texts
        is_same = False
    if not is_same:
        raise ValueError(
            f"`ActiveDataModule(inputs='features')` batches the labels of items as they are, but the collate function "
            f"makes {made!r:.60} of {own!r:.60}. Return the labels that the module expects from the dataset."
        )


class FeatureItems(Dataset[Any]):
    """Show features as the inputs of items.

    Args:
        table: Returns the features ``[N, D]``. It is called when the first item is read.
        size: Number of items N.
        form: Makes an item of features and a label.
        labels: Returns the labels of some items.

    >>> items = FeatureItems(lambda: np.eye(2), 2, lambda x, y: (x, y), lambda indices: [7 for _ in indices])
    >>> items[1]
    (tensor([0., 1.]), 7)
    """

    def __init__(
        self,
        table: Callable[[], np.ndarray],
        size: int,
        form: Form,
        labels: Callable[[Sequence[int]], Sequence[Any]],
    ) -> None:
        self.table = table
        self.size = size
        self.form = form
        self.labels = labels

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        if not -self.size <= index < self.size:
            raise IndexError(index)  # which ends an iteration
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        rows = rows_of(self.table(), indices).unbind()
        return [self.form(row, label) for row, label in zip(rows, self.labels(indices), strict=True)]


class OwnLabels:
    """The labels of a dataset's items, each read once, and not at all where the dataset lists them.

    Args:
        dataset: The dataset.
        target: Where the label of an item is.
    """

    def __init__(self, dataset: Any, target: Target) -> None:
        self.dataset = dataset
        self.target = target
        self._known: dict[int, Any] = {}
        self._listed: Sequence[Any] | None = None

    def __call__(self, indices: Sequence[int]) -> list[Any]:
        """Return the labels of some items; None for an item without one."""
        if self._listed is None:
            self._listed = self._find_listed()
        if self._listed:
            return [self._listed[index] for index in indices]
        missing = [index for index in indices if index not in self._known]
        if missing:
            # What an item draws at random must not depend on which labels are known already.
            with seeded(derive(0, "labels")):
                self._known |= {index: self.target.find(self.dataset[index]) for index in missing}
        return [self._known[index] for index in indices]

    def _find_listed(self) -> Sequence[Any]:
        def read(index: int) -> Any:
            return self.dataset[index]

        with seeded(derive(0, "labels")):
            if not len(self.dataset) or not isinstance(self.target.find(read(0)), int):
                return []
            return ClassNumbers(self.dataset, self.target, read).listed()
