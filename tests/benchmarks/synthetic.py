"""A model whose posterior can be sampled afresh, and a judge of how much a batch of points tells about it.

Axes: n points, D features, K posterior samples, C classes, M configurations of the labels of t points.

The judge shares no code with the library. It is what all methods of a benchmark are compared by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1000
"""Points are made in blocks of so many, each from a seed of its own, so that any can be made again alone."""


@dataclass(frozen=True)
class SoftmaxModel:
    """Classify points by a linear softmax whose weights have a Gaussian posterior around a random mean.

    Attributes:
        num_classes: Number of classes C.
        spread: Standard deviation of the posterior of each weight; the mean of each was drawn from N(0, 1).
        num_features: Number of features D, each drawn from N(0, 1).
        seed: What the points and the mean of the posterior are drawn from.
    """

    num_classes: int
    spread: float = 0.25
    num_features: int = 16
    seed: int = 0

    def block(self, number: int) -> Tensor:
        """Return the features ``[BLOCK, D]`` of one block of points."""
        return torch.randn(BLOCK, self.num_features, generator=seeded(self.seed, 1, number))

    def points(self, positions: Sequence[int]) -> Tensor:
        """Return the features ``[n, D]`` of the points at any positions."""
        return torch.stack([self.block(position // BLOCK)[position % BLOCK] for position in positions])

    def posterior_samples(self, num_samples: int, seed: int) -> Tensor:
        """Draw weights ``[K, D, C]``; each seed gives other samples."""
        shape = (self.num_features, self.num_classes)
        mean_D_C = torch.randn(shape, generator=seeded(self.seed, 2))
        noise_K_D_C = torch.randn((num_samples, *shape), generator=seeded(self.seed, 3, seed))
        return mean_D_C + self.spread * noise_K_D_C

    def chunks(self, num_points: int, weights_K_D_C: Tensor, chunk_size: int) -> Iterator[Tensor]:
        """Yield the log-probabilities of all points, at most `chunk_size` at a time."""
        for start in range(0, num_points, BLOCK):
            block_n_D = self.block(start // BLOCK)[: num_points - start]
            for features_n_D in block_n_D.split(chunk_size):
                yield log_probs(features_n_D, weights_K_D_C)


def log_probs(features_n_D: Tensor, weights_K_D_C: Tensor) -> Tensor:
    """Return log-probabilities ``[n, K, C]``."""
    K, D, C = weights_K_D_C.shape
    logits_n_K_C = (features_n_D @ weights_K_D_C.transpose(0, 1).reshape(D, K * C)).view(-1, K, C)
    return logits_n_K_C.sub_(logits_n_K_C.logsumexp(-1, keepdim=True))


def joint_information(
    log_probs_t_K_C: Tensor, seeds: Sequence[Sequence[int]], num_configurations: int, chunk_size: int = 500
) -> tuple[float, float]:
    """Estimate how many nats the labels of t points together tell about which of K posterior samples is right.

    Each sample is in turn taken for the right one and labels are drawn from it. What they tell is log K less the
    entropy of the posterior over the samples given these labels.

    Args:
        log_probs_t_K_C: Log-probabilities ``[t, K, C]`` of the points.
        seeds: For each point what its labels are drawn from. A point that two batches share is given the same labels
            in both, so that they can be told apart more closely than either is known.
        num_configurations: How often to draw labels for all points.
        chunk_size: How many configurations to hold at a time.

    Returns:
        The information and its standard error over the configurations, both in nats.

    Two questions that halve four samples, each in another way, tell all; twice the same question tells half of it:

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> log_probs_t_K_C = torch.stack([p, 1 - p], dim=-1).clamp_min(1e-30).log()
    >>> round(joint_information(log_probs_t_K_C, [[0], [1]], 100)[0], 4), round(2 * math.log(2), 4)
    (1.3863, 1.3863)
    >>> round(joint_information(log_probs_t_K_C[[0, 0]], [[0], [0]], 100)[0], 4)
    0.6931
    """
    _, K, C = log_probs_t_K_C.shape
    log_probs_t_K_C = log_probs_t_K_C.double()
    right_M = torch.arange(num_configurations) * K // num_configurations
    uniforms_t_M = torch.stack([torch.rand(num_configurations, generator=seeded(*seed)) for seed in seeds]).double()
    entropies = []
    for right_m, uniforms_t_m in zip(right_M.split(chunk_size), uniforms_t_M.split(chunk_size, dim=1), strict=True):
        log_joint_m_K = log_probs_t_K_C.new_zeros(len(right_m), K)
        for log_probs_K_C, uniforms_m in zip(log_probs_t_K_C, uniforms_t_m, strict=True):
            cumulative_m_C = log_probs_K_C.exp().cumsum(1)[right_m]
            labels_m = torch.searchsorted(cumulative_m_C, uniforms_m[:, None]).flatten().clamp_max(C - 1)
            log_joint_m_K += log_probs_K_C.T.contiguous()[labels_m]
        log_posterior_m_K = log_joint_m_K.log_softmax(1)
        entropies.append(-(log_posterior_m_K.exp() * log_posterior_m_K).sum(1))
    entropies_M = torch.cat(entropies)
    return math.log(K) - entropies_M.mean().item(), entropies_M.std().item() / math.sqrt(num_configurations)


def seeded(*parts: int) -> torch.Generator:
    """Return a generator for a tuple of small numbers, other for each tuple."""
    seed = 0
    for part in parts:
        seed = (seed * 1_000_003 + part + 1) % 2**63
    return torch.Generator().manual_seed(seed)
