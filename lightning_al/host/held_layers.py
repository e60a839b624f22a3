"""The layers that an attribute of a module holds, in whatever they are nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from lightning_al.host.namespace import pl


def layers_in(value: Any, depth: int = 4) -> list[Any]:
    """Return the layers and parameters in a value: in a list or dict, a function or another object."""
    if isinstance(value, pl.LightningModule) or depth == 0:
        return []
    if isinstance(value, nn.Module | nn.Parameter):
        return [value]
    return [layer for part in _parts_of(value) for layer in layers_in(part, depth - 1)]


def _parts_of(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, MethodType):
        return (value.__self__,)
    if isinstance(value, FunctionType):
        return (*_cells(value), *(value.__defaults__ or ()))
    if isinstance(value, type | ModuleType | pl.Trainer | pl.LightningDataModule):
        return ()
    return getattr(value, "__dict__", {}).values()


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # the name has no value yet
            yield cell.cell_contents


def has_weights(layer: Any) -> bool:
    """Return whether a layer has parameters or buffers. A parameter has."""
    if isinstance(layer, nn.Module):
        return next(layer.parameters(), None) is not None or next(layer.buffers(), None) is not None
    return layer is not None
