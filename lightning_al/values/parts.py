"""The parts of an item: by position in a tuple, by key in a mapping or table row, by name in an object."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

_BY_PLACE = (tuple, list, dict, np.void)


def is_single(item: Any) -> bool:
    """Return whether an item is one value: a tensor, an array, a number, a text, an image or a sparse row.

    >>> is_single(0.5), is_single((0.5, 1)), is_single({"x": 0.5})
    (True, False, False)
    """
    if item is None or isinstance(item, Tensor | np.ndarray | np.generic | int | float | complex | str | bytes):
        return not (isinstance(item, np.void) and item.dtype.names)
    # Some mappings have every attribute.
    return not isinstance(item, Mapping) and (is_image(item) or is_scipy_sparse(item))


def is_image(item: Any) -> bool:
    """Return whether an item is an image of PIL."""
    return hasattr(item, "tobytes") and hasattr(item, "mode") and hasattr(item, "size")


def is_scipy_sparse(item: Any) -> bool:
    """Return whether an item is a sparse matrix or array of SciPy."""
    return hasattr(item, "tocoo") and hasattr(item, "nnz")


def is_pandas(item: Any) -> bool:
    """Return whether an item is a Series or DataFrame of pandas."""
    return hasattr(item, "iloc") and hasattr(item, "to_numpy")


def names(item: Any) -> list[Any]:
    """Return the keys or names of an item's parts; none for a tuple, a list or a single value.

    >>> names({"x": 0.5, "y": 3})
    ['x', 'y']
    """
    if isinstance(item, tuple | list) or is_single(item):
        return list(getattr(item, "_fields", ()))
    if isinstance(item, np.void):
        return list(item.dtype.names or ())
    if _is_keyed(item):
        return list(item.keys())
    if dataclasses.is_dataclass(item):
        return [field.name for field in dataclasses.fields(item)]
    slots = (slot for kind in type(item).__mro__ for slot in _slots(kind))
    # A PyG graph keeps its parts elsewhere, and lists them.
    listed = item.to_dict() if hasattr(item, "to_dict") and hasattr(item, "keys") else ()
    known = dict.fromkeys((*getattr(item, "__dict__", {}), *slots, *listed))
    return [name for name in known if isinstance(name, str) and not name.startswith("_") and hasattr(item, name)]


def has(item: Any, name: Any) -> bool:
    """Return whether an item has a part with this key or name."""
    if type(item) is dict or _is_keyed(item):
        return name in item
    if isinstance(item, np.void):
        return name in (item.dtype.names or ())
    return isinstance(name, str) and not is_single(item) and hasattr(item, name)


def part(item: Any, place: Any) -> Any:
    """Return one part of an item.

    Args:
        item: A tuple or list, a mapping, a row of a table, or an object with attributes.
        place: A position, a key or a name.
    """
    by_place = isinstance(item, _BY_PLACE) or _is_keyed(item)
    return item[place] if by_place else getattr(item, place)


def with_part(item: Any, place: Any, value: Any) -> Any:
    """Return a copy of an item with another value for one part. The item itself does not change.

    >>> with_part((0.5, 3), 1, 7), with_part({"x": 0.5, "y": 3}, "y", 7)
    ((0.5, 7), {'x': 0.5, 'y': 7})
    """
    if type(item) is dict:
        return {**item, place: value}
    if isinstance(item, tuple | list):
        parts = list(item)
        parts[place] = value
        return rebuilt(item, parts)
    if dataclasses.is_dataclass(item) and not _is_keyed(item):
        return _with_field(item, place, value)
    if isinstance(item, np.void) or _is_keyed(item):
        fresh = _copied(item)
        # pandas aligns a Series by its index, but takes numbers in order.
        fresh[place] = value.to_numpy() if is_pandas(value) and is_pandas(item) else value
        return fresh
    fresh = copy.copy(item)
    setattr(fresh, place, value)
    return fresh


def rebuilt(sequence: Sequence[Any], parts: list[Any]) -> Any:
    """Return a tuple, named tuple or list of the same type with other parts."""
    kind: Any = type(sequence)
    if kind is tuple:
        return tuple(parts)
    return kind._make(parts) if hasattr(kind, "_make") else kind(parts)


def form(item: Any) -> str:
    """Describe the types of an item's parts.

    >>> form({"x": [1.0, "a"], "y": 3})
    '{x: [float, str], y: int}'
    """
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key}: {form(part)}" for key, part in item.items()) + "}"
    if isinstance(item, tuple | list):
        parts = ", ".join(map(form, item))
        return f"({parts})" if isinstance(item, tuple) else f"[{parts}]"
    if isinstance(item, Tensor | np.ndarray):
        return f"{type(item).__name__} of {item.dtype}"
    return type(item).__name__


def described(item: Any, most: int = 8) -> str:
    """Describe the types and shapes of an item or a batch, for an error message.

    >>> described((np.zeros((4, 2)), {"y": 3}))
    '(ndarray [4, 2] of float64, {y: int})'
    """
    if isinstance(item, Tensor | np.ndarray):
        return f"{type(item).__name__} {list(item.shape)} of {str(item.dtype).removeprefix('torch.')}"
    if isinstance(item, tuple | list):
        parts = [described(one, most) for one in item[:most]] + ["..."] * (len(item) > most)
        return f"({', '.join(parts)})" if isinstance(item, tuple) else f"[{', '.join(parts)}]"
    if is_pandas(item):
        return f"{type(item).__name__} {list(item.shape)}"
    known = names(item)
    if not known:
        return type(item).__name__
    shown = [f"{name}: {described(part(item, name), most)}" for name in known[:most]] + ["..."] * (len(known) > most)
    kind = "" if type(item) is dict else type(item).__name__
    return f"{kind}{{{', '.join(shown)}}}"


def _is_keyed(item: Any) -> bool:
    """Return whether an item is read by keys: a mapping, a Series or a DataFrame."""
    return isinstance(item, Mapping) or is_pandas(item)


def _copied(item: Any) -> Any:
    # `dict.copy` of a subclass returns a plain dict; `copy.copy` of other mappings may share their contents.
    if isinstance(item, dict):
        return copy.copy(item)
    return item.copy() if hasattr(item, "copy") else dict(item)


def _with_field(item: Any, name: str, value: Any) -> Any:
    try:
        return dataclasses.replace(item, **{name: value})
    except (TypeError, ValueError):
        # The arguments of `__init__` differ from the fields.
        fresh = copy.copy(item)
        object.__setattr__(fresh, name, value)
        return fresh


def _slots(kind: type) -> Sequence[str]:
    slots = getattr(kind, "__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
