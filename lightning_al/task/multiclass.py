"""Multiclass classification.

Axes: n points of a batch, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.task.base import Task
from lightning_al.task.outputs import OutputError

CLOSE_TO_1 = 1e-3
"""How far from 1 numbers may sum to be taken for probabilities."""

CLOSE_FOR_ONE_POINT = 1e-5
"""The same for a single point, whose logits may sum to nearly 1 by chance."""


@final
@dataclass(frozen=True)
class Multiclass(Task):
    """Each point is of one class: outputs are logits or log-probabilities ``[n, C]``, C of 2 or more.

    Log-probabilities pass unchanged: the log-softmax does not change them.

    >>> Multiclass().log_probs(torch.tensor([[0.0, 0.0]])).exp()
    tensor([[0.5000, 0.5000]])
    """

    name: ClassVar[str] = "multiclass"

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Return log-probabilities ``[n, C]``.

        Raises:
            OutputError: If the outputs have another shape or are probabilities.
        """
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise OutputError(_why_not(outputs))
        given, outputs = outputs, in_single_precision(outputs)
        rounding = max(CLOSE_TO_1 if len(outputs) > 1 else CLOSE_FOR_ONE_POINT, torch.finfo(given.dtype).eps)
        if len(outputs) and bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() <= rounding).all()):
            raise OutputError(
                "The module gave probabilities: numbers from 0 to 1 that sum to 1. The pool is scored by logits or "
                "log-probabilities. Return the values before the softmax, or pass "
                "`forward=lambda module, batch: module(batch[0]).log()`."
            )
        return torch.log_softmax(outputs, dim=1)


def in_single_precision(outputs: Tensor) -> Tensor:
    """Return outputs in single precision or better.

    Raises:
        OutputError: If they are not floating-point numbers.
    """
    if not outputs.is_floating_point():
        raise OutputError(
            f"The pool is scored by floating-point logits, but the module gave {outputs.dtype}. Return the values "
            "before they are rounded or converted to classes."
        )
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def _why_not(outputs: Tensor) -> str:
    """Return an error message that says what to pass, depending on the shape of the outputs."""
    seen = (
        "The pool is scored by logits of shape [batch, classes] with two classes or more, but the module gave "
        f"{list(outputs.shape)}"
    )
    if outputs.dim() > 2:
        return (
            f"{seen}. A prediction for each pixel or token, as in segmentation or tagging, is not supported by "
            'methods that read class probabilities. Use `acquisition="random"`, or pass `forward=`, a function of the '
            "module and the batch that returns one row of logits for each point."
        )
    values = outputs.detach().float()
    may_be_probabilities = bool(((values >= 0) & (values <= 1)).all())
    sigmoid = (
        ", with `forward=lambda module, batch: torch.logit(module(batch[0]))` if it ends in a sigmoid"
        if may_be_probabilities
        else ""
    )
    return (
        f'{seen}. If this is the logit of a binary model, pass `task="binary"`{sigmoid}. For '
        'regression, use `acquisition="random"`, since other methods read class probabilities.'
    )
