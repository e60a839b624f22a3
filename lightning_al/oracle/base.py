"""Who answers: what an oracle has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from lightning_al.oracle.query import Query


class Oracle(ABC):
    """Answer what the labels of some points are.

    Attributes:
        reveals: Whether the answers are the dataset's own targets.
    """

    reveals: ClassVar[bool] = False

    @abstractmethod
    def label(self, query: Query) -> Mapping[int, Any] | Iterable[tuple[int, Any]]:
        """Return labels for the points of a query, all together or one after the other.

        Args:
            query: The points that have no label yet. A query that was answered in part is asked again, for its rest. It
                is left as it is.

        Returns:
            Labels by index: a dict, or pairs of index and label. Those left out are pending: the call of `trainer.fit`
            ends, and the next one asks for them. The answers of a generator are recorded as they come, so that one that
            is stopped, or fails, loses none. Labels may be numbers of Python, NumPy or torch, names of the dataset's
            classes, or soft labels; None stands for the dataset's own target.
        """
