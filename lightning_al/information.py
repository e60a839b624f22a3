"""The information-theoretic formulas that acquisition functions share.

Axes: N points, K posterior samples, C classes. Everything is in nats, and probabilities come as logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(log_probs: Tensor) -> Tensor:
    """Measure how uncertain a distribution over classes is.

    Args:
        log_probs: Log-probabilities ``[..., C]``; ``-inf`` stands for a probability of zero.

    Returns:
        Entropies ``[...]`` in nats, between 0 and log C.

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log()).tolist()
    [0.6931471824645996, 0.0]
    """
    return (log_probs.exp() * -log_probs.masked_fill(log_probs == -math.inf, 0.0)).sum(-1)


def posterior_mean(log_probs_N_K_C: Tensor) -> Tensor:
    """Average the posterior samples' probabilities (never their logits).

    Returns:
        Log-probabilities ``[N, C]`` of the posterior predictive distribution.

    >>> posterior_mean(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).log()).exp().tolist()
    [[0.5, 0.5]]
    """
    return torch.logsumexp(log_probs_N_K_C, dim=1) - math.log(log_probs_N_K_C.shape[1])


def conditional_entropy(log_probs_N_K_C: Tensor) -> Tensor:
    """Average the entropy within each posterior sample: the noise that no label can remove.

    Returns:
        Entropies ``[N]`` in nats.

    >>> conditional_entropy(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).log()).tolist()
    [0.0]
    """
    return entropy(log_probs_N_K_C).mean(1)


def mutual_information(log_probs_N_K_C: Tensor) -> Tensor:
    """Measure what a point's label would tell about the weights: entropy of the mean less mean of the entropies.

    Returns:
        Mutual information ``[N]`` in nats, between 0 and the smaller of log C and log K.

    Two samples that flatly disagree give log 2, two that agree give 0:

    >>> p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> mutual_information(p.log()).tolist()
    [0.6931471824645996, 0.0]
    """
    information = entropy(posterior_mean(log_probs_N_K_C)) - conditional_entropy(log_probs_N_K_C)
    return information.clamp_min(0.0)
