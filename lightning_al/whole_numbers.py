"""Numbers that users pass, as plain ints and floats: whatever says the same is taken, and nothing is rounded."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from torch import Tensor


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or torch as Python's own bool, int or float, and anything else as it is.

    >>> plain(np.int64(4)), plain(np.array(0.5)), plain("4")
    (4, 0.5, '4')
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0):
        return value.item()
    return value


def as_whole(value: Any) -> int | None:
    """Return a whole number as an int, or None for anything else: a fraction, NaN, a bool, text.

    >>> as_whole(np.int64(4)), as_whole(4.0), as_whole(4.5), as_whole(True), as_whole("4")
    (4, 4, None, None, None)
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, Real):
        return None
    is_whole = isinstance(number, Integral) or float(number).is_integer()
    return int(cast(Any, number)) if is_whole else None


def whole_number(who: str, name: str, value: Any, *, least: int | None = 1) -> int:
    """Return an argument that counts something, as an int.

    Args:
        who: The class or function that takes the argument.
        name: The argument's name.
        value: What was passed: an int, a whole float, or a scalar of NumPy or torch.
        least: The smallest number that makes sense, or None where all do.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not whole, or below `least`.

    >>> whole_number("ActiveLearning", "query_size", 4.0)
    4
    """
    number = as_whole(value)
    if number is None:
        value = plain(value)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        remedy = " It counts points and is not a share of them." if is_number and 0 < value < 1 else ""
        kind: type[Exception] = ValueError if is_number else TypeError
        raise kind(f"`{who}` needs `{name}` to be a whole number, but got {value!r}.{remedy} Pass an int.")
    if least is not None and number < least:
        raise ValueError(f"`{who}` needs `{name}` of at least {least}, but got {number}. Pass a larger one.")
    return number


def optional_whole_number(who: str, name: str, value: Any, *, least: int | None = 1) -> int | None:
    """Return an argument as `whole_number` does, or None where it was left out."""
    return None if value is None else whole_number(who, name, value, least=least)
