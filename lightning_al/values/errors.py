"""An error in one line."""

from __future__ import annotations


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
