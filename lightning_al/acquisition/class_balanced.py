"""ClassBalanced: deal a share of each batch evenly to the predicted classes.

Axes: N candidates, C classes, b batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Selection, at_most, checked_chunks
from lightning_al.acquisition.parts import joined
from lightning_al.acquisition.wrapper import Wrapper
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import plain, shown


@final
@dataclass(frozen=True)
class ClassBalanced(Wrapper):
    """Deal a share of each batch evenly to the predicted classes, and let another acquisition function choose in each.

    The predicted class is the likeliest one under the posterior mean. Classes are dealt one candidate each in turn, in
    random order, until the share is used up; a class that has no candidates left is passed over. The other acquisition
    function selects that many among the candidates of each class, and then the rest of the batch among all that are
    left. Use it for unbalanced pools, whose rare classes are queried too seldom otherwise. It can only find classes
    that the model already predicts for some candidates.

    The idea is that of the class-stratified share of ClaSP PE, TMLR 2026, which is .66.

    A pool that is streamed is passed over three times: for the predicted classes, and for both selections. A method of
    whole batches such as `BatchBALD` selects for each class by itself, so it does not know what others selected.

    Args:
        acquisition: The other acquisition function: a name or an object. It needs a task with classes.
        share: The share of the batch that is dealt, from 0 to 1, rounded to whole points.

    Raises:
        TypeError: If `acquisition` is not an acquisition function.
        ValueError: If `share` is not a number from 0 to 1.

    Three candidates of class 0 are more uncertain than the one of class 1, which is selected all the same:

    >>> p = torch.tensor([[[0.6, 0.4]], [[0.7, 0.3]], [[0.8, 0.2]], [[0.1, 0.9]]])
    >>> selection = ClassBalanced("margin", share=1.0).select(Candidates(4, p.log()), 2, torch.Generator())
    >>> sorted(selection.positions.tolist())
    [0, 3]
    """

    share: float = 0.66

    def __post_init__(self) -> None:
        super().__post_init__()
        share = plain(self.share)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(
                f"`ClassBalanced` deals a `share` of each batch to the predicted classes, but got {shown(share)}. "
                "Pass a number from 0 to 1."
            )
        object.__setattr__(self, "share", float(share))
        object.__setattr__(self, "tasks", self.inner.tasks & {"multiclass", "binary"})

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates: first those dealt to the classes, class by class. Scores are the other one's.

        Raises:
            ValueError: If b is below 1, or log-probabilities are NaN or above 0.
        """
        b = at_most(b, len(candidates))
        if b == 0:
            return self.inner.select(candidates, 1, generator)
        classes_N = predicted_classes(candidates)
        num_dealt = round(self.share * b)
        parts = []
        for number, quota in quotas(classes_N, num_dealt, generator).items():
            places_n = (classes_N == number).nonzero().flatten()
            parts.append((places_n, self.inner.select(candidates.at(places_n), quota, generator)))
        if num_dealt < b:
            is_left_N = torch.ones(len(candidates), dtype=torch.bool)
            for places_n, selection in parts:
                is_left_N[places_n[selection.positions.cpu()]] = False
            places_n = is_left_N.nonzero().flatten()
            parts.append((places_n, self.inner.select(candidates.at(places_n), b - num_dealt, generator)))
        return joined(parts)


def predicted_classes(candidates: Candidates) -> Tensor:
    """Return the class ``[N]`` that is likeliest under the posterior mean, on the CPU."""
    chunks = checked_chunks(candidates, who="ClassBalanced")
    return torch.cat([posterior_mean(log_probs_n_K_C).argmax(1).cpu() for log_probs_n_K_C in chunks])


def quotas(classes_N: Tensor, num_dealt: int, generator: torch.Generator) -> dict[int, int]:
    """Return how many candidates each class is dealt, at most as many as it has, by class number.

    >>> quotas(torch.tensor([0, 0, 0, 2]), 3, torch.Generator())
    {0: 2, 2: 1}
    """
    numbers, sizes = (found.tolist() for found in classes_N.unique(return_counts=True))
    order = torch.randperm(len(numbers), generator=generator).tolist()
    dealt = [0] * len(numbers)
    while sum(dealt) < num_dealt:
        for place in order:
            dealt[place] += sum(dealt) < num_dealt and dealt[place] < sizes[place]
    return {number: quota for number, quota in zip(numbers, dealt, strict=True) if quota > 0}
