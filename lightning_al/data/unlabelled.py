"""Items that have no label, with a place for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from lightning_al.data.target import Target
from lightning_al.values.parts import is_single

PLACE = "label"
"""The key that an item of named parts gets for its label, where `target` names none."""

MOST_TRIED = 8
"""How many items are tried until one can be read."""


class Unlabelled(Dataset[Any]):
    """Give each item of a dataset without labels a place for one, which holds None until an oracle has answered.

    An input becomes ``(input, None)``. A dict gets the key that `target` names, or ``label``.

    Args:
        items: Inputs, or dicts of inputs: a dataset, an array or a list.
        target: Where the label will be.

    >>> Unlabelled(["a", "b"], Target())[1], Unlabelled([{"text": "a"}], Target("klass"))[0]
    (('b', None), {'text': 'a', 'klass': None})
    """

    def __init__(self, items: Any, target: Target) -> None:
        self.items = items
        self._place = target.spec if isinstance(target.spec, str) else PLACE

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self._with_place(self.items[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        several = getattr(self.items, "__getitems__", None)
        items = several(indices) if callable(several) else [self.items[index] for index in indices]
        return [self._with_place(item) for item in items]

    def __getattr__(self, name: str) -> Any:
        """Return what else the dataset has, such as its `classes`."""
        if name.startswith("__") or "items" not in vars(self):
            raise AttributeError(name)
        return getattr(self.items, name)

    def _with_place(self, item: Any) -> Any:
        if isinstance(item, dict):
            return {**item, self._place: None}
        return (*item, None) if isinstance(item, tuple | list) else (item, None)


def with_places(dataset: Any, target: Target) -> Any:
    """Return a dataset whose items have a place for a label: the dataset itself where they have one.

    >>> with_places([(0.5, 1)], Target())
    [(0.5, 1)]
    """
    if not isinstance(target.spec, str | None) or not hasattr(dataset, "__len__"):
        return dataset
    for index in range(min(len(dataset), MOST_TRIED)):
        try:
            item = dataset[index]
        except Exception:  # whatever reading and decoding may raise; the run says it where it matters
            continue
        return Unlabelled(dataset, target) if _lacks_place(item, target) else dataset
    return dataset


def _lacks_place(item: Any, target: Target) -> bool:
    """Return whether an item is one input, or a dict of inputs."""
    if isinstance(item, dict):
        return target.place(item) is None
    return len(item) == 1 if isinstance(item, tuple | list) else is_single(item)
