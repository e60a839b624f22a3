"""Least confidence: query points whose likeliest class has the lowest probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, score_chunks
from lightning_al.acquisition.registry import register
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates


@register("least_confidence")
@final
@dataclass(frozen=True)
class LeastConfidence(ScoreAcquisition):
    """Score a candidate by the probability that its likeliest class is wrong: 1 - max p of the posterior mean.

    David D. Lewis, William A. Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994.

    >>> p = torch.tensor([[[0.5, 0.25, 0.25]], [[0.75, 0.25, 0.0]]])
    >>> LeastConfidence().score(Candidates(2, p.log()), torch.Generator()).tolist()
    [0.5, 0.25]
    """

    lowest_score: ClassVar[float] = 0.0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return probabilities of error ``[N]``, between 0 and 1 - 1/C.

        Raises:
            ValueError: If the candidates' log-probabilities are NaN or above 0.
        """
        return score_chunks(candidates, _probability_of_error, who="LeastConfidence")


def _probability_of_error(log_probs_N_K_C: Tensor) -> Tensor:
    return 1 - posterior_mean(log_probs_N_K_C).exp().amax(-1)
