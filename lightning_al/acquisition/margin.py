"""Margin sampling: query points whose two likeliest classes have close probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, score_chunks
from lightning_al.acquisition.registry import register
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates


@register("margin")
@final
@dataclass(frozen=True)
class Margin(ScoreAcquisition):
    """Score a candidate by the negative margin of its two likeliest classes: -(p1 - p2) of the posterior mean.

    Tobias Scheffer, Christian Decomain, Stefan Wrobel, "Active Hidden Markov Models for Information Extraction",
    IDA 2001.

    >>> p = torch.tensor([[[0.5, 0.25, 0.25]], [[0.5, 0.5, 0.0]]])
    >>> Margin().score(Candidates(2, p.log()), torch.Generator()).tolist()
    [-0.25, 0.0]
    """

    lowest_score: ClassVar[float] = -1.0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return negative margins ``[N]``, between -1 and 0.

        Raises:
            ValueError: If the candidates' log-probabilities are NaN or above 0.
        """
        return score_chunks(candidates, _negative_margin, who="Margin")


def _negative_margin(log_probs_N_K_C: Tensor) -> Tensor:
    first_N, second_N = posterior_mean(log_probs_N_K_C).exp().topk(2).values.unbind(-1)
    return second_N - first_N
