"""Fewer configurations in place of many, under which no point's gain is lower than under the many.

Axes: K posterior samples, M configurations of the labels chosen so far, G groups of them, P groups by pairs of samples.

Entropy is concave, so a gain under averages of configurations is at least the gain under the configurations. It is
little more if the averaged ones leave nearly the same doubt, which is mostly a doubt between two samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lightning_al.acquisition.batchbald.configurations import Configurations

NUM_PAIRS = (300, 800, 1_800, 4_000)
"""How many groups by pairs of samples the levels after the second have, from bounds for many points to close bounds for
few."""

SMALLER = 0.9
"""A level is left out unless it has less than this share of the next one's configurations."""

LEAST_DOUBT = 2.0**-60
"""Below the rounding of float64; keeps the logarithm of a doubt finite."""


@final
@dataclass(frozen=True)
class Level:
    """Averages in place of the configurations: these pairs, those of the levels before, and the rest.

    A gain is a sum over configurations, so the part of the pairs is computed once and serves the levels after.

    Attributes:
        pairs: The averages that this level adds to the pairs of the levels before.
        rest: Averages of the configurations in no pair of this level or of a level before.
    """

    pairs: Configurations
    rest: Configurations


@final
class Levels:
    """Average configurations that leave about the same doubt, to few for all points and to more for the points left.

    A configuration's doubt is the probability that its likeliest posterior sample is wrong. The first level averages
    all configurations that share this sample: its bounds are loose, but the highest are those of the highest gains. The
    second averages them if no doubt of 1/2, 1/8, 1/128, 2^-15 or 2^-31 lies between theirs: they differ most in which
    sample comes second. Those that hold the most entropy are averaged by the levels after only with others that share
    the second likeliest sample too, and whose doubts lie between the same powers of 2.

    Args:
        whole: The configurations, none with a negligible weight; see `Configurations.undecided`.
        dtype: The type of the gains, by default that of the configurations.

    Iterating yields levels of ever more averages, each made when it is first needed.

    The first two configurations favour the same sample:

    >>> posteriors_M_K = torch.tensor([[0.75, 0.25, 0.0], [0.75, 0.0, 0.25], [0.0, 0.25, 0.75]])
    >>> first, *_ = Levels(Configurations(torch.tensor([0.25, 0.25, 0.5]), posteriors_M_K))
    >>> first.rest.weights_M.tolist(), first.rest.posteriors_M_K.tolist()
    ([0.5, 0.5], [[0.75, 0.125, 0.125], [0.0, 0.25, 0.75]])
    """

    def __init__(self, whole: Configurations, dtype: torch.dtype | None = None) -> None:
        self.whole = whole if dtype is None else whole.to(dtype)
        self.entropies_M = whole.entropies_M
        self._made: list[Level] = []
        self._to_make = self._make()

    def __iter__(self) -> Iterator[Level]:
        yield from self._made
        for level in self._to_make:
            self._made.append(level)
            yield level

    def _make(self) -> Iterator[Level]:
        last_size, last_num_pairs = 0, 0
        for pairs, rest in self._divisions():
            size = len(pairs) + len(rest)
            if size > SMALLER * len(self.whole):
                return
            if last_size < SMALLER * size:
                yield Level(pairs[last_num_pairs:].averages, rest.averages)
                last_size, last_num_pairs = size, len(pairs)

    def _divisions(self) -> Iterator[tuple[_Sums, _Sums]]:
        """Yield the sums of ever more pairs, and those of the configurations in none of them."""
        coarse = _Sums.of(self.whole, self._coarse_M)
        K = self.whole.posteriors_M_K.shape[1]
        yield coarse[:0], coarse.merged(coarse.numbers_G % K)
        yield coarse[:0], coarse
        # From the most pairs down: adding pairs to a rest takes less time than adding up configurations.
        pairs, rest = self._most_pairs()
        rests = [rest]
        for more, fewer in pairwise(reversed(NUM_PAIRS)):
            joining = pairs[fewer:more]
            rests.append(rests[-1].joined(joining) if len(joining) else rests[-1])
        for num_pairs, rest in zip(NUM_PAIRS, reversed(rests), strict=True):
            yield pairs[:num_pairs], rest

    @cached_property
    def _leading_M(self) -> Tensor:
        return _argmax(self.whole.posteriors_M_K)

    @cached_property
    def _octaves_M(self) -> Tensor:
        """How often each configuration's doubt can be doubled, at least once, until it exceeds 1."""
        leading_probs_M = self.whole.posteriors_M_K.gather(1, self._leading_M[:, None])[:, 0]
        return -(1 - leading_probs_M).clamp(LEAST_DOUBT, 0.5).log2().floor().long()

    @cached_property
    def _coarse_M(self) -> Tensor:
        """The number of each configuration's group by its likeliest sample."""
        return self._octaves_M.double().log2().long() * self.whole.posteriors_M_K.shape[1] + self._leading_M

    def _most_pairs(self) -> tuple[_Sums, _Sums]:
        """Return the sums of the pairs that leave the most entropy, from most to least, and those of the rest.

        Both have the numbers of the groups that share the likeliest sample.
        """
        K = self.whole.posteriors_M_K.shape[1]
        second_M = _argmax(self.whole.posteriors_M_K.scatter(1, self._leading_M[:, None], 0.0))
        pair_M = ((self._octaves_M * K + self._leading_M) * K + second_M).unique(return_inverse=True)[1]
        entropies_P = self.entropies_M.new_zeros(int(pair_M.max()) + 1)
        entropies_P.index_add_(0, pair_M, self.whole.weights_M * self.entropies_M)
        num_pairs = min(NUM_PAIRS[-1], len(entropies_P))
        place_P = torch.full_like(entropies_P, num_pairs, dtype=torch.int64)
        place_P[entropies_P.topk(num_pairs).indices] = torch.arange(num_pairs, device=place_P.device)
        place_M = place_P[pair_M]
        coarse_p = place_M.new_empty(num_pairs + 1)
        coarse_p[place_M] = self._coarse_M
        sums = _Sums.of(self.whole, torch.where(place_M < num_pairs, place_M, num_pairs + self._coarse_M))
        pairs, rest = sums[:num_pairs], sums[num_pairs:]
        return replace(pairs, numbers_G=coarse_p[:-1]), replace(rest, numbers_G=rest.numbers_G - num_pairs)


