"""A small network with dropout for features."""

from __future__ import annotations

from torch import nn


def mlp_head(num_classes: int, *, width: int = 128, dropout: float = 0.5) -> nn.Sequential:
    """Return one hidden layer with dropout, for features ``[n, D]`` or inputs ``[n, ...]`` of any size.

    The size is that of the first batch.

    Args:
        num_classes: Number of classes.
        width: Width of the hidden layer.
        dropout: Rate of the dropout after it.

    >>> import torch
    >>> mlp_head(3)(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """
    return nn.Sequential(
        nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, num_classes)
    )
