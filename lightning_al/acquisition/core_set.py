"""CoreSet: query the point farthest from all labelled and picked ones, again and again.

Axes: N points, n labelled ones, D feature dimensions, b batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ANY_TASK, Acquisition, Selection, at_most
from lightning_al.acquisition.features import features_of, labelled_features_of
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_labelled, checked_table, in_float64
from lightning_al.acquisition.ties import tie_keys
from lightning_al.points import Candidates

BLOCK_ROWS = 1024
"""The number of points on each side of a block of distances to labelled points."""


def core_set(
    features_N_D: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Selection:
    """Select b points greedily, each the farthest from all labelled and picked points: the k-centre greedy.

    Each pick is argmax over i of min over labelled and picked points s of |x_i - x_s|. Then no point is farther from
    its nearest centre than twice the least distance that any b points could reach.

    Ozan Sener, Silvio Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018.

    Distances are computed in float64, so that points close to each other are told apart though another one is far away.

    Time is O(N (n + b) D), memory beyond the features O(N D). It is fast, and known as a baseline. Its picks are
    outliers: with few labels, it is worse than `max_herding` and often worse than random. On the digits (logistic
    regression on pixels, 8 seeds, nothing labelled before, ``python -m tests.benchmarks.coverage``), its accuracy is
    .37 with 10 labels and .87 with 50. That of random points is .45 and .82, that of `max_herding` .78 and .91.

    Args:
        features_N_D: Features ``[N, D]``.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled_n_D: Features ``[n, D]`` of the points labelled so far. By default none: then the first pick is the
            point nearest to the mean of the features. The authors begin with labels.
        generator: Its initial seed breaks ties. By default a new one with seed 0, so calls agree.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are the distances to the nearest labelled or picked point
        before the pick; where there is none, the largest distance of any point to the pick. Of points equally far, one
        is selected at random. Squared distances count as equal if they differ by less than rounding may change them:
        by 4e-15 times the largest squared distance of a point from the mean.

    Raises:
        TypeError: If features are not a tensor.
        ValueError: If shapes do not fit, if a number is not finite, or if b is below 1.

    The first pick is nearest to the mean, 3. The second is 4 away from it, the third 3:

    >>> selection = core_set(torch.tensor([[0.0], [3.0], [2.0], [7.0]]), 3)
    >>> selection.positions, selection.scores
    (tensor([1, 3, 0]), tensor([4., 4., 3.]))
    """
    features_N_D = checked_table(features_N_D, "features", who="core_set")
    N = len(features_N_D)
    b = at_most(b, N)
    squares = _SquaredDistances(features_N_D)
    keys_N = tie_keys(N, torch.Generator().manual_seed(0) if generator is None else generator)
    keys_N = keys_N.to(squares.to_centre_N.device)
    positions, scores = keys_N.new_empty(b), squares.to_centre_N.new_empty(b)
    nearest_N = None
    if labelled_n_D is not None and len(labelled_n_D):
        nearest_N = squares.to_nearest(checked_labelled(labelled_n_D, features_N_D, who="core_set"))
    for place in range(b):
        farness_N = -squares.to_centre_N if nearest_N is None else nearest_N
        pick = _first_of(farness_N, keys_N, squares.rounding)
        distances_N = squares.to(pick)
        positions[place] = pick
        scores[place] = distances_N.max() if nearest_N is None else nearest_N[pick]
        nearest_N = distances_N if nearest_N is None else torch.minimum(nearest_N, distances_N)
        nearest_N[positions[: place + 1]] = -math.inf
    return Selection(positions, scores.sqrt_().to(features_N_D.dtype))


def _first_of(values_N: Tensor, keys_N: Tensor, rounding: float) -> int:
    """Return the position of the highest value; of those that rounding cannot tell apart, that of the lowest key."""
    is_behind_N = values_N < values_N.max() - rounding
    return int(keys_N.masked_fill(is_behind_N, torch.iinfo(keys_N.dtype).max).argmin())


class _SquaredDistances:
    """Squared distances from N points: |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, with the mean of the points as origin.

    The terms are as large as the farthest point makes them, and the rest has to be told apart: float64 does so.
    """

    def __init__(self, features_N_D: Tensor) -> None:
        # One table beside the given one: a copy, centred in place, whose squares are added up without another.
        self._centred_N_D = in_float64(features_N_D, copy=True)
        is_empty = len(features_N_D) == 0
        self._mean_D = self._centred_N_D.new_zeros(features_N_D.shape[1]) if is_empty else self._centred_N_D.mean(0)
        self._centred_N_D -= self._mean_D
        self.to_centre_N = torch.einsum("nd,nd->n", self._centred_N_D, self._centred_N_D)
        largest = 0.0 if is_empty else float(self.to_centre_N.max())
        self.rounding = 16 * torch.finfo(torch.float64).eps * largest

    def to(self, position: int) -> Tensor:
        """Return those to one of the points ``[N]``."""
        products_N = self._centred_N_D @ self._centred_N_D[position]
        return (self.to_centre_N + self.to_centre_N[position] - 2 * products_N).clamp_min_(0.0)

    def to_nearest(self, others_n_D: Tensor) -> Tensor:
        """Return those to the nearest of other points ``[N]``."""
        others_n_D = in_float64(others_n_D) - self._mean_D
        squares_n = others_n_D.square().sum(1)
        nearest_N = torch.full_like(self.to_centre_N, math.inf)
        for first in range(0, len(nearest_N), BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            for columns_m_D, squares_m in zip(others_n_D.split(BLOCK_ROWS), squares_n.split(BLOCK_ROWS), strict=True):
                nearest_n = torch.addmm(squares_m, self._centred_N_D[rows], columns_m_D.T, alpha=-2).amin(1)
                nearest_N[rows] = torch.minimum(nearest_N[rows], nearest_n)
        return (nearest_N + self.to_centre_N).clamp_min_(0.0)


@register("core_set")
@final
@dataclass(frozen=True)
class CoreSet(Acquisition):
    """Select candidates far from labelled and picked points, in features or embeddings of length 1; see `core_set`.

    It reads no predictions, so it fits any task.

    The label at [0, 1] is the second candidate's place, so the first is farther:

    >>> from lightning_al import Points
    >>> labelled = Points(1, torch.empty(1, 1, 2), features=torch.tensor([[0.0, 1.0]]))
    >>> candidates = Candidates(2, torch.empty(2, 1, 2), features=torch.eye(2), labelled=labelled)
    >>> CoreSet().select(candidates, 1, torch.Generator()).positions.tolist()
    [0]
    """

    tasks: ClassVar[frozenset[str]] = ANY_TASK

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are distances to the nearest labelled or picked point.

        Raises:
            ValueError: If the candidates have neither features nor embeddings, or if one is NaN or infinite.
        """
        return core_set(features_of(candidates), b, labelled_n_D=labelled_features_of(candidates), generator=generator)
