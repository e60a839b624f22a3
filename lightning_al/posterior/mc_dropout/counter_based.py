"""Random numbers by position: each is a function of a seed and its index, independent of the tensor's shape.

Inputs that are padded to the longest of their batch have different lengths in different batches. A generator that fills
a tensor from its start would give the same position different numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
SHIFTS = 30, 27, 31


def uniform_at(seed: int, shape: tuple[int, ...], device: Any = "cpu") -> Tensor:
    """Return uniform numbers in float32 that depend only on seed and index, on every device.

    Each axis in turn adds its index to a 64-bit hash by the steps of splitmix64 (Steele, Lea and Flood, "Fast
    Splittable Pseudorandom Number Generators", OOPSLA 2014).

    >>> bool((uniform_at(7, (3, 5))[:2, :4] == uniform_at(7, (2, 4))).all())
    True
    """
    return (_bits(seed, shape, 24, device)).float().mul_(2.0**-24)


def normal_at(seed: int, shape: tuple[int, ...], device: Any = "cpu") -> Tensor:
    """Return normal numbers in float32 that depend only on seed and index."""
    # Adding 0.5 avoids 0 and 1, which map to infinity; 23 bits and a half are exact in float32.
    centred = _bits(seed, shape, 23, device).float().add_(0.5).mul_(2.0**-22).sub_(1.0)
    return torch.erfinv(centred).mul_(math.sqrt(2))


def _bits(seed: int, shape: tuple[int, ...], number: int, device: Any) -> Tensor:
    """Return integers with the given number of random bits."""
    state = torch.tensor(_signed(seed), device=device)
    for length in shape:
        # Steps far apart, so no two rows run through the same states.
        steps = torch.arange(1, length + 1, device=device) * _signed(GOLDEN)
        state = _mixed(state.unsqueeze(-1) + steps)
    return _shifted(state, 64 - number)


def _mixed(state: Tensor) -> Tensor:
    """Mix the bits of 64-bit integers in place."""
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        state.bitwise_xor_(_shifted(state, shift))
        if multiplier is not None:
            state.mul_(_signed(multiplier))
    return state


def _shifted(state: Tensor, places: int) -> Tensor:
    """Shift to the right and fill with zeros; torch would repeat the sign bit."""
    return (state >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    """Return the signed 64-bit integer with the same bits."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number
