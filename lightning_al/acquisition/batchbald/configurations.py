"""The possible joint labels of the chosen points, and how likely each makes the posterior samples.

Axes: K posterior samples, C classes, M configurations, n configurations drawn from each posterior sample.

A configuration is one label for each chosen point. Later choices need only its probability and its posterior over the
samples: uniform at first, and at best a single sample that explains all labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

NEGLIGIBLE = 1e-18
"""Probabilities below this count as zero: products of two of them would be denormal floats, which are slow."""

BLOCK_VALUES = 2**17
"""The number of values of a table to work on at a time, so intermediate results stay in cache."""

BLOCK_ROWS = 128
"""The number of configurations that float32 adds up before float64 takes over."""

ASKING_DEVICES = {"cpu"}
"""Devices on which reading a number costs nothing. A GPU has to finish all queued work first."""

TILT_STEPS = 40
"""The most quasi-Newton steps towards a tilt."""

SLOW = 0.3
"""The Jacobian is kept if a step reduces the imbalance below this share of what it was."""

UNASKED_TILT_STEPS = 12
STEPS_OF_A_JACOBIAN = 6
"""The number of steps, and of steps with one Jacobian, where reading the imbalance would take longer."""

RIDGE = 1e-6
"""Added to a covariance, relative to its diagonal, so it can be inverted if samples are equal."""

TILT_ERROR = 1e-5
"""The largest relative difference of a posterior sample's average probability from 1/K that counts as zero."""


ROUNDING = 1e-5
"""The largest relative error of an average of float32 probabilities: half an epsilon for each of `BLOCK_ROWS` terms,
since the sum of equal ones drifts in one direction, and for the weight."""

HIDDEN = 0.1
"""The share of a row's entropy, rounded up, that float32 loses if it rounds the largest probability to 1."""


