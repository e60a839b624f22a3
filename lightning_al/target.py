"""Where the label is in an item or a batch, and how to read, hide, replace or leave it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

KEYS = ("label", "labels", "target", "targets", "y")

# LightningCLI tries the types in this order on what it reads.
TargetSpec = int | Callable[[Any], Any] | str | None


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
        if place is not None:
            return item[place]
        if isinstance(item, Mapping):
            keys = repr(self.spec) if isinstance(self.spec, str) else f"one of {', '.join(KEYS)}"
            raise ValueError(
                f"`ActiveDataModule` looked for the label of a dict under {keys}, but found only "
                f"{sorted(map(str, item))}. Say by `target=` which key it is."
            )
        raise _no_label_in(item)

    def find(self, item: Any) -> Any | None:
        """Return the label of an item, or None where the item is nothing but an input."""
        return None if not callable(self.spec) and _is_bare(item) else self.read(item)

    def hide(self, item: Any) -> Any:
        """Return the item with its label overwritten, so that scoring cannot see it; without a label, as it is.

        Raises:
            ValueError: If it is unclear which part of the item is the label.
        """
        if callable(self.spec):
            raise ValueError(
                "`ActiveDataModule(target=...)` got a function, which can read a label but not hide it from scoring. "
                "Pass `pool_dataset=` as well, a dataset of the same numbering whose items hold no label."
            )
        place = self._place(item)
        if place is not None:
            return _with(item, place, _masked(item[place]))
        if _is_bare(item) or isinstance(item, Mapping):
            return item
        raise _no_label_in(item)

    def replace(self, item: Any, label: Any) -> Any:
        """Return the item with another label, of the type of the one that stood there.

        Raises:
            ValueError: If the item has no place for it, or one of a type that cannot hold it.
        """
        place = self._place(item) if not callable(self.spec) else None
        if place is None:
            raise ValueError(
                f"`ActiveDataModule` cannot put an oracle's label into an item of type {type(item).__name__}. Give "
                "items as (input, label) with any placeholder for the label, or pass `target=`, a key or a position."
            )
        return _with(item, place, _like(item[place], label))

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
        """Return the key or position of the label, or None where the item has none."""
        if isinstance(item, Mapping):
            if isinstance(self.spec, int):
                raise ValueError(
                    f"`ActiveDataModule(target={self.spec})` names a position, but an item is a {type(item).__name__}. "
                    "Pass a key."
                )
            keys = [key for key in (KEYS if self.spec is None else [self.spec]) if key in item]
            if len(keys) > 1:
                raise ValueError(
                    f"`ActiveDataModule` looked for the label of a dict under one of {', '.join(KEYS)}, but found both "
                    f"{keys[0]!r} and {keys[1]!r}. Say by `target=` which key it is."
                )
            return keys[0] if keys else None
        if isinstance(item, tuple | list):
            if isinstance(self.spec, str):
                raise ValueError(
                    f"`ActiveDataModule(target={self.spec!r})` names a key, but an item is a {type(item).__name__}. "
                    "Pass a position."
                )
            if len(item) < 2:
                return None
            place = self.spec if isinstance(self.spec, int) else -1
            if not -len(item) <= place < len(item):
                raise ValueError(f"`ActiveDataModule(target={place})` got items of only {len(item)} parts. Pass less.")
            return place
        return None


def _is_bare(item: Any) -> bool:
    """Return whether an item can hold nothing but one input."""
    if isinstance(item, tuple | list):
        return len(item) < 2
    return isinstance(item, Tensor | np.ndarray | np.generic | int | float | str | bytes)


def _no_label_in(item: Any) -> ValueError:
    return ValueError(
        f"`ActiveDataModule` found no label in an item of type {type(item).__name__}. Give items as (input, label), or "
        "say by `target=` where the label is: a key, a position or a function of the item."
    )


def _with(item: Any, place: Any, part: Any) -> Any:
    if isinstance(item, Mapping):
        return {**item, place: part}
    parts = list(item)
    parts[place] = part
    if hasattr(item, "_fields"):
        return type(item)(*parts)
    return type(item)(parts)


def _like(old: Any, label: Any) -> Any:
    """Return a label in the type of the one that it replaces."""
    if isinstance(old, Tensor):
        new: Any = torch.as_tensor(label, dtype=old.dtype, device=old.device)
        whole = not old.is_floating_point()
    elif isinstance(old, np.ndarray | np.generic):
        new = np.asarray(label, dtype=old.dtype)[()]
        whole = old.dtype.kind in "biu"
    else:
        new = type(old)(label) if isinstance(old, int | float) and isinstance(label, int | float) else label
        whole = isinstance(old, int)
    if whole and np.any(np.asarray(label) != np.asarray(new.tolist() if hasattr(new, "tolist") else new)):
        raise ValueError(
            f"`ActiveDataModule` cannot put the label {label} in the place of {old!r}, which is a whole number. Let "
            "the dataset's labels, or their placeholders, be of the type that the oracle gives."
        )
    return new


def _masked(label: Any) -> Any:
    """Overwrite a label by one that says nothing, keeping the structure that a collate function relies on."""
    if isinstance(label, Tensor):
        return torch.full_like(label, float("nan") if label.is_floating_point() else _nothing(label.dtype))
    if isinstance(label, Mapping):
        return {key: _masked(part) for key, part in label.items()}
    if isinstance(label, tuple | list):
        parts = [_masked(part) for part in label]
        return type(label)(*parts) if hasattr(label, "_fields") else type(label)(parts)
    if isinstance(label, bool):
        return False
    if isinstance(label, np.ndarray | np.generic) and label.dtype.kind in "biufc":
        return _masked(torch.as_tensor(label)).numpy()[()]
    if isinstance(label, float):
        return float("nan")
    if isinstance(label, str):
        return ""
    return -1


def _nothing(dtype: torch.dtype) -> int:
    return 0 if dtype in (torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64) else -1
