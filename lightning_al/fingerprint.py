"""What a training set is known by when a run goes on with it: its length, its labels, its form and its contents."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.loaders import as_class, spread


def fingerprint(size: int, read_label: Callable[[int], Any], read_item: Callable[[int], Any]) -> dict[str, Any]:
    """Return what is known of a dataset by some 32 of its items, spread over it, as plain data.

    Contents are None where an item drawn twice differs, as under random augmentation: an item that came out the same
    twice by chance would not do so in the next process.

    >>> fingerprint(2, lambda index: index % 2, lambda index: (0.5, index % 2))["form"]
    '(float, int)'
    """
    places = spread(size)
    labels = [as_class(read_label(index)) for index in places]
    items = [read_item(index) for index in places]
    hashes = [content_hash(item) for item in items]
    is_random = hashes != [content_hash(read_item(index)) for index in places]
    return {
        "length": size,
        "classes": sorted({label for label in labels if label is not None}),
        "labels": labels,
        "form": form(items[0]) if items else "",
        "contents": None if is_random else hashlib.sha256("".join(hashes).encode()).hexdigest(),
    }


def content_hash(item: Any) -> str:
    """Return a hash of the tensors, arrays, images and plain values in an item; of anything else its type alone."""
    digest = hashlib.sha256()
    _feed(item, digest.update)
    return digest.hexdigest()


def form(item: Any) -> str:
    """Describe of what an item is made.

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


def _feed(value: Any, update: Callable[[bytes], None]) -> None:
    # Lengths and types go in first, so that no two values run together to the same bytes.
    update(f"{type(value).__name__}:".encode())
    if isinstance(value, Tensor):
        _feed_tensor(value, update)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, np.ndarray):
        _feed(value.tolist(), update)
    elif isinstance(value, Mapping):
        _feed_parts([part for key in sorted(value, key=repr) for part in (key, value[key])], update)
    elif isinstance(value, tuple | list):
        _feed_parts(value, update)
    elif isinstance(value, set | frozenset):
        _feed_parts(sorted(value, key=repr), update)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed_parts([getattr(value, part.name) for part in dataclasses.fields(value)], update)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        shown = repr(value).encode()
        update(f"{len(shown)}:".encode() + shown)
    elif hasattr(value, "tobytes") and hasattr(value, "mode") and hasattr(value, "size"):
        update(f"{value.mode}{value.size}".encode() + value.tobytes())


def _feed_tensor(value: Tensor, update: Callable[[bytes], None]) -> None:
    update(f"{value.dtype}{tuple(value.shape)}{value.layout}".encode())
    dense = value.detach().cpu().to_dense() if value.is_sparse else value.detach().cpu()
    if dense.is_quantized:
        dense = dense.int_repr()
    # Through a view of bytes, since NumPy has no bfloat16.
    update(dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _feed_parts(parts: Sequence[Any], update: Callable[[bytes], None]) -> None:
    update(f"{len(parts)}:".encode())
    for part in parts:
        _feed(part, update)
