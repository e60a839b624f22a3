"""The configuration of an object as plain data: the same in every process for objects that behave the same."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import decimal
import fractions
import functools
import hashlib
import inspect
import json
import logging
import math
import pathlib
import re
import textwrap
import types
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_al.run.files import is_absurd
from lightning_al.values.content_hash import content_hash
from lightning_al.values.parts import described, is_image, is_pandas
from lightning_al.values.qualified_name import qualified_name
from lightning_al.values.torch_names import BUFFERS, PARAMETERS

LONGEST = 1_000
"""Texts, lists and dicts with more characters are replaced by a hash."""

MOST = 1_000_000
"""The most values that an object may hold."""

# Immutable types whose repr tells everything.
_SHOWN = (
    complex,
    bytes,
    range,
    slice,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    re.Pattern,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    np.dtype,
    type(...),
    type(NotImplemented),
)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_PLAIN = (str, int, float, list, tuple, dict, set, frozenset, Enum, pathlib.PurePath, np.generic, np.ndarray, Tensor)
_OF_MODULES = frozenset(vars(nn.Module()))


class UnknownStateError(ValueError):
    """The configuration of an object cannot be read.

    Args:
        thing: The part of it that cannot be read.
        way: Where in the object it is.
        why: What is wrong with it.
    """

    def __init__(self, thing: Any, way: str, why: str) -> None:
        super().__init__(f"{way.lstrip('.') or 'it'} (`{class_name(type(thing))}`) {why}")


def config_of(thing: Any) -> Any:
    """Return the configuration of an object, as plain data that JSON can hold.

    - An object with a method `config`: what that returns.
    - A dataclass: its fields. Any other object: its attributes, private ones included.
    - Tensors, arrays and modules: a hash of their contents.
    - A function: its name, a hash of its source, and the plain data that it holds: defaults, the variables that it
      closes over, and the numbers and texts of its module that it reads.

    The class is always part of it. `config` may name another class, by which the object was known before. `config` is
    the only code of a user's that is run.

    Raises:
        UnknownStateError: If a part of it has a state that cannot be read, such as an open file.
        TypeError: If `config` does not return a dict.

    >>> from lightning_al import BatchBALD, LastLayer
    >>> config_of(LastLayer())
    {'class': 'lightning_al.LastLayer', 'layer': None, 'dtype': 'float32'}
    >>> config_of({"rate": 0.5, "sizes": (3, 4)})
    {'rate': 0.5, 'sizes': [3, 4]}
    """
    try:
        return _Reader().read(thing)
    except RecursionError:
        raise UnknownStateError(thing, "", "is nested too deeply") from None


class _Reader:
    """Reads an object and all that it holds."""

    def __init__(self) -> None:
        self._left = MOST
        self._inside: list[int] = []

    def read(self, thing: Any, way: str = "") -> Any:
        self._left -= 1
        if self._left < 0:
            raise UnknownStateError(thing, way, f"holds more than {MOST} values with all around it")
        if thing is None or isinstance(thing, bool):
            return thing
        if isinstance(thing, Enum):
            return f"{class_name(type(thing))}.{thing.name}"
        if isinstance(thing, np.generic):
            return self.read(thing.item(), way) if not isinstance(thing, np.void) else described(thing)
        if isinstance(thing, int):
            return str(int(thing)) if is_absurd(int(thing)) else int(thing)
        if isinstance(thing, float):
            return float(thing) if math.isfinite(thing) and not is_absurd(float(thing)) else float.__repr__(thing)
        if isinstance(thing, str):
            return _shortened(str(thing), "text")
        if isinstance(thing, _SHOWN):
            return _shortened(repr(thing), "text")
        if isinstance(thing, pathlib.PurePath):
            return str(thing)
        if isinstance(thing, type):
            return class_name(thing)
        if isinstance(thing, types.ModuleType | logging.Logger):
            return thing.__name__ if isinstance(thing, types.ModuleType) else thing.name
        if id(thing) in self._inside:
            return {"class": class_name(type(thing)), "again": True}
        self._inside.append(id(thing))
        try:
            return self._read_parts(thing, way)
        finally:
            self._inside.pop()

    def _read_parts(self, thing: Any, way: str) -> Any:
        if callable(getattr(type(thing), "config", None)):
            return self._read_config(thing, way)
        if isinstance(thing, Tensor | np.ndarray) or is_image(thing) or is_pandas(thing):
            return self._read_array(thing, way)
        if isinstance(thing, nn.Module):
            return {"class": class_name(type(thing)), "contents": _digest(list(self._parts_of(thing)))}
        if isinstance(thing, functools.partial):
            return {
                "function": qualified_name(thing),
                "of": self.read(thing.func, way),
                "arguments": self.read(thing.args, way),
                "keywords": self.read(thing.keywords, way),
            }
        if isinstance(thing, types.FunctionType | types.MethodType):
            return self._read_function(thing)
        if isinstance(thing, dict | types.MappingProxyType):
            read = {_key(key): self.read(value, f"{way}[{_key(key)!r}]") for key, value in thing.items()}
            return _shortened(read, f"{len(thing)} values")
        if isinstance(thing, set | frozenset):
            found = sorted((self.read(one, way) for one in thing), key=_json)
            return _shortened(found, f"{len(thing)} values")
        if isinstance(thing, list | tuple | deque):
            return _shortened([self.read(one, f"{way}[{n}]") for n, one in enumerate(thing)], f"{len(thing)} values")
        if callable(thing) and hasattr(thing, "__qualname__"):
            return {"function": qualified_name(thing)}
        return {"class": class_name(type(thing)), **self._read_attributes(thing, way)}

    def _read_config(self, thing: Any, way: str) -> dict[str, Any]:
        said = thing.config()
        if not isinstance(said, Mapping):
            raise TypeError(
                f"`{type(thing).__name__}.config` has to return a dict, but returned {type(said).__name__}. "
                "Return plain data by the names of the options."
            )
        return {"class": class_name(type(thing)), **{str(key): self.read(said[key], f"{way}.{key}") for key in said}}

    def _read_attributes(self, thing: Any, way: str) -> dict[str, Any]:
        if dataclasses.is_dataclass(thing):
            found = {
                one.name: getattr(thing, one.name) for one in dataclasses.fields(thing) if hasattr(thing, one.name)
            }
        elif _hides_state(type(thing)):
            raise UnknownStateError(thing, way, "can say nothing of itself")
        else:
            found = {name: getattr(thing, name) for name in _slots(type(thing)) if hasattr(thing, name)}
            found |= vars(thing) if hasattr(thing, "__dict__") else {}
        return {str(name): self.read(value, f"{way}.{name}") for name, value in found.items()}

    def _read_array(self, thing: Any, way: str) -> Any:
        if isinstance(thing, np.ndarray) and thing.dtype == object:
            return self.read(thing.tolist(), way)
        try:
            return f"{described(thing)}, {content_hash(thing)[:16]}"
        except Exception:  # a tensor without data, say
            raise UnknownStateError(thing, way, "can say nothing of itself") from None

    def _parts_of(self, module: nn.Module) -> Iterator[Any]:
        for path, part in module.named_modules():
            yield path, class_name(type(part))
            for name, value in {**PARAMETERS.of(part), **BUFFERS.of(part), **vars(part)}.items():
                if name not in _OF_MODULES and (isinstance(value, Tensor) or not name.startswith("_")):
                    yield name, self._read_plain(value)

    def _read_plain(self, value: Any) -> Any:
        """Return the config of plain data or of a function, and only the class of anything else."""
        if value is None or isinstance(value, (*_PLAIN, *_SHOWN, *_FUNCTIONS)):
            try:
                return self.read(value)
            except UnknownStateError:
                pass
        return class_name(type(value))

    def _read_function(self, function: Any) -> dict[str, Any]:
        owner = getattr(function, "__self__", None)
        plain = function.__func__ if isinstance(function, types.MethodType) else function
        found: dict[str, Any] = {"function": qualified_name(function)}
        code = getattr(plain, "__code__", None)
        if code is None:
            return found
        found["source"] = _digest(_source(code))
        if owner is not None:
            found["of"] = class_name(type(owner)) if isinstance(owner, nn.Module) else self.read(owner)
        defaults = [*(plain.__defaults__ or ()), *(plain.__kwdefaults__ or {}).items()]
        if defaults:
            found["defaults"] = [self._read_plain(value) for value in defaults]
        held = {
            name: cell for name, cell in zip(code.co_freevars, plain.__closure__ or (), strict=False) if _is_full(cell)
        }
        if held:
            found["holds"] = {name: self._read_plain(cell.cell_contents) for name, cell in held.items()}
        used = {name: plain.__globals__[name] for name in sorted(code.co_names) if name in plain.__globals__}
        values = {name: self.read(one) for name, one in used.items() if isinstance(one, bool | int | float | str)}
        if values:
            found["reads"] = values
        return found


def class_name(kind: type) -> str:
    """Return the name of a class with its module. For our own classes it is the package, since modules may move.

    >>> class_name(nn.Linear)
    'torch.nn.modules.linear.Linear'
    """
    module = "lightning_al" if kind.__module__.startswith("lightning_al.") else kind.__module__
    return f"{module}.{kind.__qualname__}"


def _hides_state(kind: type) -> bool:
    """Return whether objects of a class have a state beside their attributes, as those of classes written in C."""
    word = tuple.__itemsize__
    known = len(_slots(kind)) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return bool(kind.__itemsize__) or kind.__basicsize__ > object.__basicsize__ + word * known


def _slots(kind: type) -> list[str]:
    found = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                is_private = name.startswith("__") and not name.endswith("__")
                found.append(f"_{base.__name__.lstrip('_')}{name}" if is_private else name)
    return found


def _key(key: Any) -> str:
    return key if isinstance(key, str) else _json(_Reader().read(key))


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _source(code: types.CodeType) -> str:
    """Return the source of a function, or its byte code if the source is gone."""
    try:
        return _source_of_lambda(code) if code.co_name == "<lambda>" else textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return compiled(code)


def _source_of_lambda(code: types.CodeType) -> str:
    """Return the source of a lambda without the rest of its line, which may change: it may hold a budget."""
    text = "".join(inspect.findsource(code)[0])
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    if len(found) > 1:
        places = set(code.co_positions())
        found = [
            node
            for node in found
            if (node.body.lineno, node.body.end_lineno, node.body.col_offset, node.body.end_col_offset) in places
        ]
    [node] = found
    return ast.get_source_segment(text, node) or compiled(code)


def compiled(code: types.CodeType) -> str:
    """Return what a function was compiled to, without its place in a file."""
    held = [compiled(one) if isinstance(one, types.CodeType) else _constant(one) for one in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, held))


def _constant(value: Any) -> str:
    # The order of a set differs between processes.
    return f"{sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _shortened(value: Any, what: str) -> Any:
    text = _json(value)
    return value if len(text) <= LONGEST else f"{what}, {_digest(text)}"


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
