"""How weights are sampled: what a posterior has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_al.posterior.compiled import run_eagerly

__all__ = ["Fit", "Forward", "Posterior", "PosteriorError", "PosteriorSamples", "evaluating", "in_evaluation_mode"]

Forward = Callable[[Any, Any], Tensor]
"""Maps a module and a collated batch to raw outputs [n, ...]; the module may be annotated with its own class."""


class PosteriorError(ValueError):
    """A posterior cannot sample a network. Raised from within the network's own code, it is no error of that code."""


@final
@dataclass(frozen=True)
class Fit:
    """What one fit of a round ended with.

    Attributes:
        weights: The module's `state_dict` on the CPU, and the buffers that it leaves out.
        seed: The seed that the fit ran with.
    """

    weights: Mapping[str, Tensor]
    seed: int


class PosteriorSamples(ABC):
    """K functions drawn from a posterior, which stay the same for every point.

    Attributes:
        num_samples: Number of posterior samples K.
    """

    num_samples: int

    @abstractmethod
    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs ``[n, ...]`` of each sample for a batch of n points, K tensors one after the other.

        Sample k is one function of the input, for every point of every batch on every rank: BatchBALD relies on it. The
        module is in evaluation mode without gradients meanwhile.

        Args:
            batch: A collated batch on the module's device, with labels hidden where they are not known.
        """


class Posterior(ABC):
    """Draw samples of the functions that a round's fits make likely.

    Attributes:
        num_samples: How many samples K it draws, where that is known beforehand; a method that needs more then fails
            at once.
        num_fits: How many fits a round takes. The first starts from what the run says a round starts from, each of the
            others from newly drawn weights, or with ``reset="warm"`` from its own end of the round before.
    """

    num_samples: int | None = None
    num_fits: int = 1

    @abstractmethod
    def draw(
        self,
        fits: Sequence[Fit],
        module: nn.Module,
        labelled: Iterable[Any],
        *,
        forward: Forward,
        seed: int,
    ) -> PosteriorSamples:
        """Draw the samples of a round, once, after its last fit.

        The module is in evaluation mode meanwhile, and has its modes back afterwards.

        Args:
            fits: What the round's fits ended with, in order, `num_fits` of them.
            module: The module with the weights of the last fit, on its device.
            labelled: Batches of the labelled points with their labels, on the module's device; each iteration is a new
                pass over them. The same on every rank.
            forward: Maps the module and a batch to raw outputs.
            seed: Seed of the samples. The same seed and fits give the same samples.
        """


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode without gradients, and each of its parts back to its own mode afterwards.

    What `torch.compile` made of its parts is run as it was written: to compile it once more for scoring takes longer
    than it saves, and what samples draw could not be answered for.
    """
    with in_evaluation_mode(module), torch.no_grad(), run_eagerly():
        yield


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and each of its parts back to its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    if any(mode for _, mode in modes):
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
