"""Datasets with near copies of each point, which punish methods that query the same thing twice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset


def with_repeats(
    images: Tensor, labels: Tensor, *, repeats: int = 1, noise: float = 0.0, seed: int = 0
) -> TensorDataset:
    """Repeat each image, each time with other noise: point i is a copy of image i modulo n.

    Args:
        images: Images ``[n, ...]``, floating point.
        labels: Labels ``[n]``.
        repeats: Number of copies of each image.
        noise: Standard deviation of the Gaussian noise that is added to every copy.
        seed: Seed of the noise.

    Raises:
        ValueError: If `repeats` is below 1, or `noise` is negative.

    >>> len(with_repeats(torch.zeros(4, 1, 8, 8), torch.arange(4), repeats=3, noise=0.05))
    12
    """
    if repeats < 1 or noise < 0:
        raise ValueError(
            f"A dataset expects `repeats` of 1 or more and `noise` of 0 or more, but got repeats={repeats} and "
            f"noise={noise}. Leave them out to use the images unchanged."
        )
    generator = torch.Generator().manual_seed(seed)
    copies = images.repeat(repeats, *[1] * (images.dim() - 1))
    if noise > 0:
        for start in range(0, len(copies), len(images)):
            copies[start : start + len(images)] += noise * torch.randn(images.shape, generator=generator)
    return TensorDataset(copies, labels.repeat(repeats))
