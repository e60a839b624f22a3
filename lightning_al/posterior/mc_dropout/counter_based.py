"""Random numbers by position: each is a function of a seed and of where it stands, and of no size.

Inputs that are padded to the longest of their batch have other lengths in other batches. A generator that fills a
tensor from its start would give the same place another number in each.
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
    """Return numbers from [0, 1) in float32: that at an index depends on seed and index alone, on every device.

    Each axis in turn takes its index into a hash of 64 bits by the steps of splitmix64 (Steele, Lea and Flood, "Fast
    Splittable Pseudorandom Number Generators", OOPSLA 2014).

    >>> bool((uniform_at(7, (3, 5))[:2, :4] == uniform_at(7, (2, 4))).all())
    True
    """
    return (_bits(seed, shape, 24, device)).float().mul_(2.0**-24)


def normal_at(seed: int, shape: tuple[int, ...], device: Any = "cpu") -> Tensor:
    """Return numbers of a normal distribution in float32, by index as `uniform_at` does."""
    # The half keeps away from 0 and 1, whose normal numbers are infinite; 23 bits and it are exact in float32.
    centred = _bits(seed, shape, 23, device).float().add_(0.5).mul_(2.0**-22).sub_(1.0)
    return torch.erfinv(centred).mul_(math.sqrt(2))


def _bits(seed: int, shape: tuple[int, ...], number: int, device: Any) -> Tensor:
    """Return whole numbers of so many random bits."""
    state = torch.tensor(_signed(seed), device=device)
    for length in shape:
        # Far apart, so that no two rows run through the same states.
        steps = torch.arange(1, length + 1, device=device) * _signed(GOLDEN)
        state = _mixed(state.unsqueeze(-1) + steps)
    return _shifted(state, 64 - number)


def _mixed(state: Tensor) -> Tensor:
    """Mix the bits of whole numbers of 64 bits, in place."""
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        state.bitwise_xor_(_shifted(state, shift))
        if multiplier is not None:
            state.mul_(_signed(multiplier))
    return state


def _shifted(state: Tensor, places: int) -> Tensor:
    """Shift to the right, with zeros coming in where torch, for which the numbers have a sign, would repeat it."""
    return (state >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    """Return the number of 64 bits with a sign that has the same bits."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number
