"""The mean and standard deviation by which columns of numbers are standardised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """Standardise columns of numbers.

    Attributes:
        mean: The mean of each column ``[num_columns]``, float64.
        deviation: The standard deviation of each column ``[num_columns]``, float64; 1 for a constant one.

    >>> scale = Scale.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale.standardised(torch.tensor([[1.0, 5.0], [4.0, 6.0]]))
    tensor([[-1.,  0.],
            [ 2.,  1.]])
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> Scale:
        """Return the scale of some rows ``[n, num_columns]``."""
        numbers = numbers.double()
        deviation = numbers.std(dim=0, correction=0)
        return cls(numbers.mean(dim=0), torch.where(deviation > 0, deviation, 1.0))

    def standardised(self, numbers: Tensor) -> Tensor:
        """Return rows ``[n, num_columns]`` on this scale, in torch's default dtype."""
        return ((numbers - self.mean) / self.deviation).to(torch.get_default_dtype())

    def to_plain(self) -> dict[str, list[float]]:
        """Return the scale as plain data, exactly."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_plain(cls, plain: Any, num_columns: int) -> Scale | None:
        """Return a scale from plain data, or None if that is no scale of so many columns.

        >>> Scale.from_plain({"mean": [0.5], "deviation": [2.0]}, 1)
        Scale(mean=tensor([0.5000], dtype=torch.float64), deviation=tensor([2.], dtype=torch.float64))
        >>> Scale.from_plain({"mean": [0.5], "deviation": [0.0]}, 1) is None
        True
        """
        mean, deviation = (plain.get(part) if isinstance(plain, Mapping) else None for part in ("mean", "deviation"))
        for numbers in (mean, deviation):
            if not isinstance(numbers, list) or len(numbers) != num_columns:
                return None
            if not all(isinstance(number, float) and math.isfinite(number) for number in numbers):
                return None
        if not all(number > 0 for number in deviation or ()):
            return None
        return cls(torch.tensor(mean, dtype=torch.float64), torch.tensor(deviation, dtype=torch.float64))
