"""How far outputs for the same points may differ by rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""How far outputs may differ between batches: absolutely, or relative to the largest output of a point if above 1."""

COARSE_TOLERANCE = 0.05
"""The same in half precision and on a GPU."""


def tolerance(module: nn.Module, *, is_coarse: bool) -> float:
    """Return how far outputs of a network may differ by rounding between batches of different sizes."""
    if is_coarse:
        return COARSE_TOLERANCE
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    return max((TOLERANCE.get(weight.dtype, COARSE_TOLERANCE) for weight in weights), default=1e-3)


def difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest difference between outputs, relative to 1 or the largest output of the point."""
    dtype = torch.float32 if one.device.type == "mps" else torch.float64
    one, other = (values.to(dtype).reshape(len(values), -1) for values in (one, other))
    # NaN in both, as after a fit that diverged, or the same infinity in both, is no difference.
    same = (one == other) | (one.isnan() & other.isnan())
    scale = torch.maximum(one.abs(), other.abs()).nan_to_num(0.0, 0.0).amax(1, keepdim=True).clamp(min=1.0)
    return ((one - other).abs() / scale).masked_fill(same, 0.0).nan_to_num(nan=math.inf).max()
