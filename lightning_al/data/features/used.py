"""Which networks and arrays a function uses."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from torch import Tensor, nn


def used_by(function: Any) -> list[Any]:
    """Return the modules, tensors and arrays that a function or an object that can be called uses.

    They are those of its object, its defaults and its closure, and the variables of its file that it reads, itself or
    by another function of the file.

    >>> net = nn.Flatten()
    >>> used_by(lambda inputs: [net(one) for one in inputs])
    [Flatten(start_dim=1, end_dim=-1)]
    """
    found: list[Any] = []
    seen: set[int] = set()
    waiting = deque([function])
    file = _file_of(function)
    while waiting:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module | Tensor | np.ndarray):
            found.append(value)
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, functools.partial):
            waiting += [value.func, value.args, value.keywords]
        elif isinstance(value, types.MethodType):
            waiting += [value.__self__, value.__func__]
        elif isinstance(value, types.FunctionType):
            waiting += _read_by(value) if value.__module__ == file else []
        elif callable(value) or value is getattr(function, "__self__", None):
            waiting += [vars(value)] if hasattr(value, "__dict__") and not isinstance(value, type) else []
    return found


def _read_by(function: types.FunctionType) -> Iterator[Any]:
    """Yield the values that a function can read, in the order of its code."""
    yield from (function.__defaults__ or (), function.__kwdefaults__ or {})
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty yet
            yield cell.cell_contents
    for name in _names_in(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names_in(code: types.CodeType) -> Iterator[str]:
    """Yield the names that a function reads, those of the functions and comprehensions within it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _file_of(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", None)
