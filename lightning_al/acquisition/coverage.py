"""How well picked points cover all others under a Gaussian kernel.

Axes: N points, D feature dimensions, n and m some of the points. Kernel values are computed in blocks: no N x N matrix
is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

BLOCK_ROWS = 1024
"""The number of points on each side of a block of kernel values: 4 MB in float32, so a block stays in cache."""


@final
class Coverage:
    """The coverage sum_n w_n m_n / N of N points, where m_n is the largest kernel value of point n to a picked point.

    The kernel is k(x, y) = exp(-|x - y|^2 / h^2).

    Args:
        features_N_D: Features ``[N, D]``, float32 or float64.
        weights_N: Weights w ``[N]``, at least 0.
        bandwidth: The bandwidth h, a distance.

    Attributes:
        covered_N: The largest kernel values m ``[N]``, 0 before anything is picked.

    Each of two points covers itself, k = 1, and the other one by exp(-1) = 0.3679:

    >>> coverage = Coverage(torch.tensor([[0.0], [1.0]]), torch.ones(2), bandwidth=1.0)
    >>> coverage.gains()
    tensor([0.6839, 0.6839])
    >>> coverage.add(torch.tensor([[0.0]]))
    >>> coverage.covered_N, coverage.gains()
    (tensor([1.0000, 0.3679]), tensor([0.0000, 0.3161]))
    """

    def __init__(self, features_N_D: Tensor, weights_N: Tensor, *, bandwidth: float) -> None:
        # Distances do not change if all points move, but near the origin their squares cancel less.
        self._centre_D = features_N_D.mean(0) if len(features_N_D) else features_N_D.new_zeros(features_N_D.shape[1])
        self._bandwidth = bandwidth
        self._left_N_E, self._right_N_E = self._factors(features_N_D)
        self._weights_N = weights_N.to(features_N_D) / max(1, len(features_N_D))
        self.covered_N = torch.zeros_like(self._weights_N)
        largest = -float(self._left_N_E[:, -2].amin()) if len(features_N_D) else 0.0
        self._error = 2 * torch.finfo(features_N_D.dtype).eps * (1 + 2 * largest)

    def _factors(self, features_n_D: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors whose products are the logarithms of kernel values, 2 x.y - |x|^2 - |y|^2."""
        scaled_n_D = (features_n_D - self._centre_D) / self._bandwidth
        squares_n_1 = scaled_n_D.square().sum(1, keepdim=True).neg_()
        ones_n_1 = torch.ones_like(squares_n_1)
        scaled_n_D *= 2**0.5
        return torch.cat([scaled_n_D, squares_n_1, ones_n_1], 1), torch.cat([scaled_n_D, ones_n_1, squares_n_1], 1)

    def add(self, features_n_D: Tensor) -> None:
        """Count points as picked: each point of the N is covered by the nearest one."""
        _, right_n_E = self._factors(features_n_D)
        for rows in self._blocks():
            for right_m_E in right_n_E.split(BLOCK_ROWS):
                nearest_n = (self._left_N_E[rows] @ right_m_E.T).amax(1).clamp_max_(0.0).exp_()
                self.covered_N[rows] = torch.maximum(self.covered_N[rows], nearest_n)

    def rounding(self, gain: float) -> float:
        """Return how much rounding can change such a gain; gains that differ by less cannot be told apart.

        The error of a kernel value is a share of it. Those in a sum are at most m where nothing is gained.
        """
        return self._error * (float(self._weights_N @ self.covered_N) + gain)

    def gains(self) -> Tensor:
        """Return for each point ``[N]`` what the coverage gains if it is picked: sum_n w_n max(k(n, i) - m_n, 0) / N.

        The kernel is symmetric, so each block of it serves the points on both of its sides.
        """
        gains_N = torch.zeros_like(self._weights_N)
        blocks = list(self._blocks())
        for place, rows in enumerate(blocks):
            for columns in blocks[place:]:
                kernel_n_m = (self._left_N_E[rows] @ self._right_N_E[columns].T).exp_()
                if columns != rows:
                    gained_n_m = (kernel_n_m - self.covered_N[columns]).relu_()
                    gains_N[rows] += gained_n_m @ self._weights_N[columns]
                gained_n_m = kernel_n_m.sub_(self.covered_N[rows, None]).relu_()
                gains_N[columns] += self._weights_N[rows] @ gained_n_m
        return gains_N

    def gains_of(self, positions_n: Tensor) -> Tensor:
        """Return the gains of some points ``[n]``."""
        right_n_E = self._right_N_E[positions_n]
        gains_n = right_n_E.new_zeros(len(right_n_E))
        for rows in self._blocks():
            gained_m_n = (self._left_N_E[rows] @ right_n_E.T).exp_().sub_(self.covered_N[rows, None]).relu_()
            gains_n += self._weights_N[rows] @ gained_m_n
        return gains_n

    def _blocks(self) -> Iterator[slice]:
        N = len(self._weights_N)
        return (slice(first, min(first + BLOCK_ROWS, N)) for first in range(0, N, BLOCK_ROWS))
