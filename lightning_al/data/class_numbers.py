"""The class numbers of a dataset's labels, each read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from lightning_al.data.reading import UNREADABLE
from lightning_al.data.target import Target
from lightning_al.values.content_hash import spread


class ClassNumbers:
    """Read class numbers from the dataset's list of targets where that agrees with its items, else from the items.

    Args:
        dataset: The dataset.
        target: Where the label of an item is.
        read: Returns an item of the dataset, or `UNREADABLE`.
    """

    def __init__(self, dataset: Dataset[Any], target: Target, read: Callable[[int], Any]) -> None:
        self.dataset = dataset
        self.target = target
        self.read = read
        self._listed: Sequence[Any] | None = None
        self._known: dict[int, int | None] = {}

    def of(self, index: int) -> int | None:
        """Return the class of a point, or None where its label is not a class number or it cannot be read."""
        if index not in self._known:
            if self._listed is None:
                self._listed = self.listed()
            item = None if self._listed else self.read(index)
            if item is UNREADABLE:
                return None
            # As a number, since a label that is a tensor may keep the memory of its whole item.
            self._known[index] = as_class(self._listed[index] if self._listed else self.target.find(item))
        return self._known[index]

    def listed(self) -> Sequence[Any]:
        """Return the targets of a dataset that lists them as torchvision's do, or nothing where items disagree."""
        listed = listed_targets(self.dataset)
        agree = all(
            item is UNREADABLE or as_class(listed[index]) == as_class(self.target.find(item))
            for index in spread(len(listed))
            for item in [self.read(index)]
        )
        return listed if agree else []


def listed_targets(dataset: Any) -> Sequence[Any]:
    """Return the targets that a dataset lists as torchvision's datasets do, or nothing."""
    if isinstance(dataset, Subset):
        whole = listed_targets(dataset.dataset)
        return [whole[index] for index in dataset.indices] if whole else []
    if getattr(dataset, "target_transform", None) is None:
        for name in ("targets", "labels"):
            listed: Any = getattr(dataset, name, None)
            if hasattr(listed, "__getitem__") and len(listed) == len(dataset):
                return list(listed.tolist() if hasattr(listed, "tolist") else listed)
    return []


def lack_some(targets: Sequence[Any]) -> bool:
    """Return whether some of the targets that a dataset lists are None.

    Targets may be vectors, which `in` would compare number by number.

    >>> lack_some([1, None]), lack_some([torch.tensor([0, 1]), torch.tensor([1, 0])])
    (True, False)
    """
    return any(target is None for target in targets)


def as_class(label: Any) -> int | None:
    """Return a label as a class number, or None where it is none."""
    if hasattr(label, "item") and getattr(label, "size", None) is not None:
        number = label.numel() if isinstance(label, torch.Tensor) else label.size
        label = label.item() if number == 1 else None
    return int(label) if isinstance(label, int) else None
