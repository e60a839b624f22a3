"""Which browser looks at which point, so that two people are not shown the same one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

SECONDS = 60.0
"""How long a point is kept for a browser that says nothing."""


class Leases:
    """Keep points for browsers for a while.

    Args:
        clock: Returns the time in seconds.

    >>> leases = Leases(clock=lambda: 0.0)
    >>> leases.take("one", [7, 3])
    >>> leases.is_free(7, "one"), leases.is_free(7, "other")
    (True, False)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: dict[int, tuple[str, float]] = {}

    def is_free(self, point: int, client: str) -> bool:
        """Return whether a point is kept for nobody else."""
        holder, until = self._taken.get(point, (client, 0.0))
        return holder == client or until <= self._clock()

    def take(self, client: str, points: Iterable[int]) -> None:
        """Keep points for a browser, from now on."""
        until = self._clock() + SECONDS
        self._taken |= dict.fromkeys(points, (client, until))

    def end(self, points: Iterable[int]) -> None:
        """Keep points no longer, such as those that were answered."""
        for point in points:
            self._taken.pop(point, None)
