"""The base class of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Task(ABC):
    """Base class of tasks, which define what the raw outputs of a network mean.

    Attributes:
        name: The name of the task, as in torchmetrics.
    """

    name: ClassVar[str]

    @abstractmethod
    def log_probs(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities ``[n, C]`` in nats, with C of 2 or more.

        Args:
            outputs: Raw outputs ``[n, ...]``.

        Raises:
            OutputError: If the outputs do not fit the task; the message says what to pass.
        """
