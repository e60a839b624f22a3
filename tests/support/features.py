"""Features of points.

Axes: N points, D feature dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def unit_rows(N: int, D: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random rows of length 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(N, D, generator=generator, dtype=torch.float64)).to(dtype)
