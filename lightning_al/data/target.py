"""Where the label is in an item or a batch, and how to read, hide, replace or leave it out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lightning_al.data.stand_in import shaped_like
from lightning_al.values.parts import described, has, is_single, names, part, rebuilt, with_part
from lightning_al.values.whole_numbers import plain, whole_number

KEYS = ("label", "labels", "target", "targets", "y")

# LightningCLI tries the types in this order on what it reads.
TargetSpec = int | Callable[[Any], Any] | str | None


class Target:
    """Find the label of an item by key, position, name or function, or at its usual place.

    The usual place is the last of a tuple or list of two or more. In anything with keys or attributes it is the one
    among label, labels, target, targets and y.

    Args:
        spec: A key or an attribute's name, a position, a function of the item that returns the label, or None for the
            usual place.

    Raises:
        TypeError: If `spec` is none of these.
        ValueError: If it is a number that is not whole.

    >>> Target().read((0.5, 3)), Target("klass").read({"x": 0.5, "klass": 3})
    (3, 3)
    >>> Target().hide((0.5, 3), 1)
    (0.5, 1)
    """

    def __init__(self, spec: TargetSpec = None) -> None:
        self.spec: TargetSpec = _checked(spec)

    def read(self, item: Any) -> Any:
        """Return the label of an item.

        Raises:
            ValueError: If the item has no label, or it is unclear which part it is.
        """
        if callable(self.spec):
            return self.spec(item)
        place = self.place(item)
        if place is None:
            raise self._no_label_in(item)
        return part(item, place)

    def find(self, item: Any) -> Any | None:
        """Return the label of an item, or None if the item is only an input."""
        return None if not callable(self.spec) and _is_bare(item) else self.read(item)

    def hide(self, item: Any, stand_in: Any) -> Any:
        """Return the item with another label in place of its own. An item without a label is returned unchanged.

        Labels may differ in length, as the labels of tokens or boxes do. Then the length stays that of the item's label
        and the values are those of the other label, repeated.

        Args:
            item: The item, which is not changed.
            stand_in: A label that tells nothing about this item. It is the same for all items, and valid for the user's
                code because it is the label of some labelled point.

        Raises:
            ValueError: If it is unclear which part of the item is the label.
        """
        if callable(self.spec):
            raise ValueError(
                "`ActiveDataModule(target=...)` got a function, which can read a label but not hide it from scoring. "
                "Pass `pool_dataset=` as well, a dataset of the same numbering whose items hold no label."
            )
        place = self.place(item)
        if place is not None:
            return with_part(item, place, shaped_like(part(item, place), stand_in))
        if _is_bare(item) or names(item):
            return item
        raise self._no_label_in(item)

    def replace(self, item: Any, label: Any) -> Any:
        """Return the item with another label, converted to the type of the one it replaces.

        Raises:
            ValueError: If the item has no place for a label, or the type cannot hold it.
        """
        place = self.check_place(item)
        return with_part(item, place, _like(part(item, place), label))

    def check_place(self, item: Any) -> Any:
        """Return the key, name or position in an item where an oracle's label goes.

        Raises:
            ValueError: If it has none.
        """
        place = self.place(item) if not callable(self.spec) else None
        if place is None:
            raise ValueError(
                f"`ActiveDataModule` cannot put an oracle's label into an item of type {type(item).__name__}. Give "
                "items as (input, label) with any placeholder for the label, or pass `target=`, a key or a position."
            )
        return place

    def inputs(self, batch: Any) -> Any:
        """Return an item or a batch without its label: a single input itself, several as a tuple or a dict."""
        rest = self.arguments(batch)
        if len(rest) == 1:
            return next(iter(rest.values())) if isinstance(rest, Mapping) else rest[0]
        return rest

    def arguments(self, batch: Any) -> tuple[Any, ...] | dict[Any, Any]:
        """Return the inputs of a batch as the arguments of a call: in order, or by name.

        In a batch of two parts, the one that is not the label is one input, even if it is a tuple.

        >>> Target().arguments(((1, 2), 3)), Target().arguments({"a": 1, "b": 2, "y": 3})
        (((1, 2),), {'a': 1, 'b': 2})

        Raises:
            ValueError: If it is unclear which part of the batch is the label.
        """
        place = None if callable(self.spec) else self._place_in_batch(batch)
        if isinstance(batch, tuple | list):
            return tuple(one for number, one in enumerate(batch) if place is None or number != place % len(batch))
        if isinstance(batch, Mapping):
            return {key: one for key, one in batch.items() if key != place}
        return (batch,)

    def labels(self, batch: Any) -> Any:
        """Return the labels of a batch. A collate function may have given it another form than the items.

        Raises:
            ValueError: If the batch has none, or it is unclear which part they are.
        """
        if callable(self.spec):
            return self.spec(batch)
        place = self._place_in_batch(batch)
        if place is None:
            raise ValueError(
                f"`ActiveDataModule` found no labels in a batch that the collate function made: {described(batch)}. "
                f"Let it keep the labels under {self._said()}, or last in a tuple."
            )
        return part(batch, place)

    def place(self, item: Any) -> Any:
        """Return the key, name or position of the label, or None where the item has none."""
        if isinstance(item, tuple | list):
            place: Any = -1 if self.spec is None else self.spec
            if isinstance(place, str):
                fields = getattr(item, "_fields", ())
                if place not in fields:
                    raise ValueError(
                        f"`ActiveDataModule(target={self.spec!r})` names a key, but an item is a "
                        f"{type(item).__name__}: {described(item)}. Pass a position."
                    )
                place = fields.index(place)
            if len(item) < 2:
                return None
            if not -len(item) <= place < len(item):
                raise ValueError(
                    f"`ActiveDataModule(target={place})` got items of only {len(item)} parts: {described(item)}. "
                    f"Give it a number from 0 to {len(item) - 1}."
                )
            return place
        if type(item) is not dict and is_single(item):
            return None
        if self.spec is not None and has(item, self.spec):
            return self.spec
        if isinstance(self.spec, int):
            raise ValueError(
                f"`ActiveDataModule(target={self.spec})` names a position, but an item is a {type(item).__name__}: "
                f"{described(item)}. Pass a key."
            )
        return None if self.spec is not None else _usual_place(item)

    def _place_in_batch(self, batch: Any) -> Any:
        """Return where a batch has its labels: as an item has, or at the usual place in a batch of another form."""
        if isinstance(batch, tuple | list):
            if isinstance(self.spec, str) and self.spec not in getattr(batch, "_fields", ()):
                if len(batch) == 2:
                    return -1
                raise self._another_form(batch)
            return self.place(batch)
        if is_single(batch):
            return None
        if self.spec is not None and not has(batch, self.spec):
            place = _usual_place(batch)
            if place is None and isinstance(self.spec, int):
                raise self._another_form(batch)
            return place
        return self.place(batch)

    def _said(self) -> str:
        return f"one of {', '.join(KEYS)}" if self.spec is None else repr(self.spec)

    def _no_label_in(self, item: Any) -> ValueError:
        known = names(item)
        kind = "dict" if isinstance(item, Mapping) else type(item).__name__
        if known and not isinstance(item, tuple | list):
            return ValueError(
                f"`ActiveDataModule` looked for the label of a {kind} under {self._said()}, but found only "
                f"{sorted(map(str, known))}. Say by `target=` which key it is."
            )
        return ValueError(
            f"`ActiveDataModule` found no label in an item of type {kind}. Give items as (input, label), or "
            "say by `target=` where the label is: a key, a position or a function of the item."
        )

    def _another_form(self, batch: Any) -> ValueError:
        return ValueError(
            f"`ActiveDataModule(target={self.spec!r})` says where an item has its label, but the collate function "
            f"makes batches of another form: {described(batch)}. Pass `forward=`, a function of the module and the "
            f"batch that returns logits, or let the batches keep their labels under one of {', '.join(KEYS)}."
        )


def _checked(spec: Any) -> TargetSpec:
    spec = plain(spec)
    if spec is None or isinstance(spec, str) or callable(spec):
        return cast(TargetSpec, spec)
    if isinstance(spec, int | Real) and type(spec) is not bool:
        return whole_number("ActiveDataModule", "target", spec, least=None)
    raise TypeError(
        f"`ActiveDataModule(target=...)` expected a key or a name as text, a position, or a function of the item, but "
        f"got {spec!r}. Pass 1, say, for the second part of an item."
    )


def _usual_place(item: Any) -> Any:
    """Return the usual name under which an item with named parts has its label, or None."""
    known = item if isinstance(item, dict) else names(item)
    found = [key for key in KEYS if key in known]
    if len(found) > 1:
        kind = "dict" if isinstance(item, Mapping) else type(item).__name__
        raise ValueError(
            f"`ActiveDataModule` looked for the label of a {kind} under one of {', '.join(KEYS)}, but found both "
            f"{found[0]!r} and {found[1]!r}. Say by `target=` which key it is."
        )
    return found[0] if found else None


def _is_bare(item: Any) -> bool:
    """Return whether an item has room for only one input."""
    if isinstance(item, tuple | list):
        return len(item) < 2
    return is_single(item)


def _like(old: Any, label: Any) -> Any:
    """Return a label in the type of the one that it replaces."""
    if isinstance(old, list | tuple) and len(old) == 1 and isinstance(label, int | float | str):
        return rebuilt(old, [_like(old[0], label)])
    if isinstance(old, Tensor):
        new: Any = torch.as_tensor(label, dtype=old.dtype, device=old.device)
        new = new.reshape(old.shape) if new.numel() == old.numel() == 1 else new
        whole = not old.is_floating_point()
    elif isinstance(old, np.ndarray | np.generic):
        # The type of a text holds its length.
        new = np.asarray(label, dtype=old.dtype.kind if old.dtype.kind in "US" else old.dtype)
        new = (new.reshape(old.shape) if new.size == old.size == 1 else new)[()]
        whole = old.dtype.kind in "biu"
    else:
        # NaN means that there is no label, and tells nothing about its type.
        is_number = isinstance(old, int | float) and isinstance(label, int | float) and not np.isnan(old)
        new = type(old)(label) if is_number else copy.deepcopy(label)  # which the user's code may change in place
        whole = isinstance(old, int)
    if whole and np.any(np.asarray(label) != np.asarray(new.tolist() if hasattr(new, "tolist") else new)):
        raise ValueError(
            f"`ActiveDataModule` cannot put the label {label} in the place of {old!r}, which is a whole number. Give "
            "the dataset's labels, or their placeholders, the type of the oracle's labels."
        )
    return new
