"""BALD: query points whose label would tell most about the weights, since the posterior samples disagree.

Axes: N points, K posterior samples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, checked_log_probs, score_chunks
from lightning_al.acquisition.registry import register
from lightning_al.information import mutual_information
from lightning_al.points import Candidates


def bald(log_probs_N_K_C: Tensor) -> Tensor:
    """Return how much each point's label would tell about the weights.

    Neil Houlsby, Ferenc Huszár, Zoubin Ghahramani, Máté Lengyel, "Bayesian Active Learning for Classification and
    Preference Learning", arXiv 1112.5745, 2011; with dropout samples of a network in Yarin Gal, Riashat Islam, Zoubin
    Ghahramani, "Deep Bayesian Active Learning with Image Data", ICML 2017.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero. Sample k must be
            the same weights for every point.

    Returns:
        Mutual information ``[N]`` of label and weights in nats, between 0 and the smaller of log C and log K.

    Raises:
        ValueError: If there are fewer than 2 posterior samples, or log-probabilities are NaN or above 0.

    Two samples that disagree give log 2, two that agree give 0:

    >>> p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> bald(p.log()).tolist()
    [0.6931471824645996, 0.0]
    """
    return mutual_information(checked_log_probs(log_probs_N_K_C, who="bald", min_samples=2))


@register("bald")
@final
@dataclass(frozen=True)
class BALD(ScoreAcquisition):
    """Score a candidate by what its label alone would tell about the weights, in nats.

    The b highest scores may count the same information b times; `BatchBALD` counts it once.

    >>> p = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> BALD().select(Candidates(2, p.log()), 1, torch.Generator()).positions.tolist()
    [1]
    """

    min_samples: ClassVar[int] = 2
    lowest_score: ClassVar[float] = 0.0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return mutual information ``[N]`` in nats; `bald` says more."""
        return score_chunks(candidates, mutual_information, who="bald", min_samples=self.min_samples)
