"""Subsample: let a costly acquisition function choose among some of the candidates.

Axes: n candidates, b batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch

from lightning_al.acquisition.base import Selection, at_most
from lightning_al.acquisition.wrapper import Wrapper
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number


@final
@dataclass(frozen=True)
class Subsample(Wrapper):
    """Draw some of the candidates at random, and let another acquisition function choose among them.

    The model predicts only these. Use it for pools that take too long to predict or to score: of a sample of n
    candidates, the best is about the best of N / n, so little is lost while batches are much smaller than the sample.
    Rare classes may be missing from the sample, which is drawn anew in each round.

    Args:
        acquisition: The other acquisition function: a name or an object.
        size: The number of candidates to draw. If it is below b, b are drawn.

    Raises:
        TypeError: If `acquisition` is not an acquisition function, or `size` is not a number.
        ValueError: If `size` is below 1.

    >>> p = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]], [[0.8, 0.2]]])
    >>> Subsample("entropy", size=3).select(Candidates(3, p.log()), 1, torch.Generator()).positions.tolist()
    [1]
    """

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", whole_number("Subsample", "size", self.size))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; positions are those among all candidates, and scores are the other one's.

        Raises:
            ValueError: If b is below 1.
        """
        size = max(self.size, at_most(b, len(candidates)))
        if size >= len(candidates):
            return self.inner.select(candidates, b, generator)
        places_n = torch.randperm(len(candidates), generator=generator)[:size].sort().values
        selection = self.inner.select(candidates.at(places_n), b, generator)
        return replace(selection, positions=places_n[selection.positions.to(places_n.device)])
