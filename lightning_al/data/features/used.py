"""Which networks and arrays a function uses, and by which code networks compute."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lightning_al.run.config import class_name, compiled


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


def code_of(module: nn.Module) -> list[str]:
    """Return the compiled methods of the classes of a module and its parts that no installed package defines.

    >>> code_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    []
    """
    kinds = {kind for part in module.modules() for kind in type(part).__mro__ if not _is_installed(kind)}
    found = []
    for kind in sorted(kinds, key=class_name):
        for name, value in sorted(vars(kind).items()):
            function = inspect.unwrap(getattr(value, "__func__", value))
            if isinstance(function, types.FunctionType):
                found.append(f"{class_name(kind)}.{name}: {compiled(function.__code__)}")
    return found


def _is_installed(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None:
        return kind.__module__ == "builtins"
    return any(Path(file).is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


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
