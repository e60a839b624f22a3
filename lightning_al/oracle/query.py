"""The query that an oracle answers: which points, and what is known about them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Truth:
    """What the dataset itself says of its points, for oracles that simulate people.

    Attributes:
        label_of: Returns the dataset's own label of a point, by its index, as plain data.
        classes: Returns the class numbers that a label may be, or None where labels are not class numbers.
        seed: Seed of the run.
    """

    label_of: Callable[[int], Any]
    classes: Callable[[], Sequence[int] | None]
    seed: int = 0


class Query(list[int]):
    """Points that have no label yet, in the order of choice, with what is known about each.

    A query is the list of their indices, so a function of indices also takes a query.

    Args:
        round: Number of the round; -1 for the initial points.
        indices: Indices in the dataset, without those points of the round that were answered before.
        keys: What the points are called outside, such as paths. By default their indices.
        scores: The acquisition function's score for each, in its own unit; empty for the initial points. That of an
            audit point, which was drawn and not chosen, is NaN.
        probs: The model's probability of each class for each point ``[b][C]``: that of the posterior mean, or of the
            network itself if no samples were drawn. None if there is no model yet, or its outputs are not classes; an
            audit point has None in place of its row, so that nobody is told what the model believes.
        answers: The recorded labels of the round's other points, by index.
        items: The dataset's items of the points, each read when it is accessed.
        classes: The names of the classes by their numbers, as far as they are known.
        folder: The run's folder, if it has one.
        truth: What the dataset itself says of its points, for simulations. None outside of a run.
        paths: The file of each item, or None for one that has none; empty where no item has one.

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
        probs: Sequence[Sequence[float] | None] | None = None,
        answers: Mapping[int, Any] | None = None,
        items: Sequence[Any] = (),
        classes: Mapping[int, str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        truth: Truth | None = None,
        paths: Sequence[Path | None] = (),
    ) -> None:
        super().__init__(indices)
        self.round = round
        self.keys = list(self if keys is None else keys)
        self.scores = list(scores)
        self.probs = None if probs is None else [None if row is None else list(row) for row in probs]
        self.answers = dict(answers or {})
        self.items = items
        self.classes = dict(classes or {})
        self.folder = None if folder is None else Path(folder)
        self.truth = truth
        self.paths = list(paths)

    @property
    def indices(self) -> list[int]:
        """The indices alone."""
        return list(self)

    def to_frame(self) -> pd.DataFrame:
        """Return the query as a table of one row a point, in the order of choice.

        Its columns are `round`, `index`, `key`, `score` (in the acquisition function's unit), `predicted` (the class
        that the model thinks most likely, by its name if it has one) and `probability` (of that class). The last three
        are empty for audit points.

        >>> Query(0, [7], keys=["a.png"], scores=[0.5], probs=[[0.2, 0.8]], classes={1: "dog"}).to_frame()
           round  index    key  score predicted  probability
        0      0      7  a.png    0.5       dog          0.8
        """
        import pandas as pd

        table = pd.DataFrame({"round": self.round, "index": self.indices, "key": self.keys})
        table["score"] = self.scores or None
        predicted = [None if row is None else max(range(len(row)), key=row.__getitem__) for row in self.probs or ()]
        names = [None if number is None else self.classes.get(number, number) for number in predicted]
        table["predicted"] = pd.Series(names, index=table.index, dtype=object) if None in names else names or None
        table["probability"] = [math.nan if row is None else max(row) for row in self.probs or ()] or None
        return table


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
