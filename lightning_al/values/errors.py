"""An error in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def said_shortly(error: Exception, most: int = 200) -> str:
    """Return the type of an error and the first line of its message.

    >>> said_shortly(OSError("cut off"))
    'OSError: cut off'
    """
    # A DataLoader worker's error is a whole traceback; its last line is the message.
    lines = str(error).strip().splitlines() or [""]
    last = lines[-1] if lines[0].startswith("Caught ") else lines[0]
    said = last if last.startswith(f"{type(error).__name__}: ") else f"{type(error).__name__}: {last}"
    return said.rstrip(". ")[:most]


def first_few(things: Sequence[Any], most: int = 5) -> str:
    """Write out the first few things, and how many there are where these are not all.

    >>> first_few([3, 1]), first_few(range(9), most=2)
    ('3, 1', '0, 1, ... 9 in all')
    """
    first = ", ".join(map(str, things[:most]))
    return f"{first}, ... {len(things)} in all" if len(things) > most else first