@final
@dataclass(frozen=True)
class _Sums:
    """Weighted sums of the configurations of groups: the weights, the sums, and a number for each."""

    numbers_G: Tensor
    weights_G: Tensor
    sums_G_K: Tensor

    @classmethod
    def of(cls, configurations: Configurations, numbers_M: Tensor) -> _Sums:
        """Add up the configurations of each number, in ascending order of the numbers."""
        weights_M = configurations.weights_M
        return cls(numbers_M, weights_M.double(), configurations.posteriors_M_K).merged(numbers_M, weights_M)

    def __len__(self) -> int:
        return len(self.numbers_G)

    def __getitem__(self, rows: slice) -> _Sums:
        return _Sums(self.numbers_G[rows], self.weights_G[rows], self.sums_G_K[rows])

    def joined(self, other: _Sums) -> _Sums:
        """Return the sums of both, one for each number."""
        both = _Sums(
            torch.cat([self.numbers_G, other.numbers_G]),
            torch.cat([self.weights_G, other.weights_G]),
            torch.cat([self.sums_G_K, other.sums_G_K]),
        )
        return both.merged(both.numbers_G)

    def merged(self, numbers_G: Tensor, factors_G: Tensor | None = None) -> _Sums:
        """Add up the rows of each number, in ascending order of the numbers, with factors if there are any."""
        ordered_G, order_G = numbers_G.sort(stable=True)
        numbers_g, group_G, sizes_g = ordered_G.unique_consecutive(return_inverse=True, return_counts=True)
        weights_g = self.weights_G.new_zeros(len(sizes_g)).index_add_(0, group_G, self.weights_G[order_G])
        # Without a table of the weighted rows, which would cost more than the sums.
        factors_G = None if factors_G is None else factors_G[order_G].to(self.sums_G_K.dtype)
        starts_g = sizes_g.cumsum(0) - sizes_g
        sums_g_K = embedding_bag(order_G, self.sums_G_K, starts_g, mode="sum", per_sample_weights=factors_G)
        return _Sums(numbers_g, weights_g, sums_g_K)

    @property
    def averages(self) -> Configurations:
        # Sums of thousands of equal float32 terms drift. Once each row sums to 1, the remaining error changes a gain by
        # the same small share, since a gain is an average over these rows.
        posteriors_G_K = self.sums_G_K / self.sums_G_K.sum(1, keepdim=True)
        return Configurations(self.weights_G.to(posteriors_G_K.dtype), posteriors_G_K)


def _argmax(table_M_K: Tensor) -> Tensor:
    """Return the position of the largest number of each row. On a CPU, NumPy takes half of torch's time."""
    return torch.from_numpy(table_M_K.numpy().argmax(1)) if table_M_K.device.type == "cpu" else table_M_K.argmax(1)
