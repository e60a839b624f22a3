"""How long an answer took, and who gave it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_SECONDS = 366 * 86_400
"""The most seconds that an answer can have taken: a year."""

LONGEST_NAME = 200
"""The most characters of a name."""


@dataclass(frozen=True)
class Effort:
    """What is known of an answer besides itself.

    Attributes:
        seconds: How long it took, or None if that is not known.
        who: Who gave it, or None if that is not known.

    >>> Effort(2.5).to_plain(), Effort.from_plain({"who": "anna"})
    ({'seconds': 2.5}, Effort(seconds=None, who='anna'))
    """

    seconds: float | None = None
    who: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.seconds is not None or self.who is not None

    def to_plain(self) -> dict[str, Any]:
        """Return what is known as plain data."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Effort:
        """Make an effort of plain data, or raise a TypeError if there is more in it."""
        return cls(**plain)


def known_efforts(efforts: Mapping[int, Effort], indices: Iterable[int]) -> dict[int, Effort]:
    """Return the efforts of some points, as far as anything is known of them, in the order of the points.

    >>> known_efforts({3: Effort(2.0), 7: Effort(), 5: Effort(1.0)}, [7, 3])
    {3: Effort(seconds=2.0, who=None)}
    """
    return {index: efforts[index] for index in indices if index in efforts and efforts[index].is_known}


def total_seconds(efforts: Iterable[Effort]) -> float:
    """Return the sum of all seconds that are known, whatever their order.

    >>> total_seconds([Effort(2.0), Effort(who="anna"), Effort(0.5)])
    2.5
    """
    return math.fsum(effort.seconds for effort in efforts if effort.seconds is not None)
