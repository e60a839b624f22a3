"""A label as plain data, and a change of a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Label = int | float | str | list[Any] | dict[str, Any] | None
"""A label as plain data. None stands for the dataset's own target."""


@dataclass(frozen=True)
class Change:
    """A change of a label that a point had.

    Attributes:
        index: The point.
        label: Its new label, if it was corrected; None stands for the dataset's own target.
        given_back: Whether the point was given back to the pool, so that it has no label.
        after: The number of queries before the change.
    """

    index: int
    label: Label = None
    given_back: bool = False
    after: int = 0
