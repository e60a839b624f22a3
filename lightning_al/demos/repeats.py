"""Datasets with near copies of each point, where asking for the same thing twice is the mistake to make."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset


def with_repeats(
    images: Tensor, labels: Tensor, *, repeats: int = 1, noise: float = 0.0, seed: int = 0
) -> TensorDataset:
    """Repeat each image with noise of its own: point i of n is a copy of image i modulo n.

    Args:
        images: Images ``[n, ...]``, floating point.
        labels: Labels ``[n]``.
        repeats: How many copies of each image there are in all.
        noise: Standard deviation of the Gaussian noise that is added to every copy.
        seed: The noise is a function of it, so that a copy looks the same whenever it is read.

    Raises:
        ValueError: If there is to be no copy at all, or negative noise.

    >>> len(with_repeats(torch.zeros(4, 1, 8, 8), torch.arange(4), repeats=3, noise=0.05))
    12
    """
    if repeats < 1 or noise < 0:
        raise ValueError(
            f"A dataset expects `repeats` of 1 or more and `noise` of 0 or more, but got repeats={repeats} and "
            f"noise={noise}. Leave them out for the images as they are."
        )
    generator = torch.Generator().manual_seed(seed)
    copies = images.repeat(repeats, *[1] * (images.dim() - 1))
    if noise > 0:
        for start in range(0, len(copies), len(images)):
            copies[start : start + len(images)] += noise * torch.randn(images.shape, generator=generator)
    return TensorDataset(copies, labels.repeat(repeats))
