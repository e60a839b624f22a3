"""Dropout as a sample of the weights, with masks that are the same for the whole pool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_al.posterior.base import Fit, Forward, Posterior, PosteriorSamples, evaluating
from lightning_al.posterior.mc_dropout.network import SampledNetwork, device_type
from lightning_al.posterior.registry import register_posterior
from lightning_al.values.whole_numbers import MOST_SAMPLES, whole_number


@register_posterior("mc_dropout")
@final
@dataclass(frozen=True)
class MCDropout(Posterior):
    """Sample weights by dropout: sample k drops the same units for every point of the pool.

    The network needs no change. Each call of a dropout function, by `nn.Dropout` and its relatives or directly,
    multiplies by a mask that is drawn once for this call and this sample. Other random draws of torch (in attention,
    between recurrent layers, to skip whole layers, as Gaussian noise) are also made once for each sample. Parts that
    add noise in training mode only are put in that mode. Everything else, batch norm included, stays in evaluation
    mode. Everything before the first noise is computed once for all samples. Linear and convolutional layers skip the
    channels that dropout drops.

    Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; masks kept for a whole pool as in Kirsch,
    van Amersfoort and Gal, "BatchBALD", NeurIPS 2019.

    Args:
        num_samples: Number of posterior samples K.
        autocast: Whether to predict in bfloat16 wherever torch's autocast does, on CPU and GPU. Probabilities are off
            by about 1e-3. Samples compared between two batches may then differ by up to 0.05.

    Raises:
        TypeError: If `num_samples` is not a number.
        ValueError: If `num_samples` is not whole, or below 1.

    >>> net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    >>> samples = MCDropout(num_samples=5).draw([], net, [], forward=lambda net, x: net(x), seed=0)
    >>> pool = torch.ones(6, 8)
    >>> whole = torch.stack(list(samples.outputs(pool)))
    >>> in_two = torch.cat([torch.stack(list(samples.outputs(batch))) for batch in pool.split(4)], 1)
    >>> whole.shape, torch.allclose(whole, in_two)
    (torch.Size([5, 6, 3]), True)
    """

    num_samples: int = 20
    autocast: bool = False

    def __post_init__(self) -> None:
        num_samples = whole_number("MCDropout", "num_samples", self.num_samples, most=MOST_SAMPLES)
        object.__setattr__(self, "num_samples", num_samples)

    def draw(
        self,
        fits: Sequence[Fit],
        module: nn.Module,
        labelled: Iterable[Any],
        *,
        forward: Forward,
        seed: int,
    ) -> PosteriorSamples:
        """Return K samples of dropout in `module`, whose noise depends on the seed alone.

        The first batch to be predicted raises a ValueError if the network has no noise, or noise that cannot be the
        same for all points.
        """
        return _Samples(module, forward, self.num_samples, seed, self.autocast)


class _Samples(PosteriorSamples):
    """K dropout samples of one network, which is tried with the first batch."""

    def __init__(self, module: nn.Module, forward: Forward, num_samples: int, seed: int, autocast: bool) -> None:
        self.module = module
        self.forward = forward
        self.num_samples = num_samples
        self.seed = seed
        self.autocast = autocast
        self._network: SampledNetwork | None = None

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs of each sample."""
        if self._network is None:
            with self._computing():
                self._network = SampledNetwork(self.module, self.forward, batch, self.num_samples, self.seed)
        outputs = self._network.outputs(batch)
        while True:
            # While the caller uses the outputs, modes and gradients are restored.
            with self._computing():
                output = next(outputs, None)
            if output is None:
                return
            yield output

    @contextmanager
    def _computing(self) -> Iterator[None]:
        lower: AbstractContextManager[Any] = nullcontext()
        if self.autocast:
            lower = torch.autocast(device_type(self.module), torch.bfloat16)
        with evaluating(self.module), lower:
            yield
