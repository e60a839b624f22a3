"""What a task is: what the outputs of a network mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Task(ABC):
    """Say what the raw outputs of a network mean.

    Attributes:
        name: What users call the task, in the words of torchmetrics.
    """

    name: ClassVar[str]

    @abstractmethod
    def log_probs(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities ``[n, C]`` in nats of the classes of n points, C of 2 or more.

        Args:
            outputs: Raw outputs ``[n, ...]``.

        Raises:
            OutputError: If they are not those of such a task; the message says what to pass.
        """
