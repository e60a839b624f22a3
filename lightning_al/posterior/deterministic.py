"""The fitted weights themselves as the only sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from lightning_al.posterior.base import Fit, Forward, Posterior, PosteriorSamples, evaluating
from lightning_al.posterior.registry import register_posterior
from lightning_al.task.outputs import find_output


@register_posterior("deterministic")
@final
@dataclass(frozen=True)
class Deterministic(Posterior):
    """Predict with the fitted weights only: K = 1, which is enough for entropy, margin and least confidence.

    >>> import torch
    >>> samples = Deterministic().draw([], nn.Linear(2, 3), [], forward=lambda net, x: net(x), seed=0)
    >>> [outputs] = samples.outputs(torch.zeros(4, 2))
    >>> outputs.shape
    torch.Size([4, 3])
    """

    num_samples: int = field(default=1, init=False, repr=False)

    def draw(
        self,
        fits: Sequence[Fit],
        module: nn.Module,
        labelled: Iterable[Any],
        *,
        forward: Forward,
        seed: int,
    ) -> PosteriorSamples:
        """Return the module itself as the only sample; only `module` and `forward` are used."""
        return _Itself(module, forward)


class _Itself(PosteriorSamples):
    num_samples = 1

    def __init__(self, module: nn.Module, forward: Forward) -> None:
        self.module = module
        self.forward = forward

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the module's raw outputs."""
        with evaluating(self.module):
            outputs = find_output(self.forward(self.module, batch))
        yield outputs
