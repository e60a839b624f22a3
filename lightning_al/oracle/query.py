"""What an oracle is asked: which points, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


class Query(list[int]):
    """Points that have no label yet, in the order of choice, with what is known of each.

    It is the list of their indices, so that a function of indices is a function of queries.

    Args:
        round: Number of the round that asks; -1 for the initial points.
        indices: Indices in the numbering of the dataset. Those of the round's points that were answered before are
            not among them.
        keys: By what the points are known outside; by default their indices.
        scores: The acquisition function's score for each, in its own unit; empty for the initial points.
        probs: What the model believes of each: the posterior mean's probability of each class ``[b][C]``, or that of
            the network itself where no samples were drawn; None where there is no model yet, or its outputs are no
            classes.
        answers: The labels of the round's other points, by index, as they were recorded.
        items: The points as the dataset gives them, each read when it is asked for.

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
    """The items of some points, each read when it is asked for.

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
