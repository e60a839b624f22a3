"""The fitted weights themselves as the only sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from lightning_al.posterior.base import LogitsFunction, Posterior, evaluating
from lightning_al.posterior.outputs import to_log_probs


@final
@dataclass(frozen=True)
class Deterministic(Posterior):
    """Predict with the fitted weights alone: K = 1, enough for entropy, margin and least confidence.

    >>> import torch
    >>> posterior = Deterministic()
    >>> batch = torch.zeros(4, 2)
    >>> [log_probs] = posterior.predict(nn.Linear(2, 3), [batch], logits=lambda net, x: net(x), seed=0)
    >>> log_probs.shape
    torch.Size([4, 1, 3])
    """

    @property
    def num_samples(self) -> int:
        """Always 1."""
        return 1

    def predict(
        self, module: nn.Module, batches: Iterable[Any], *, logits: LogitsFunction, seed: int
    ) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, 1, C]`` for each batch; the seed is not needed."""
        for batch in batches:
            with evaluating(module):
                log_probs_n_C = to_log_probs(logits(module, batch))
            yield log_probs_n_C.unsqueeze(1)
