"""Numbers that users pass, as plain ints and floats: any type that holds the same number, without rounding."""

from __future__ import annotations

import operator
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

LARGEST = 2**63 - 1
"""The largest number that an int64 tensor or the length of a list can be; `sys.maxsize`."""

MOST_HELD = 10**9
"""The most points that may be listed at once, each with something in memory."""

MOST_SAMPLES = 10**6
"""The most posterior samples, each of which is held for every point of a batch."""

MOST_WORKERS = 1024
"""The most worker processes."""


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or torch as a Python bool, int or float, and anything else unchanged.

    >>> plain(np.int64(4)), plain(np.array(0.5)), plain("4")
    (4, 0.5, '4')
    """
    # `item` would turn masked values and times into numbers.
    is_masked = isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())
    if is_masked or isinstance(value, np.datetime64 | np.timedelta64):
        return value
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0):
        return value if isinstance(value, Tensor) and value.is_meta else value.item()
    return value


def as_whole(value: Any) -> int | None:
    """Return a whole number as an int, or None for anything else: a fraction, NaN, a bool, text.

    >>> as_whole(np.int64(4)), as_whole(4.0), as_whole(4.5), as_whole(True), as_whole("4")
    (4, 4, None, None, None)
    """
    number = plain(value)
    if isinstance(number, int) and not isinstance(number, bool):
        return int.__int__(number)  # a subclass may define `__int__`
    if isinstance(number, bool) or not isinstance(number, Real):
        return None
    try:
        if isinstance(number, Integral):
            return operator.index(number)
        whole = int(number)  # type: ignore[call-overload]
        return whole if whole == number else None
    except Exception:  # NaN, Inf, or whatever a type may raise
        return None


def whole_number(who: str, name: str, value: Any, *, least: int | None = 1, most: int = LARGEST) -> int:
    """Return an argument that must be a whole number, as an int.

    Args:
        who: The class or function that takes the argument.
        name: The argument's name.
        value: What was passed: an int, a whole float, or a scalar of NumPy or torch.
        least: The smallest number allowed, or None if there is none.
        most: The largest one, if there is a smallest.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not whole, below `least`, or above `most`.

    >>> whole_number("ActiveLearning", "query_size", 4.0)
    4
    """
    number = as_whole(value)
    if number is None:
        value = plain(value)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        remedy = " It counts points and is not a share of them." if is_number and 0 < value < 1 else ""
        remedy = remedy.replace("points", "processes") if name == "num_workers" else remedy
        kind: type[Exception] = ValueError if is_number else TypeError
        raise kind(f"`{who}` needs `{name}` to be a whole number, but got {shown(value)}.{remedy} Pass an int.")
    if least is not None and number < least:
        raise ValueError(f"`{who}` needs `{name}` of at least {least}, but got {shown(number)}. Pass a larger one.")
    if least is not None and number > most:
        raise ValueError(f"`{who}` takes `{name}` up to {most:,}, but got {shown(number)}. Pass a smaller one.")
    return number


def optional_whole_number(who: str, name: str, value: Any, *, most: int = LARGEST) -> int | None:
    """Return an argument of at least 1 as `whole_number` does, or None if it is None."""
    return None if value is None else whole_number(who, name, value, most=most)


def shown(value: Any, most: int = 60) -> str:
    """Return a value in one line, for an error message."""
    try:
        said = " ".join(repr(value).split())
    except Exception:  # a number with more digits than Python prints, or an error of the class
        said = f"{type(value).__name__} of too many digits" if isinstance(value, int) else type(value).__name__
    return said if len(said) <= most else f"{said[: most - 3]}..."
