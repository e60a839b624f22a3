"""How well picked points cover all others, and the greedy choice of points that cover them best.

Axes: N points, D feature dimensions, E = D + 2 columns of factors, b batch, n and m some of the points. Kernel values
are computed in blocks: no N x N matrix is held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Selection
from lightning_al.acquisition.tables import in_float64

BLOCK_ROWS = 1024
"""The number of points on each side of a block of kernel values: 4 MB in float32, so a block stays in cache."""

FIRST_EVALUATED = 32
"""How many candidates a pick evaluates first; while others could still win, it evaluates twice as many, and so on."""

MOST_EVALUATED = 1024
"""The most candidates to evaluate at a time."""

EDGE = 1e-5
"""A ball ends where the squared distance is this share below the squared radius: rounding never decides at its edge."""

TOLERABLE = EDGE
"""The largest error of a squared distance in units of the scale, and so of a kernel value, that rounding may make."""

TERMS = 4
"""A squared distance |x|^2 + |y|^2 - 2 x.y sums up terms of at most 4 times the largest squared length."""


class Kernel(Protocol):
    """How well a point covers another one, between 0 and 1: a function of distance divided by `scale`."""

    @property
    def scale(self) -> float:
        """The unit of distances."""

    def values_(self, negative_squares: Tensor) -> Tensor:
        """Replace negative squared distances, in units of the scale, by kernel values, in place."""

    def condition(self, largest_square: float) -> float:
        """Return by how much rounding in features changes values, whose squared length is at most the one given."""


@final
@dataclass(frozen=True)
class Gaussian:
    """The kernel exp(-d^2 / scale^2)."""

    scale: float

    def values_(self, negative_squares: Tensor) -> Tensor:
        """Return exponentials."""
        return negative_squares.exp_()

    def condition(self, largest_square: float) -> float:
        """Return the size of the terms that a squared distance is the sum of."""
        return 1 + 2 * largest_square


@final
@dataclass(frozen=True)
class Ball:
    """The kernel that is 1 where d < scale, and 0 elsewhere."""

    scale: float

    def values_(self, negative_squares: Tensor) -> Tensor:
        """Return 1 inside of the ball and 0 outside."""
        return negative_squares.gt_(EDGE - 1)

    def condition(self, largest_square: float) -> float:
        """Return 1: a count of points does not depend on the digits of their distances."""
        return 1.0


@final
class Coverage:
    """The coverage sum_n w_n m_n / N of N points, where m_n is the largest kernel value of point n to a picked point.

    Squared distances are |x|^2 + |y|^2 - 2 x.y, a product of matrices. Their rounding error is 4 eps r^2 / scale^2, if
    r is the largest distance of a point from the mean. Where it may exceed 1e-5, the work is done in float64: for rows
    of length 1 in float32, that is for a scale below about 0.2. Where float64 does not suffice either, below about
    1e-5, distances come from differences of features, at about ten times the time.

    Args:
        features_N_D: Features ``[N, D]``, float32 or float64.
        kernel: How well a point covers another one.
        weights_N: Weights w ``[N]``, at least 0; by default 1.

    Attributes:
        covered_N: The largest kernel values m ``[N]``, 0 before anything is picked.
        dtype: The dtype of the features as given, that of scores.

    Each of two points covers itself, k = 1, and the other one by exp(-1) = 0.3679:

    >>> coverage = Coverage(torch.tensor([[0.0], [1.0]]), Gaussian(1.0))
    >>> coverage.gains()
    tensor([0.6839, 0.6839])
    >>> coverage.pick(0)
    >>> coverage.covered_N, coverage.gains()
    (tensor([1.0000, 0.3679]), tensor([0.0000, 0.3161]))
    """

    def __init__(self, features_N_D: Tensor, kernel: Kernel, *, weights_N: Tensor | None = None) -> None:
        N, D = features_N_D.shape
        self._kernel = kernel
        self.dtype = features_N_D.dtype
        # Distances do not change if all points move, but near the origin their squares cancel less.
        self._centre_D = features_N_D.mean(0) if N else features_N_D.new_zeros(D)
        length = float(torch.linalg.vector_norm(features_N_D - self._centre_D, dim=1).amax()) if N else 0.0
        largest_square = (length / kernel.scale) * (length / kernel.scale)
        if TERMS * torch.finfo(features_N_D.dtype).eps * largest_square > TOLERABLE:
            features_N_D, self._centre_D = in_float64(features_N_D), in_float64(self._centre_D)
        eps = torch.finfo(features_N_D.dtype).eps
        self._is_of_differences = TERMS * eps * largest_square > TOLERABLE
        if self._is_of_differences:
            largest_square = 0.0  # nothing cancels
        self._left_N_E, self._right_N_E = self._factors(features_N_D)
        weights_N = features_N_D.new_ones(N) if weights_N is None else weights_N.to(features_N_D)
        self._weights_N = weights_N / max(1, N)
        self.covered_N = torch.zeros_like(self._weights_N)
        self._error = 2 * eps * kernel.condition(largest_square)

    def _factors(self, features_n_D: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors whose products are 2 x.y - |x|^2 - |y|^2, in units of the kernel's scale.

        Where distances come from differences, both factors are the features.
        """
        features_n_D = features_n_D.to(self._centre_D)
        if self._is_of_differences:
            return features_n_D, features_n_D
        scaled_n_D = (features_n_D - self._centre_D) / self._kernel.scale
        squares_n_1 = scaled_n_D.square().sum(1, keepdim=True).neg_()
        ones_n_1 = torch.ones_like(squares_n_1)
        scaled_n_D *= 2**0.5
        return torch.cat([scaled_n_D, squares_n_1, ones_n_1], 1), torch.cat([scaled_n_D, ones_n_1, squares_n_1], 1)

    def _negative_squares(self, left_n_E: Tensor, right_m_E: Tensor) -> Tensor:
        """Return negative squared distances ``[n, m]``, in units of the kernel's scale."""
        if self._is_of_differences:
            distances_n_m = torch.cdist(left_n_E, right_m_E, compute_mode="donot_use_mm_for_euclid_dist")
            return distances_n_m.div_(self._kernel.scale).square_().neg_()
        return left_n_E @ right_m_E.T

    def add(self, features_n_D: Tensor) -> None:
        """Count points that are none of the N as picked."""
        self._cover_by(self._factors(features_n_D)[1])

    def pick(self, position: int) -> None:
        """Count one of the N points as picked."""
        self._cover_by(self._right_N_E[position, None])

    def _cover_by(self, right_n_E: Tensor) -> None:
        for rows in self._blocks():
            for right_m_E in right_n_E.split(BLOCK_ROWS):
                nearest_n = self._negative_squares(self._left_N_E[rows], right_m_E).amax(1).clamp_max_(0.0)
                self.covered_N[rows] = torch.maximum(self.covered_N[rows], self._kernel.values_(nearest_n))

    def rounding(self, gain: float) -> float:
        """Return how much rounding can change such a gain; gains that differ by less cannot be told apart.

        The error of a kernel value is a share of it, and a value of which nothing is gained is at most m.
        """
        return self._error * (float(self._weights_N @ self.covered_N) + gain)

    def gains(self) -> Tensor:
        """Return for each point i ``[N]`` what the coverage gains by its pick: sum_n w_n max(k(n, i) - m_n, 0) / N.

        The kernel is symmetric, so each block of it serves the points on both of its sides.
        """
        is_bare = not bool(self.covered_N.any())
        gains_N = torch.zeros_like(self._weights_N)
        blocks = list(self._blocks())
        for place, rows in enumerate(blocks):
            for columns in blocks[place:]:
                squares_n_m = self._negative_squares(self._left_N_E[rows], self._right_N_E[columns])
                kernel_n_m = self._kernel.values_(squares_n_m)
                if columns != rows:
                    gained_n_m = kernel_n_m if is_bare else (kernel_n_m - self.covered_N[columns]).relu_()
                    gains_N[rows] += gained_n_m @ self._weights_N[columns]
                gained_n_m = kernel_n_m if is_bare else kernel_n_m.sub_(self.covered_N[rows, None]).relu_()
                gains_N[columns] += self._weights_N[rows] @ gained_n_m
        return gains_N

    def gains_of(self, positions_n: Tensor) -> Tensor:
        """Return the gains of some points ``[n]``."""
        right_n_E = self._right_N_E[positions_n]
        gains_n = right_n_E.new_zeros(len(right_n_E))
        for rows in self._blocks():
            kernel_m_n = self._kernel.values_(self._negative_squares(self._left_N_E[rows], right_n_E))
            gains_n += self._weights_N[rows] @ kernel_m_n.sub_(self.covered_N[rows, None]).relu_()
        return gains_n

    def _blocks(self) -> Iterator[slice]:
        N = len(self._weights_N)
        return (slice(first, min(first + BLOCK_ROWS, N)) for first in range(0, N, BLOCK_ROWS))


