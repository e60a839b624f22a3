"""Pixels as features, for images that need no encoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Pixels:
    """Return the values of each input as its features, for ``ActiveDataModule(features=Pixels())``.

    Args:
        normalise: Whether to scale each row to length 1. A row of zeros stays as it is.

    >>> import torch
    >>> Pixels()(torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """

    normalise: bool = True

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return features ``[n, D]`` of inputs ``[n, ...]``."""
        features_n_D = inputs.flatten(1).float()
        return nn.functional.normalize(features_n_D, dim=1) if self.normalise else features_n_D
