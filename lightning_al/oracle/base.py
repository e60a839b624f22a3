"""Who answers: what an oracle has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from lightning_al.pool import Label


class Oracle(ABC):
    """Answer what the labels of some points are.

    Attributes:
        reveals: Whether the answers are the dataset's own targets.
    """

    reveals: ClassVar[bool] = False

    @abstractmethod
    def label(self, indices: Sequence[int]) -> Mapping[int, Label]:
        """Return a label for each index.

        Args:
            indices: Indices in the numbering of the wrapped dataset, in the order of choice.

        Returns:
            A label for each of the indices, as plain data; None stands for the dataset's own target.
        """
