"""Binary classification.

Axes: n points of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.task.base import Task
from lightning_al.task.multiclass import Multiclass, in_single_precision
from lightning_al.task.outputs import OutputError


@final
@dataclass(frozen=True)
class Binary(Task):
    """Each point is of class 0 or 1: outputs are the logit of class 1 ``[n]`` or ``[n, 1]``, or two logits ``[n, 2]``.

    >>> Binary().log_probs(torch.tensor([0.0, 30.0])).exp()
    tensor([[5.0000e-01, 5.0000e-01],
            [9.3576e-14, 1.0000e+00]])
    """

    name: ClassVar[str] = "binary"

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities ``[n, 2]`` of class 0 and class 1.

        Raises:
            OutputError: If the outputs have another shape.
        """
        if outputs.dim() == 2 and outputs.shape[1] == 2:
            return Multiclass().log_probs(outputs)
        if not is_one_logit(outputs):
            raise OutputError(
                "A binary task needs one logit a point, [batch] or [batch, 1], or two, [batch, 2], but the "
                f'module gave {list(outputs.shape)}. Pass `task="multiclass"` for more classes, or `forward=`, a '
                "function of the module and the batch that returns such logits."
            )
        logits_n = in_single_precision(outputs).reshape(len(outputs))
        return torch.stack([torch.nn.functional.logsigmoid(-logits_n), torch.nn.functional.logsigmoid(logits_n)], 1)


def is_one_logit(outputs: Tensor) -> bool:
    """Return whether there is one number for each point."""
    return outputs.dim() == 1 or (outputs.dim() == 2 and outputs.shape[1] == 1)
