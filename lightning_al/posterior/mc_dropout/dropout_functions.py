"""The dropout functions of torch, and how each of them applies a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_al.posterior.mc_dropout.layout import Shape


def drop_to_zero(input: Tensor, keep: Tensor, p: float) -> Tensor:
    """Set dropped units to zero, and scale the others to keep the mean."""
    return input * (keep / (1 - p) if p < 1 else keep)


def _drop_to_saturation(input: Tensor, keep: Tensor, p: float) -> Tensor:
    """Set dropped units to the negative saturation of SELU, and keep mean and variance.

    Klambauer et al., "Self-Normalizing Networks", NeurIPS 2017.
    """
    saturation = -1.7580993408473766
    scale = ((1 - p) * (1 + p * saturation**2)) ** -0.5 if p < 1 else 0.0
    return scale * (input * keep + saturation * (1 - keep)) - scale * saturation * p


@dataclass(frozen=True)
class Apply:
    """One kind of dropout: whether it drops units or whole channels, and to which value."""

    channels: bool
    drop: Callable[[Tensor, Tensor, float], Tensor]

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of the mask for all points, given that of the input."""
        return (*shape[:2], *[1] * (len(shape) - 2)) if self.channels else shape


_UNITS = Apply(channels=False, drop=drop_to_zero)
_CHANNELS = Apply(channels=True, drop=drop_to_zero)
_ALPHA_UNITS = Apply(channels=False, drop=_drop_to_saturation)
_ALPHA_CHANNELS = Apply(channels=True, drop=_drop_to_saturation)

DROPOUTS: dict[Callable[..., Any], Apply] = {
    F.dropout: _UNITS,
    torch.dropout: _UNITS,
    torch.dropout_: _UNITS,
    F.dropout1d: _CHANNELS,
    F.dropout2d: _CHANNELS,
    F.dropout3d: _CHANNELS,
    torch.feature_dropout: _CHANNELS,
    torch.feature_dropout_: _CHANNELS,
    F.alpha_dropout: _ALPHA_UNITS,
    torch.alpha_dropout: _ALPHA_UNITS,
    torch.alpha_dropout_: _ALPHA_UNITS,
    F.feature_alpha_dropout: _ALPHA_CHANNELS,
    torch.feature_alpha_dropout: _ALPHA_CHANNELS,
    torch.feature_alpha_dropout_: _ALPHA_CHANNELS,
}


PARAMETERS = ("input", "p", "training", "inplace")
"""The parameters of these functions in order; those of `torch` itself have `train` third, and no fourth."""


@dataclass(frozen=True)
class Call:
    """One call of a dropout function, which drops whatever its flag of training mode says.

    Attributes:
        apply: The kind of dropout.
        input: The tensor to drop units from.
        p: Probability to drop a unit.
        inplace: Whether the result is written into the input.
    """

    apply: Apply
    input: Tensor
    p: float
    inplace: bool

    @classmethod
    def of(cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Return the call, or None if the function is not a dropout function."""
        apply = DROPOUTS.get(func)
        if apply is None:
            return None
        named = {**dict(zip(PARAMETERS, args, strict=False)), **kwargs}
        inplace = func.__name__.endswith("_") or bool(named.get("inplace", False))
        return cls(apply, named["input"], named.get("p", 0.5), inplace)