def cover_greedily(coverage: Coverage, b: int, keys_N: Tensor) -> Selection:
    """Pick the point with the highest gain b times; of equal gains, the one with the lowest key.

    Coverage is submodular: gains only fall, so those before a pick are upper bounds of those after it. Only points
    whose bound is high enough are evaluated again. The picks are those of evaluating all.

    >>> coverage = Coverage(torch.tensor([[0.0], [0.5], [3.0]]), Ball(1.0))
    >>> selection = cover_greedily(coverage, 3, keys_N=torch.tensor([2, 1, 0]))
    >>> selection.positions, selection.scores
    (tensor([1, 2, 0]), tensor([0.6667, 0.3333, 0.0000]))
    """
    bounds_N = coverage.gains()
    keys_N = keys_N.to(bounds_N.device)
    is_known_N = torch.ones_like(keys_N, dtype=torch.bool)
    positions, scores = keys_N.new_empty(b), bounds_N.new_empty(b)
    for place in range(b):
        _evaluate_what_may_win(bounds_N, is_known_N, coverage)
        best = float(bounds_N.max())
        is_behind_N = bounds_N < best - coverage.rounding(best)
        pick = int(keys_N.masked_fill(is_behind_N, torch.iinfo(keys_N.dtype).max).argmin())
        positions[place], scores[place] = pick, bounds_N[pick]
        coverage.pick(pick)
        bounds_N[pick] = -math.inf
        is_known_N.zero_()
    return Selection(positions, scores.to(coverage.dtype))


def _evaluate_what_may_win(bounds_N: Tensor, is_known_N: Tensor, coverage: Coverage) -> None:
    """Replace bounds by gains, in place and from the highest on, until no other point can be among the best.

    Bounds that rounding cannot tell from 0 are left as they are.
    """
    size = FIRST_EVALUATED
    while True:
        best = max(float(bounds_N[is_known_N].max()), 0.0) if bool(is_known_N.any()) else 0.0
        rounding = coverage.rounding(best)
        may_win_N = ~is_known_N & (bounds_N >= max(best - rounding, rounding))
        count = int(may_win_N.sum())
        if count == 0:
            return
        if size > FIRST_EVALUATED and count > len(bounds_N) / 2:
            bounds_N.copy_(coverage.gains().masked_fill_(bounds_N == -math.inf, -math.inf))
            is_known_N.fill_(True)
            return
        positions_n = bounds_N.masked_fill(~may_win_N, -math.inf).topk(min(size, count)).indices
        bounds_N[positions_n] = coverage.gains_of(positions_n)
        is_known_N[positions_n] = True
        size = min(2 * size, MOST_EVALUATED)
