"""Random selection: the baseline of every other method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lightning_al.acquisition.base import ANY_TASK, Acquisition, Selection, at_most
from lightning_al.acquisition.registry import register
from lightning_al.points import Candidates


@register("random")
@final
@dataclass(frozen=True)
class Random(Acquisition):
    """Select candidates uniformly at random, without running the model. All scores are zero.

    >>> selection = Random().select(Candidates(3, torch.empty(3, 1, 2)), 3, torch.Generator().manual_seed(0))
    >>> sorted(selection.positions.tolist()), selection.scores.tolist()
    ([0, 1, 2], [0.0, 0.0, 0.0])
    """

    tasks: ClassVar[frozenset[str]] = ANY_TASK

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates in random order.

        Raises:
            ValueError: If b is below 1.
        """
        b = at_most(b, len(candidates))
        positions = torch.randperm(len(candidates), generator=generator)[:b]
        return Selection(positions, torch.zeros(b))
