"""The label that is shown in place of a hidden one: with its own values, and the hidden label's lengths and keys."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.values.parts import is_pandas, names, part, rebuilt, with_part


def shaped_like(label: Any, stand_in: Any) -> Any:
    """Return the stand-in with the lengths and keys of the label that it replaces.

    >>> shaped_like([5, 6, 7], [1, 2])
    [1, 2, 1]
    """
    if isinstance(label, int | float | str) or label is None:
        return stand_in
    if isinstance(label, Tensor):
        return _tensor_like(label, stand_in) if isinstance(stand_in, Tensor) else stand_in
    if isinstance(label, np.ndarray) and isinstance(stand_in, np.ndarray):
        return _repeated(stand_in, label.shape) if _differ_in_length(label, stand_in) else stand_in
    if isinstance(label, tuple | list) and isinstance(stand_in, tuple | list):
        return rebuilt(stand_in, [shaped_like(one, _at(stand_in, place, one)) for place, one in enumerate(label)])
    if isinstance(label, Mapping) and isinstance(stand_in, Mapping):
        own = {key: stand_in[key] if key in stand_in else _nothing(one) for key, one in label.items()}
        return _with_items(stand_in, {key: shaped_like(one, own[key]) for key, one in label.items()})
    if dataclasses.is_dataclass(label) and type(label) is type(stand_in):
        for name in names(label):
            stand_in = with_part(stand_in, name, shaped_like(part(label, name), part(stand_in, name)))
        return stand_in
    if is_pandas(label) and is_pandas(stand_in) and _differ_in_length(label, stand_in):
        hidden = label.copy()
        hidden[:] = _repeated(stand_in.to_numpy(), label.shape)
        return hidden
    return stand_in


def _tensor_like(label: Tensor, stand_in: Tensor) -> Tensor:
    if label.shape == stand_in.shape or label.ndim != stand_in.ndim or stand_in.layout is not torch.strided:
        return stand_in
    values: Tensor = _repeated(stand_in, label.shape)
    if type(label) is Tensor or type(label) is not type(stand_in):
        return values
    # Boxes and masks of torchvision are tensors that also know the size of their image.
    hidden = label.detach().clone()
    hidden.copy_(values)
    return hidden


def _differ_in_length(label: Any, stand_in: Any) -> bool:
    return bool(label.ndim == stand_in.ndim and label.shape != stand_in.shape)


def _repeated(values: Any, shape: tuple[int, ...]) -> Any:
    """Return values repeated along each axis to fill a shape; zeros if there are none."""
    if any(there == 0 and wanted > 0 for there, wanted in zip(values.shape, shape, strict=True)):
        return values.new_zeros(shape) if isinstance(values, Tensor) else np.zeros(shape, values.dtype)
    places = [np.arange(wanted) % max(there, 1) for there, wanted in zip(values.shape, shape, strict=True)]
    grid = np.ix_(*places)
    return values[tuple(map(torch.from_numpy, grid)) if isinstance(values, Tensor) else grid]


def _at(parts: tuple[Any, ...] | list[Any], place: int, one: Any) -> Any:
    return parts[place % len(parts)] if parts else _nothing(one)


def _with_items(mapping: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    if type(mapping) is dict or not isinstance(mapping, dict):
        return items
    fresh = copy.copy(mapping)
    fresh.clear()
    fresh.update(items)
    return fresh


def _nothing(label: Any) -> Any:
    """Return the least value of a label's kind, where the stand-in is empty."""
    if isinstance(label, Tensor):
        return torch.zeros_like(label)
    if isinstance(label, np.ndarray | np.generic):
        return np.zeros_like(label)[()]
    if isinstance(label, Enum):
        return next(iter(type(label)))
    if isinstance(label, int | float | str):
        return type(label)()
    if isinstance(label, tuple | list):
        return rebuilt(label, [_nothing(one) for one in label])
    return {key: _nothing(one) for key, one in label.items()} if isinstance(label, Mapping) else None
