"""Who answers: what an oracle has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar


class Oracle(ABC):
    """Answer what the labels of some points are.

    Attributes:
        reveals: Whether the answers are the dataset's own targets.
    """

    reveals: ClassVar[bool] = False

    @abstractmethod
    def label(self, indices: Sequence[int]) -> Mapping[int, Any] | Iterable[tuple[int, Any]]:
        """Return a label for each index, all together or one after the other.

        Args:
            indices: Indices in the numbering of the wrapped dataset, in the order of choice. After a query that was
                answered in part, those of it that have no label yet.

        Returns:
            A label for each of the indices: a dict, or pairs of index and label. The answers of a generator are
            recorded as they come, so that one that is stopped, or fails, loses none. Labels may be numbers of Python,
            NumPy or torch, names of the dataset's classes, or soft labels; None stands for the dataset's own target.
        """
