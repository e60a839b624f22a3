"""The base classes of posteriors and their samples."""

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
"""Maps a module and a collated batch to raw outputs [n, ...]."""


class PosteriorError(ValueError):
    """A posterior cannot sample a network. It may be raised inside the network's code, which is not at fault."""


@final
@dataclass(frozen=True)
class Fit:
    """The result of one fit of a round.

    Attributes:
        weights: The module's `state_dict` on the CPU, with non-persistent buffers.
        seed: The seed of the fit.
    """

    weights: Mapping[str, Tensor]
    seed: int


class PosteriorSamples(ABC):
    """Base class of posterior samples: K functions, each the same for every point.

    Attributes:
        num_samples: Number of posterior samples K.
    """

    num_samples: int

    @abstractmethod
    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs ``[n, ...]`` of each sample for a batch of n points, K tensors one after the other.

        Sample k must be one function of the input, for every point of every batch on every rank: BatchBALD relies on
        it. The module is in evaluation mode without gradients.

        Args:
            batch: A collated batch on the module's device, with unknown labels hidden.
        """


class Posterior(ABC):
    """Base class of posteriors: draw samples of the functions that a round's fits make likely.

    Attributes:
        num_samples: The number of samples K, if it is known in advance; a method that needs more then fails at once.
        num_fits: The number of fits in a round. The first starts as `reset` says. Each of the others starts from newly
            drawn weights, or with ``reset="warm"`` from its own end of the round before.
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

        The module is in evaluation mode, and its modes are restored afterwards.

        Args:
            fits: The results of the round's `num_fits` fits, in order.
            module: The module with the weights of the last fit, on its device.
            labelled: Batches of the labelled points with their labels, on the module's device. Each iteration is a new
                pass. The batches are the same on every rank.
            forward: Maps the module and a batch to raw outputs.
            seed: Seed of the samples. The same seed and fits give the same samples.
        """


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode without gradients inside the context, and restore the mode of each part.

    Compiled parts run eagerly: compiling them again for scoring takes longer than it saves, and posteriors could not
    control their random draws.
    """
    with in_evaluation_mode(module), torch.no_grad(), run_eagerly():
        yield


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode inside the context, and restore the mode of each part."""
    modes = [(part, part.training) for part in module.modules()]
    if any(mode for _, mode in modes):
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
