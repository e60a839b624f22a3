"""How weights are sampled: what a posterior has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

LogitsFunction = Callable[[Any, Any], Tensor]
"""Maps a module and a collated batch to logits [n, C]; the module may be annotated with its own class."""


class Posterior(ABC):
    """Draw K weight samples of a fitted module, and predict with each of them.

    Attributes:
        fits_per_round: How many fits a round needs; an ensemble asks for more than one.
    """

    fits_per_round: ClassVar[int] = 1

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Number of posterior samples K."""

    @abstractmethod
    def predict(
        self, module: nn.Module, batches: Iterable[Any], *, logits: LogitsFunction, seed: int
    ) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, K, C]``, one tensor for each batch of n points.

        Sample k is the same function of the input for every point of every batch, which BatchBALD relies on. It
        depends on the seed and the weights alone. Modes and gradients of the module are left as they were.
        """


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode without gradients, and each of its parts back to its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def to_log_probs(outputs: Tensor) -> Tensor:
    """Turn a classifier's outputs into log-probabilities.

    Log-probabilities pass unchanged, since their log-softmax is they themselves.

    Args:
        outputs: Logits or log-probabilities ``[n, C]``, with at least two classes.

    Raises:
        ValueError: If the shape is another, or if the outputs are probabilities.

    >>> to_log_probs(torch.tensor([[0.0, 0.0]])).exp().tolist()
    [[0.5, 0.5]]
    """
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[1] < 2:
        got = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"The pool is scored by logits of shape [batch, classes] with two classes or more, but the module gave "
            f"{got}. Pass `logits=`, a function of the module and the batch that returns such logits; for one logit z "
            "of a binary model, they are `torch.stack([torch.zeros_like(z), z], dim=1)`."
        )
    if not outputs.is_floating_point():
        raise ValueError(
            f"The pool is scored by floating-point logits, but the module gave {outputs.dtype}. Return the values "
            "before they are rounded or made classes."
        )
    # Logits of one point may sum to nearly 1 by chance.
    rounding = max(1e-3 if len(outputs) > 1 else 1e-5, torch.finfo(outputs.dtype).eps)
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    if len(outputs) and bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() <= rounding).all()):
        raise ValueError(
            "The module gave probabilities: numbers from 0 to 1 that sum to 1. The pool is scored by logits or "
            "log-probabilities. Return the values before the softmax, or pass "
            "`logits=lambda module, batch: module(batch[0]).log()`."
        )
    return torch.log_softmax(outputs, dim=1)
