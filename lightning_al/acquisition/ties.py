"""Break ties at random, so no end of the dataset is preferred.

Axes: N points, n of them.

Each position has a random key, and of equal points the one with the lowest key comes first. Keys depend only on the
generator's initial seed and the number of points: not on chunks, on the device, or on other draws. Drawing them does
not change other draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_al.run.seeds import derive

EQUAL_GAINS = 1e-12
"""Gains and BALD scores that differ by less, in nats, count as equal: float64 cannot distinguish them."""


def tie_keys(size: int, generator: torch.Generator) -> Tensor:
    """Return a unique key for each position ``[N]``, int64.

    Args:
        size: Number of points N.
        generator: The generator of the selection. Only its initial seed is read; its state does not change.

    >>> generator = torch.Generator().manual_seed(0)
    >>> sorted(tie_keys(4, generator).tolist()), tie_keys(4, generator).equal(tie_keys(4, generator))
    ([0, 1, 2, 3], True)
    """
    own = torch.Generator().manual_seed(derive(generator.initial_seed(), "ties"))
    return torch.randperm(size, generator=own)


def in_order(scores_N: Tensor, keys_N: Tensor) -> Tensor:
    """Return all positions ``[N]`` by descending score, and of equal scores by ascending key.

    >>> in_order(torch.tensor([0.5, 1.0, 0.5]), torch.tensor([2, 1, 0])).tolist()
    [1, 2, 0]
    """
    by_key_N = keys_N.to(scores_N.device).argsort()
    return by_key_N[scores_N[by_key_N].argsort(descending=True, stable=True)]


def last(scores_n: Tensor, keys_n: Tensor, count: int) -> Tensor:
    """Return a mask ``[n]`` of the `count` points that come last, without sorting all of them."""
    is_last_n = torch.zeros_like(scores_n, dtype=torch.bool)
    if count == 0:
        return is_last_n
    highest = scores_n.topk(count, largest=False).values[-1]
    is_last_n |= scores_n < highest
    tied = (scores_n == highest).nonzero().flatten()
    num_tied = count - int(is_last_n.sum())
    is_last_n[tied[keys_n[tied].topk(num_tied).indices]] = True
    return is_last_n


def first_of(gains_n: Tensor, balds_n: Tensor, keys_n: Tensor) -> Tensor:
    """Return the place ``[1]`` of the point to choose, without synchronising a GPU.

    It has the highest gain; of equal gains, the highest BALD score; of equal scores, the lowest key. Values within
    `EQUAL_GAINS` of the highest count as equal.

    >>> first_of(torch.tensor([0.0, 0.5, 0.5, 0.5]), torch.tensor([9.0, 1.0, 2.0, 2.0]), torch.tensor([0, 1, 3, 2]))
    tensor([3])
    """
    balds_n = balds_n.masked_fill(gains_n < gains_n.max() - EQUAL_GAINS, -math.inf)
    is_behind_n = balds_n < balds_n.max() - EQUAL_GAINS
    return keys_n.masked_fill(is_behind_n, torch.iinfo(keys_n.dtype).max).argmin(0, keepdim=True)


@final
@dataclass(frozen=True)
class Tied:
    """The points with the highest gain so far, to within `EQUAL_GAINS`.

    Attributes:
        positions_n: Their positions.
        gains_n: Their gains in nats, float64.
        balds_n: Their BALD scores in nats, float64.
        keys_n: Their keys.
    """

    positions_n: Tensor
    gains_n: Tensor
    balds_n: Tensor
    keys_n: Tensor

    @property
    def first(self) -> int:
        """Position of the point to choose."""
        return int(self.positions_n[first_of(self.gains_n, self.balds_n, self.keys_n)])

    @property
    def gain(self) -> float:
        """The highest gain."""
        return float(self.gains_n.max())

    def at(self, positions_N: Tensor) -> Tied:
        """Return the same points with positions looked up in a table."""
        return Tied(positions_N[self.positions_n], self.gains_n, self.balds_n, self.keys_n)

    def joined(self, other: Tied) -> Tied:
        """Return the points of both that have the highest gain.

        All of them are kept until every point was seen: two points equal to a third one need not equal each other.
        """
        positions_n = torch.cat([self.positions_n, other.positions_n])
        gains_n = torch.cat([self.gains_n, other.gains_n])
        balds_n = torch.cat([self.balds_n, other.balds_n])
        keys_n = torch.cat([self.keys_n, other.keys_n])
        stays_n = gains_n >= gains_n.max() - EQUAL_GAINS
        return Tied(positions_n[stays_n], gains_n[stays_n], balds_n[stays_n], keys_n[stays_n])
