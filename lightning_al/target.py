"""Where the label is in an item or a batch, and how to read, hide, replace or leave it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

KEYS = ("label", "labels", "target", "targets", "y")

TargetSpec = str | int | Callable[[Any], Any] | None


class Target:
    """Find the label of an item: by key, by position, by a function, or by what is usual.

    What is usual is the last of a tuple or list of two or more, and in a dict the one key among label, labels,
    target, targets and y.

    Args:
        spec: A key, a position, a function of the item that returns the label, or None for what is usual.

    >>> Target().read((0.5, 3)), Target("klass").read({"x": 0.5, "klass": 3})
    (3, 3)
    >>> Target().hide((0.5, 3))
    (0.5, -1)
    """

    def __init__(self, spec: TargetSpec = None) -> None:
        self.spec = spec

    def read(self, item: Any) -> Any:
        """Return the label of an item.

        Raises:
            ValueError: If the item has no label, or it is unclear which part it is.
        """
        if callable(self.spec):
            return self.spec(item)
        place = self._place(item)
        if place is None:
            raise ValueError(
                f"`ActiveDataModule` found no label in an item of type {type(item).__name__}. Give items as "
                "(input, label), or say by `target=` where the label is: a key, a position or a function of the item."
            )
        return item[place]

    def hide(self, item: Any) -> Any:
        """Return the item with its label overwritten, so that scoring cannot see it; without a label, as it is."""
        if callable(self.spec):
            raise ValueError(
                "`ActiveDataModule(target=...)` got a function, which can read a label but not hide it from scoring. "
                "Pass `pool_dataset=` as well, a dataset of the same numbering whose items hold no label."
            )
        place = self._place(item)
        return item if place is None else _with(item, place, _masked(item[place]))

    def replace(self, item: Any, label: Any) -> Any:
        """Return the item with another label, of the type of the one that stood there."""
        place = self._place(item) if not callable(self.spec) else None
        if place is None:
            raise ValueError(
                f"`ActiveDataModule` cannot put an oracle's label into an item of type {type(item).__name__}. Give "
                "items as (input, label) with any placeholder for the label, or pass `target=`, a key or a position."
            )
        old = item[place]
        return _with(item, place, torch.as_tensor(label, dtype=old.dtype) if isinstance(old, Tensor) else label)

    def inputs(self, batch: Any) -> Any:
        """Return the batch without its label: one input as it is, several as a tuple or a dict."""
        if isinstance(batch, Tensor):
            return batch
        place = None if callable(self.spec) else self._place(batch)
        if isinstance(batch, Mapping):
            rest = {key: value for key, value in batch.items() if key != place}
            return next(iter(rest.values())) if len(rest) == 1 else rest
        if isinstance(batch, tuple | list):
            keep = [part for number, part in enumerate(batch) if place is None or number != place % len(batch)]
            return keep[0] if len(keep) == 1 else tuple(keep)
        return batch

    def _place(self, item: Any) -> Any:
        if isinstance(item, Mapping):
            if isinstance(self.spec, str):
                return self.spec if self.spec in item else None
            keys = [key for key in KEYS if key in item]
            if len(keys) > 1 or not keys:
                found = f"both {keys[0]!r} and {keys[1]!r}" if keys else f"only {sorted(map(str, item))}"
                raise ValueError(
                    f"`ActiveDataModule` looked for the label of a dict under one of {', '.join(KEYS)}, but found "
                    f"{found}. Say by `target=` which key it is."
                )
            return keys[0]
        if isinstance(item, tuple | list) and len(item) >= 2:
            place = self.spec if isinstance(self.spec, int) else -1
            if not -len(item) <= place < len(item):
                raise ValueError(f"`ActiveDataModule(target={place})` got items of only {len(item)} parts.")
            return place
        return None


def _with(item: Any, place: Any, part: Any) -> Any:
    if isinstance(item, Mapping):
        return {**item, place: part}
    parts = list(item)
    parts[place] = part
    if hasattr(item, "_fields"):
        return type(item)(*parts)
    return type(item)(parts)


def _masked(label: Any) -> Any:
    """Overwrite a label by one that says nothing, keeping the structure that a collate function relies on."""
    if isinstance(label, Tensor):
        return torch.full_like(label, float("nan") if label.is_floating_point() else _nothing(label.dtype))
    if isinstance(label, Mapping):
        return {key: _masked(part) for key, part in label.items()}
    if isinstance(label, tuple | list):
        return type(label)(_masked(part) for part in label)
    if isinstance(label, bool):
        return False
    if isinstance(label, float):
        return float("nan")
    if isinstance(label, str):
        return ""
    if hasattr(label, "dtype") and hasattr(label, "shape"):  # a NumPy array or scalar
        return _masked(torch.as_tensor(label)).numpy()[()]
    return -1


def _nothing(dtype: torch.dtype) -> int:
    return 0 if dtype in (torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64) else -1
