"""Points in blobs that are far from each other, so that any start of k-means finds them."""

from __future__ import annotations

import torch
from torch import Tensor


def blobs(*sizes: int, D: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points ``[N, D]`` of blobs of some sizes, in float64, and the numbers ``[N]`` of their blobs."""
    generator = torch.Generator().manual_seed(seed)
    numbers_N = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    points_N_D = torch.randn(len(numbers_N), D, generator=generator, dtype=torch.float64)
    points_N_D[:, 0] += 1e4 * numbers_N
    return points_N_D, numbers_N
