"""A hash of the contents of an item, the same in every process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.values.parts import is_image, is_pandas, is_scipy_sparse, names, part


def spread(size: int, most: int = 32) -> list[int]:
    """Return evenly spread indices of a dataset, including the first and the last."""
    return sorted({round(place * (size - 1) / (most - 1)) for place in range(most)}) if size else []


def content_hash(item: Any) -> str:
    """Return a hash of the tensors, arrays, images, tables and plain values in an item and in its public attributes.

    An object that has none of these is hashed by its type.
    """
    digest = hashlib.sha256()
    _feed(item, digest.update, inside=False)
    return digest.hexdigest()


def _feed(value: Any, update: Callable[[bytes], None], inside: bool) -> None:
    # Types and lengths first, so different values never give the same bytes.
    update(f"{type(value).__name__}:".encode())
    if isinstance(value, Tensor):
        _feed_tensor(value, update, inside)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, np.ndarray):
        _feed(value.tolist(), update, inside)
    elif isinstance(value, Mapping):
        _feed_parts([part for key in sorted(value, key=repr) for part in (key, value[key])], update, inside)
    elif isinstance(value, tuple | list):
        _feed_parts(value, update, inside)
    elif isinstance(value, set | frozenset):
        _feed_parts(sorted(value, key=repr), update, inside)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed_parts([getattr(value, part.name) for part in dataclasses.fields(value)], update, inside)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        shown = repr(value).encode()
        update(f"{len(shown)}:".encode() + shown)
    elif isinstance(value, Enum):
        update(f"{value.name}:".encode())
    elif is_image(value):
        update(f"{value.mode}{value.size}".encode() + value.tobytes())
    elif is_scipy_sparse(value):
        in_order = value.tocsr().copy() if value.ndim == 2 else value.tocoo().copy()
        in_order.sum_duplicates()
        _feed_parts([in_order.shape, *_arrays_of(in_order.tocoo())], update, inside)
    elif is_pandas(value):
        _feed_parts([list(map(str, value.keys())), value.to_numpy()], update, inside)
    else:
        _feed_object(value, update, inside)


def _feed_object(value: Any, update: Callable[[bytes], None], inside: bool) -> None:
    # Nested objects count by their type only: an object may refer to its parent or its whole dataset.
    if not inside:
        for name in sorted(names(value)):
            _feed_parts([name, part(value, name)], update, inside=True)


def _feed_tensor(value: Tensor, update: Callable[[bytes], None], inside: bool) -> None:
    if value.is_nested:
        return _feed_parts(value.unbind(), update, inside)
    update(f"{value.dtype}{tuple(value.shape)}{value.layout}".encode())
    if value.layout is torch.sparse_coo:
        value = value.detach().coalesce()
        return _feed_parts([value.indices(), value.values()], update, inside)
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return _feed_parts([value.crow_indices(), value.col_indices(), value.values()], update, inside)
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return _feed_parts([value.ccol_indices(), value.row_indices(), value.values()], update, inside)
    dense = value.detach().cpu()
    if dense.is_quantized:
        dense = dense.int_repr()
    # As bytes, since NumPy has no bfloat16.
    return update(dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _arrays_of(rows: Any) -> list[Any]:
    """Return the coordinates and values of a sparse array in SciPy's COO form."""
    # SciPy before 1.13 has rows and columns only.
    coordinates = rows.coords if hasattr(rows, "coords") else (rows.row, rows.col)
    return [*(np.asarray(one, dtype=np.int64) for one in coordinates), rows.data]


def _feed_parts(parts: Sequence[Any], update: Callable[[bytes], None], inside: bool) -> None:
    update(f"{len(parts)}:".encode())
    for one in parts:
        _feed(one, update, inside)
