"""Fewer configurations in place of many, under which no point's gain is lower than under the many.

Axes: K posterior samples, M configurations of the labels chosen so far, G groups of them, P groups by pairs of samples.

Entropy is concave, so a gain under averages of configurations is at least the gain under the configurations. It is
little more if the averaged ones leave nearly the same doubt, which is mostly a doubt between two samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lightning_al.acquisition.batchbald.configurations import Configurations

NUM_PAIRS = (None, 0, 300, 1_000, 3_000)
"""How many groups by pairs of samples each level has, from bounds for many points to close bounds for few. The first
level does not tell doubts apart, either: its bounds are loose, but the highest are those of the highest gains."""

SMALLER = 0.9
"""A level is left out unless it has less than this share of the next one's configurations."""

LEAST_DOUBT = 2.0**-60
"""Below the rounding of float64; keeps the logarithm of a doubt finite."""


@final
class Levels:
    """Average configurations that leave about the same doubt, to few for all points and to more for the points left.

    A configuration's doubt is the probability that its likeliest posterior sample is wrong. Configurations that share
    this sample are averaged if no doubt of 1/2, 1/8, 1/128, 2^-15 or 2^-31 lies between theirs: they differ most in
    which sample comes second. Those that hold the most entropy are averaged only with others that share the second
    likeliest sample too, and whose doubts lie between the same powers of 2.

    Args:
        whole: The configurations, with weights above 0.
        dtype: The type of the gains, by default that of the configurations.

    Iterating yields averages of ever more groups, each made when it is first needed.

    The first two configurations favour the first sample, each as clearly as the other:

    >>> posteriors_M_K = torch.tensor([[0.75, 0.25, 0.0], [0.75, 0.0, 0.25], [0.0, 0.25, 0.75]])
    >>> averages = Levels(Configurations(torch.tensor([0.25, 0.25, 0.5]), posteriors_M_K)).merged(num_pairs=0)
    >>> averages.weights_M.tolist(), averages.posteriors_M_K.tolist()
    ([0.5, 0.5], [[0.75, 0.125, 0.125], [0.0, 0.25, 0.75]])
    """

    def __init__(self, whole: Configurations, dtype: torch.dtype | None = None) -> None:
        self.whole = whole if dtype is None else whole.to(dtype)
        self.entropies_M = whole.entropies_M
        self._made: dict[int | None, Configurations] = {}

    def __iter__(self) -> Iterator[Configurations]:
        last = 0
        for num_pairs in NUM_PAIRS:
            if num_pairs not in self._made:
                self._made[num_pairs] = self.merged(num_pairs)
            level = self._made[num_pairs]
            if len(level) > SMALLER * len(self.whole):
                return
            if last < SMALLER * len(level):
                yield level
                last = len(level)

    def merged(self, num_pairs: int | None) -> Configurations:
        """Return averages ``[G]``, each with the weight of its group, that lower no point's gain.

        Args:
            num_pairs: How many groups to split off by the second likeliest sample. If None, the likeliest sample alone
                tells groups apart.
        """
        group_M = self._leading_M if num_pairs is None else self._coarse_M
        if num_pairs:
            num_pairs = min(num_pairs, len(self._pair_entropies_P))
            is_split_P = torch.zeros_like(self._pair_entropies_P, dtype=torch.bool)
            is_split_P[self._pair_entropies_P.topk(num_pairs).indices] = True
            group_M = torch.where(is_split_P[self._pair_M], group_M.max() + 1 + self._pair_M, group_M)
        return _averages(self.whole, group_M)

    @cached_property
    def _leading_M(self) -> Tensor:
        return self.whole.posteriors_M_K.argmax(1)

    @cached_property
    def _octaves_M(self) -> Tensor:
        """How often each configuration's doubt can be doubled, at least once, until it exceeds 1."""
        leading_probs_M = self.whole.posteriors_M_K.gather(1, self._leading_M[:, None])[:, 0]
        return -(1 - leading_probs_M).clamp(LEAST_DOUBT, 0.5).log2().floor().long()

    @cached_property
    def _coarse_M(self) -> Tensor:
        """The number of each configuration's group by its likeliest sample."""
        return self._octaves_M.double().log2().long() * self.whole.posteriors_M_K.shape[1] + self._leading_M

    @cached_property
    def _pair_M(self) -> Tensor:
        """The number, from 0, of each configuration's group by its two likeliest samples."""
        K = self.whole.posteriors_M_K.shape[1]
        second_M = self.whole.posteriors_M_K.scatter(1, self._leading_M[:, None], 0.0).argmax(1)
        number_M: Tensor = ((self._octaves_M * K + self._leading_M) * K + second_M).unique(return_inverse=True)[1]
        return number_M

    @cached_property
    def _pair_entropies_P(self) -> Tensor:
        """The entropy that the configurations of each pair leave, in nats."""
        entropies_M = self.whole.weights_M * self.entropies_M
        num_pairs = int(self._pair_M.max()) + 1
        return entropies_M.new_zeros(num_pairs).index_add_(0, self._pair_M, entropies_M)


def _averages(configurations: Configurations, group_M: Tensor) -> Configurations:
    """Average the configurations of each group by their weights, in ascending order of the groups' numbers."""
    groups_M, order_M = group_M.sort(stable=True)
    sizes_G = groups_M.unique_consecutive(return_counts=True)[1]
    starts_G = sizes_G.cumsum(0) - sizes_G

    def sums_G_J(values_M_J: Tensor, weights_M: Tensor | None = None) -> Tensor:
        return embedding_bag(order_M, values_M_J, starts_G, mode="sum", per_sample_weights=weights_M)

    weights_G = sums_G_J(configurations.weights_M.double()[:, None])[:, 0]
    # Without a table of the weighted posteriors, which would cost more than the sums.
    posteriors_M_K = configurations.posteriors_M_K
    sums_G_K = sums_G_J(posteriors_M_K, configurations.weights_M[order_M].to(posteriors_M_K.dtype))
    # Sums of thousands of equal float32 terms drift. Once each row sums to 1, the remaining error changes a gain by the
    # same small share, since a gain is an average over these rows.
    return Configurations(weights_G.to(sums_G_K.dtype), sums_G_K / sums_G_K.sum(1, keepdim=True))
