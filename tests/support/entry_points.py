"""Installed packages' entry points, read once: each Trainer and each process group of torch reads all of them.

Of a Trainer's 8 ms that is 7. Importing this file reads them, so that the processes that a server forks have them.
"""

from __future__ import annotations

from importlib.metadata import EntryPoints, PathDistribution, entry_points
from typing import Any

made, read = PathDistribution.__init__, PathDistribution.entry_points
known: dict[str, EntryPoints] = {}


class AtPlace(PathDistribution):
    """A distribution that reads its entry points once for its place."""

    def __init__(self, place: Any) -> None:
        made(self, place)
        self.place = str(place)

    @property
    def entry_points(self) -> EntryPoints:
        if not hasattr(self, "place"):  # made before
            return read.fget(self)
        if self.place not in known:
            known[self.place] = read.fget(self)
        return known[self.place]


PathDistribution.__init__ = AtPlace.__init__  # type: ignore[method-assign]
PathDistribution.entry_points = AtPlace.entry_points  # type: ignore[method-assign]
entry_points()
