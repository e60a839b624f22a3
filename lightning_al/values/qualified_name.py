"""The module and name of a function."""

from __future__ import annotations

import functools
from typing import Any


def qualified_name(function: Any) -> str:
    """Return the module and name of a function, which are the same in every process, unlike its address.

    >>> qualified_name(functools.partial(dict.fromkeys, [1]))
    'functools.partial(builtins.dict.fromkeys)'
    """
    if isinstance(function, functools.partial):
        return f"functools.partial({qualified_name(function.func)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    owner = getattr(function, "__self__", None)
    module = named.__module__ or (owner if isinstance(owner, type) else type(owner)).__module__
    return f"{module}.{named.__qualname__}"
