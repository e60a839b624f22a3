"""Entropy sampling: query points whose predicted class is most uncertain, for whatever reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, score_chunks
from lightning_al.acquisition.registry import register
from lightning_al.information import entropy, posterior_mean
from lightning_al.points import Candidates


@register("entropy")
@final
@dataclass(frozen=True)
class Entropy(ScoreAcquisition):
    """Score a candidate by the entropy of its posterior predictive distribution, in nats.

    Claude E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal, 1948.

    >>> p = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]])
    >>> [round(score, 4) for score in Entropy().score(Candidates(2, p.log()), torch.Generator()).tolist()]
    [0.6931, 0.5623]
    """

    lowest_score: ClassVar[float] = 0.0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return entropies ``[N]`` in nats, between 0 and log C.

        Raises:
            ValueError: If the candidates' log-probabilities are NaN or above 0.
        """
        return score_chunks(candidates, lambda log_probs_n_K_C: entropy(posterior_mean(log_probs_n_K_C)), who="Entropy")
