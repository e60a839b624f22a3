"""The query that an oracle answers: which points, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


class Query(list[int]):
    """Points that have no label yet, in the order of choice, with what is known about each.

    A query is the list of their indices, so a function of indices also takes a query.

    Args:
        round: Number of the round; -1 for the initial points.
        indices: Indices in the dataset, without those points of the round that were answered before.
        keys: What the points are called outside, such as paths. By default their indices.
        scores: The acquisition function's score for each, in its own unit; empty for the initial points.
        probs: The model's probability of each class for each point ``[b][C]``: that of the posterior mean, or of the
            network itself if no samples were drawn. None if there is no model yet, or its outputs are not classes.
        answers: The recorded labels of the round's other points, by index.
        items: The dataset's items of the points, each read when it is accessed.

    >>> query = Query(0, [7, 3], scores=[0.5, 0.2], items=["a", "b"])
    >>> query, query.round, query.items[1], {index: 1 for index in query}
    ([7, 3], 0, 'b', {7: 1, 3: 1})
    """

    def __init__(
        self,
        round: int,
        indices: Iterable[int],
        *,
        keys: Sequence[Any] | None = None,
        scores: Sequence[float] = (),
        probs: Sequence[Sequence[float]] | None = None,
        answers: Mapping[int, Any] | None = None,
        items: Sequence[Any] = (),
    ) -> None:
        super().__init__(indices)
        self.round = round
        self.keys = list(self if keys is None else keys)
        self.scores = list(scores)
        self.probs = None if probs is None else [list(row) for row in probs]
        self.answers = dict(answers or {})
        self.items = items

    @property
    def indices(self) -> list[int]:
        """The indices alone."""
        return list(self)


class LazyItems(Sequence[Any]):
    """The items of some points, each read when it is accessed.

    Args:
        read: Reads the item of an index.
        indices: The points.

    >>> items = LazyItems(str, [7, 3])
    >>> items[1], len(items)
    ('3', 2)
    """

    def __init__(self, read: Callable[[int], Any], indices: Sequence[int]) -> None:
        self._read = read
        self._indices = list(indices)

    def __getitem__(self, place: Any) -> Any:
        """Read an item, or several for a slice."""
        if isinstance(place, slice):
            return [self._read(index) for index in self._indices[place]]
        return self._read(self._indices[place])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._indices)
