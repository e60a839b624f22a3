"""Infer the task if the user did not name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, final

from torch import Tensor

from lightning_al.task.base import Task
from lightning_al.task.binary import Binary, is_one_logit
from lightning_al.task.multiclass import Multiclass


@final
class Guessed(Task):
    """Multiclass, or binary if the module gives one logit a point and all labels are 0 or 1.

    Args:
        are_of_two_classes: Returns whether all training labels are 0 or 1, and both occur.
        are_probabilities: Returns whether the outputs may come from a sigmoid. Called if all are from 0 to 1.
        tell: Called once with a message if the task is binary.

    >>> import torch
    >>> task = Guessed(lambda: True, lambda: False, tell=lambda said: print(said.partition(",")[0]))
    >>> task.log_probs(torch.tensor([[2.0], [-2.0]])).argmax(1)
    The task is taken for "binary"
    tensor([1, 0])
    """

    name: ClassVar[str] = "multiclass or binary"

    def __init__(
        self,
        are_of_two_classes: Callable[[], bool],
        are_probabilities: Callable[[], bool],
        tell: Callable[[str], object],
    ) -> None:
        self.are_of_two_classes = are_of_two_classes
        self.are_probabilities = are_probabilities
        self.tell = tell
        self._is_binary: bool | None = None

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities ``[n, C]`` of the inferred task.

        Raises:
            OutputError: If the outputs fit neither task.
        """
        if is_one_logit(outputs) and self._takes_for_binary(outputs):
            return Binary().log_probs(outputs)
        return Multiclass().log_probs(outputs)

    def _takes_for_binary(self, outputs: Tensor) -> bool:
        if self._is_binary is None:
            are_from_0_to_1 = bool(((outputs >= 0) & (outputs <= 1)).all())
            self._is_binary = (
                outputs.is_floating_point()
                and self.are_of_two_classes()
                and not (are_from_0_to_1 and self.are_probabilities())
            )
            if self._is_binary:
                self.tell(
                    'The task is taken for "binary", since the module gives one output a point and all labels are 0 '
                    "or 1. Pass `task=` to confirm or change it."
                )
        return self._is_binary
