"""How weights are sampled: what a posterior has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_al.posterior.compiled import run_eagerly
from lightning_al.posterior.outputs import to_log_probs

__all__ = ["LogitsFunction", "Posterior", "PosteriorError", "evaluating", "to_log_probs"]

LogitsFunction = Callable[[Any, Any], Tensor]
"""Maps a module and a collated batch to logits [n, C]; the module may be annotated with its own class."""


class PosteriorError(ValueError):
    """A posterior cannot sample a network. Raised from within the network's own code, it is no error of that code."""


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
    """Put a module in evaluation mode without gradients, and each of its parts back to its own mode afterwards.

    What `torch.compile` made of its parts is run as it was written: to compile it once more for scoring takes longer
    than it saves, and what samples draw could not be answered for.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), run_eagerly(module):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