@final
@dataclass(frozen=True)
class Configurations:
    """Weighted configurations of the labels of the chosen points.

    Attributes:
        weights_M: The probability of each configuration; they sum to 1. float64.
        posteriors_M_K: The posterior over the samples given each configuration; each row sums to 1. float64 while all
            configurations are enumerated. Drawn ones are float32: their Monte Carlo error exceeds its rounding, and
            half the memory makes everything that reads them twice as fast. `to` float64 normalises each row again.
        sampled: False while all configurations are enumerated. Otherwise they were drawn, the same number from each
            posterior sample, and are in the order of the samples.

    Two samples disagree about a point. Its label tells which of them is right, and nothing is left to learn:

    >>> configurations = Configurations.before_any_label(2)
    >>> configurations.information.item()
    0.0
    >>> probs_K_C = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> configurations = configurations.observe(probs_K_C, limit=10, generator=torch.Generator())
    >>> configurations.posteriors_M_K.tolist(), round(configurations.information.item(), 4)
    ([[1.0, 0.0], [0.0, 1.0]], 0.6931)
    """

    weights_M: Tensor
    posteriors_M_K: Tensor
    sampled: bool = False

    @classmethod
    def before_any_label(cls, num_samples: int, device: torch.device | None = None) -> Configurations:
        """Return the one configuration of no labels, under which all K posterior samples are equally likely."""
        posteriors_M_K = torch.full((1, num_samples), 1 / num_samples, dtype=torch.float64, device=device)
        return cls(torch.ones_like(posteriors_M_K[:, 0]), posteriors_M_K)

    def __len__(self) -> int:
        return len(self.weights_M)

    @cached_property
    def entropies_M(self) -> Tensor:
        """The entropy of the posterior over the samples that each configuration leaves, in nats."""
        # In blocks, since fresh memory for whole tables would cost as much as the arithmetic.
        blocks = torch.split(self.posteriors_M_K, max(1, BLOCK_VALUES // self.posteriors_M_K.shape[1]))
        return torch.cat([-(block.clamp_min(NEGLIGIBLE).log_().mul_(block)).sum(1) for block in blocks]).double()

    @property
    def entropy_left(self) -> Tensor:
        """The average entropy of the posterior over the samples, in nats."""
        return self.weights_M @ self.entropies_M

    @property
    def standard_error(self) -> Tensor:
        """The standard error of the information in nats, taking draws for independent; 0 if enumerated."""
        deviations_M = self.entropies_M - self.entropy_left
        return (self.weights_M * deviations_M).norm() if self.sampled else torch.zeros_like(self.entropy_left)

    @cached_property
    def mean_K(self) -> Tensor:
        """The average probability of each posterior sample. float64."""
        return average(self.weights_M, self.posteriors_M_K)

    @cached_property
    def gain_per_bald(self) -> float:
        """The most that a point's gain can be, as a multiple of its BALD score: 1 if all samples are equally likely.

        With average probabilities v of the samples, gain <= sum_k v_k KL(p_k, mean p) <= max_k(K v_k) BALD.
        """
        is_rounded = self.posteriors_M_K.dtype == torch.float32
        return self.mean_K.max().item() * len(self.mean_K) * (1 + ROUNDING * is_rounded)

    @property
    def information(self) -> Tensor:
        """The information of the labels about the posterior sample in nats: log K minus the entropy left."""
        return math.log(self.posteriors_M_K.shape[1]) - self.entropy_left

    def observe(self, probs_K_C: Tensor, *, limit: int, generator: torch.Generator) -> Configurations:
        """Extend each configuration by the label of one more point.

        Args:
            probs_K_C: Probabilities ``[K, C]`` of the point's label under each posterior sample, float64.
            limit: The most configurations to hold. All are enumerated while there are at most so many. After that,
                they are drawn, at least one from each posterior sample.
            generator: A CPU generator for the draws.
        """
        if not self.sampled and len(self) * probs_K_C.shape[1] <= limit:
            return self._branch(probs_K_C)
        if not self.sampled:
            parents_K_n, uniforms_K_n = self._systematic(max(1, limit // len(probs_K_C)), generator)
            posteriors_M_K = self.posteriors_M_K.index_select(0, parents_K_n.flatten()).float()
        else:
            posteriors_M_K, uniforms_K_n = self.posteriors_M_K, self._latin_hypercube(generator)
        return _draw(posteriors_M_K, probs_K_C, uniforms_K_n)

    def undecided(self, least_entropy: float, *, drop: bool = True) -> Configurations:
        """Leave out the configurations that all but decide which posterior sample is right.

        A further label adds at most the entropy left. Without these terms, which mostly cancel, gains stay accurate
        even when nearly everything is known.

        Args:
            least_entropy: The least entropy in nats of a configuration that is kept.
            drop: Whether to remove the others. If False, they get a weight of zero, which needs no synchronisation of a
                GPU.

        Returns:
            The other configurations with unchanged weights.
        """
        is_kept_M = self.is_undecided_M(least_entropy)
        if not drop:
            return Configurations(self.weights_M.masked_fill(~is_kept_M, 0.0), self.posteriors_M_K)
        if is_kept_M.all():
            return self
        kept_m = is_kept_M.nonzero().flatten()
        return Configurations(self.weights_M[kept_m], self.posteriors_M_K.index_select(0, kept_m))

    def is_undecided_M(self, least_entropy: float) -> Tensor:
        """Return which configurations `undecided` keeps: those with enough entropy, or else those with the most.

        None of them has hardly any weight, as a tilt may give it: their sum could be 0 in float32, and no average.
        """
        entropies_M = self.entropies_M.masked_fill(self.weights_M <= NEGLIGIBLE, -1.0)
        return entropies_M >= entropies_M.max().clamp_max(least_entropy)

    def to(self, dtype: torch.dtype) -> Configurations:
        """Return the configurations in the precision of the gains.

        Rows rounded to float32 do not sum to exactly 1. The difference would add to each gain, enough to lift it above
        its bound when little is left to learn.
        """
        posteriors_M_K = self.posteriors_M_K.to(dtype)
        if self.posteriors_M_K.dtype == torch.float32 and dtype == torch.float64:
            posteriors_M_K /= posteriors_M_K.sum(1, keepdim=True)
        return Configurations(self.weights_M.to(dtype), posteriors_M_K)

    def _branch(self, probs_K_C: Tensor) -> Configurations:
        """Continue each configuration with each of the C labels, and drop those with no probability."""
        joint_M_C_K = self.posteriors_M_K[:, None, :] * probs_K_C.T
        evidence_M_C = joint_M_C_K.sum(-1)
        weights_M_C = self.weights_M[:, None] * evidence_M_C
        happens_M_C = weights_M_C > NEGLIGIBLE
        tables = joint_M_C_K, evidence_M_C, weights_M_C
        # A copy would cost as much as all the rest.
        kept = [t.flatten(0, 1) if happens_M_C.all() else t[happens_M_C] for t in tables]
        posteriors_M_K, evidence_M, weights_M = kept
        posteriors_M_K.div_(evidence_M[:, None])
        return Configurations(weights_M / weights_M.sum(), _without_negligible(posteriors_M_K))

    def _systematic(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n configurations from each posterior sample by systematic sampling.

        Returns:
            Their places ``[K, n]``, and for each the uniform number ``[K, n]`` to draw its next label with: the
            remainder of the number that picked it, so the labels are evenly spread too.
        """
        K = self.posteriors_M_K.shape[1]
        offset_K_1 = _uniforms((K, 1), generator, self.weights_M.device)
        evenly_K_n = (torch.arange(n, device=offset_K_1.device) + offset_K_1) / n
        masses_K_M = torch.empty_like(self.posteriors_M_K.T, memory_format=torch.contiguous_format)
        torch.mul(self.posteriors_M_K.T, self.weights_M, out=masses_K_M)
        return _where_in(masses_K_M.cumsum_(-1), evenly_K_n)

    def _latin_hypercube(self, generator: torch.Generator) -> Tensor:
        """Return n stratified uniform numbers ``[K, n]`` for each posterior sample, in random order."""
        K, device = self.posteriors_M_K.shape[1], self.weights_M.device
        n = len(self) // K
        strata_K_n = _uniforms((K, n), generator, device).argsort(1)
        return (strata_K_n + _uniforms((K, n), generator, device)) / n


def _draw(posteriors_M_K: Tensor, probs_K_C: Tensor, uniforms_K_n: Tensor) -> Configurations:
    """Draw the next label of n configurations from each posterior sample, in the order of the samples."""
    labels_K_n, _ = _where_in(probs_K_C.cumsum(-1), uniforms_K_n)
    # Products of two float32 numbers that are not negligible are not denormal.
    probs_C_K = _without_negligible(probs_K_C.T.to(posteriors_M_K.dtype, memory_format=torch.contiguous_format))
    joint_M_K = probs_C_K.index_select(0, labels_K_n.flatten()).mul_(posteriors_M_K)
    posteriors_M_K = _without_negligible(joint_M_K.div_(joint_M_K.sum(1, keepdim=True)))
    return Configurations(tilted_weights(posteriors_M_K), posteriors_M_K, sampled=True)


def can_be_asked(tensor: Tensor) -> bool:
    """Return whether numbers of a tensor can be read without synchronising a device."""
    return tensor.device.type in ASKING_DEVICES


def tilted_weights(posteriors_M_K: Tensor) -> Tensor:
    """Weight drawn configurations so that on average all posterior samples are equally likely.

    The set of all configurations has this property, and with it no point's gain exceeds its BALD score. The weights are
    proportional to exp(lambda . posterior), as close to equal as the property allows. If quasi-Newton steps do not find
    such a lambda, the weights are equal.

    Returns:
        Weights ``[M]`` that sum to 1.

    >>> weights_M = tilted_weights(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    >>> [round(weight, 4) for weight in weights_M.tolist()]
    [0.25, 0.25, 0.5]
    """
    M, K = posteriors_M_K.shape
    tilt_K = posteriors_M_K.new_zeros(K, dtype=torch.float64)
    last_imbalance = math.inf
    may_ask = can_be_asked(posteriors_M_K)
    for step in range(TILT_STEPS if may_ask else UNASKED_TILT_STEPS):
        weights_M = torch.softmax(posteriors_M_K @ tilt_K.to(posteriors_M_K.dtype), dim=0)
        mean_K = average(weights_M, posteriors_M_K)
        excess_K = mean_K / mean_K.sum() - 1 / K
        imbalance = excess_K.abs().max() * K
        if may_ask and not imbalance >= TILT_ERROR:
            break
        if step == 0 or (imbalance > SLOW * last_imbalance if may_ask else step % STEPS_OF_A_JACOBIAN == 0):
            to_step_K_K = _factored_covariance(posteriors_M_K, weights_M)
        tilt_K -= torch.cholesky_solve(excess_K[:, None], to_step_K_K)[:, 0]
        last_imbalance = imbalance.item() if may_ask else math.inf
    weights_M = weights_M.double() / weights_M.sum(dtype=torch.float64)
    return torch.where(imbalance < TILT_ERROR, weights_M, 1 / M)


def _factored_covariance(posteriors_M_K: Tensor, weights_M: Tensor) -> Tensor:
    """Factor the covariance of the posteriors, which is the Jacobian of their mean by the tilt, as L L^T.

    It is computed in float32: the imbalance is measured, and a step need not be exact to lower it.
    """
    M, K = posteriors_M_K.shape
    # With weights around 1, no product of two posteriors is denormal.
    posteriors_M_K, weights_M = posteriors_M_K.float(), M * weights_M.float()
    mean_K = weights_M @ posteriors_M_K / M
    second_moment_K_K = posteriors_M_K.new_zeros(K, K)
    num_rows = max(1, BLOCK_VALUES // K)
    for weights_m, posteriors_m_K in zip(
        torch.split(weights_M, num_rows), torch.split(posteriors_M_K, num_rows), strict=True
    ):
        second_moment_K_K.addmm_(posteriors_m_K.T, weights_m[:, None] * posteriors_m_K)
    covariance_K_K = second_moment_K_K.double() / M - mean_K.outer(mean_K)
    covariance_K_K.diagonal().add_(RIDGE * covariance_K_K.diagonal().mean())
    # Rows sum to 1, so their covariance is singular along the vector of ones, which the tilt needs nothing of.
    factor_K_K: Tensor = torch.linalg.cholesky_ex(covariance_K_K + 1 / K).L
    return factor_K_K


def average(weights_M: Tensor, posteriors_M_K: Tensor) -> Tensor:
    """Return weights @ posteriors in float64, a hundred times as exact as float32 adds them up and no slower."""
    K = posteriors_M_K.shape[1]
    weights_M = weights_M.to(posteriors_M_K.dtype)
    end = len(weights_M) - len(weights_M) % BLOCK_ROWS
    blocks_B_1_K = torch.bmm(weights_M[:end].view(-1, 1, BLOCK_ROWS), posteriors_M_K[:end].view(-1, BLOCK_ROWS, K))
    return blocks_B_1_K.sum((0, 1), dtype=torch.float64) + (weights_M[end:] @ posteriors_M_K[end:]).double()


def _without_negligible(posteriors_M_K: Tensor) -> Tensor:
    return torch.threshold_(posteriors_M_K, NEGLIGIBLE, 0.0)


def _where_in(cumulative_K_J: Tensor, uniforms_K_n: Tensor) -> tuple[Tensor, Tensor]:
    """Find which of J intervals each uniform number falls into, with widths proportional to their masses.

    Args:
        cumulative_K_J: Cumulative masses. They need not sum to 1.
        uniforms_K_n: Numbers from 0 to 1.

    Returns:
        The interval, always one with a positive mass, and the relative position of the number in it, from 0 to 1.
    """
    below_one = 1 - torch.finfo(torch.float64).eps
    masses_K_n = uniforms_K_n.clamp_max(below_one) * cumulative_K_J[:, -1:]
    places_K_n = torch.searchsorted(cumulative_K_J, masses_K_n, right=True)
    above_K_n = cumulative_K_J.gather(1, places_K_n)
    below_K_n = cumulative_K_J.gather(1, (places_K_n - 1).clamp_min(0)).masked_fill_(places_K_n == 0, 0.0)
    return places_K_n, (masses_K_n - below_K_n) / (above_K_n - below_K_n)


def _uniforms(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(device)
