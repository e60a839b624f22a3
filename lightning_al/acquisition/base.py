"""What an acquisition function is: something that selects points from the candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_al.candidates import Candidates


@dataclass(frozen=True)
class Selection:
    """Which candidates to ask for.

    Attributes:
        positions: Positions among the candidates ``[b]``, int64, in the order of choice.
        scores: Score of each of them ``[b]``. What it means is the acquisition function's to say.
    """

    positions: Tensor
    scores: Tensor


class Acquisition(ABC):
    """Select the unlabelled points whose labels are worth most.

    Attributes:
        min_samples: Fewest posterior samples K that the method makes sense with.
    """

    min_samples: ClassVar[int] = 1

    @abstractmethod
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates, or all of them where there are fewer.

        Args:
            candidates: The points to choose from.
            b: How many to choose, at least 1.
            generator: A CPU generator, the only source of randomness. The same state gives the same selection.
        """


class ScoreAcquisition(Acquisition):
    """Score each candidate by itself, and select the b highest; of equal scores the lower position comes first."""

    @abstractmethod
    def score(self, candidates: Candidates) -> Tensor:
        """Return scores ``[N]``, higher where a label is worth more."""

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select the b candidates with the highest scores.

        Raises:
            ValueError: If a score is not a number.
        """
        b = at_most(b, len(candidates))
        scores_N = self.score(candidates)
        if scores_N.isnan().any():
            positions = scores_N.isnan().nonzero().flatten().tolist()
            raise ValueError(
                f"`{type(self).__name__}` scored {len(positions)} candidates as NaN, the first at position "
                f"{positions[0]}. Check the model's outputs there."
            )
        scores, positions = torch.sort(scores_N, descending=True, stable=True)
        return Selection(positions[:b], scores[:b])


def at_most(b: int, size: int) -> int:
    """Return how many of `size` candidates a query for b can have.

    Raises:
        ValueError: If b is below 1.
    """
    if b < 1:
        raise ValueError(f"A query must ask for at least 1 point, but got b={b}.")
    return min(b, size)
