"""Variation ratio: query points for which the posterior samples vote for different classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_al.acquisition.base import ScoreAcquisition, score_chunks
from lightning_al.acquisition.registry import register
from lightning_al.points import Candidates


@register("variation_ratio")
@final
@dataclass(frozen=True)
class VariationRatio(ScoreAcquisition):
    """Score a candidate by the share of posterior samples that vote against the most voted class.

    Linton C. Freeman, "Elementary Applied Statistics", Wiley, 1965; for posterior samples of a network in Yarin Gal,
    Riashat Islam, Zoubin Ghahramani, "Deep Bayesian Active Learning with Image Data", ICML 2017.

    Of four samples, one votes for the second class:

    >>> p = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]])
    >>> VariationRatio().score(Candidates(1, p.log()), torch.Generator()).tolist()
    [0.25]
    """

    min_samples: ClassVar[int] = 2
    lowest_score: ClassVar[float] = 0.0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return shares ``[N]``, between 0 and 1 - 1/C.

        Raises:
            ValueError: If there are fewer than 2 posterior samples, or log-probabilities are NaN or above 0.
        """
        return score_chunks(candidates, _share_against, who="VariationRatio", min_samples=self.min_samples)


def _share_against(log_probs_N_K_C: Tensor) -> Tensor:
    votes_N_K_C = one_hot(log_probs_N_K_C.argmax(-1), log_probs_N_K_C.shape[-1])
    share_N_C = votes_N_K_C.to(log_probs_N_K_C.dtype).mean(1)
    return 1 - share_N_C.amax(-1)
