"""The information-theoretic formulas that acquisition functions share.

Axes: N points, K posterior samples, C classes. Everything is in nats, and probabilities are given as logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK_VALUES = 2**18
"""The number of probabilities to work on at a time, so intermediate results stay in cache."""


def entropy(log_probs: Tensor) -> Tensor:
    """Return the entropy of distributions over classes.

    Args:
        log_probs: Log-probabilities ``[..., C]``; ``-inf`` stands for a probability of zero.

    Returns:
        Entropies ``[...]`` in nats, between 0 and log C.

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log()).tolist()
    [0.6931471824645996, 0.0]
    """
    return (log_probs.exp() * -log_probs.masked_fill(log_probs == -math.inf, 0.0)).sum(-1)


def posterior_mean(log_probs_N_K_C: Tensor) -> Tensor:
    """Average the probabilities (not the logits) of the posterior samples.

    Returns:
        Log-probabilities ``[N, C]`` of the posterior predictive distribution.

    >>> posterior_mean(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).log()).exp().tolist()
    [[0.5, 0.5]]
    """
    return torch.logsumexp(log_probs_N_K_C, dim=1) - math.log(log_probs_N_K_C.shape[1])


def conditional_entropy(log_probs_N_K_C: Tensor) -> Tensor:
    """Average the entropy over the posterior samples: the uncertainty that no label can remove.

    Returns:
        Entropies ``[N]`` in nats.

    >>> conditional_entropy(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).log()).tolist()
    [0.0]
    """
    return entropy(log_probs_N_K_C).mean(1)


def mutual_information(log_probs_N_K_C: Tensor) -> Tensor:
    """Return the mutual information of label and weights: entropy of the mean minus mean of the entropies.

    Returns:
        Mutual information ``[N]`` in nats, between 0 and the smaller of log C and log K.

    Two samples that disagree give log 2, two that agree give 0:

    >>> p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> mutual_information(p.log()).tolist()
    [0.6931471824645996, 0.0]
    """
    if len(log_probs_N_K_C) == 0:
        return log_probs_N_K_C.new_empty(0)
    num_points = max(1, BLOCK_VALUES // log_probs_N_K_C[0].numel())
    return torch.cat(
        [_mutual_information(log_probs_n_K_C) for log_probs_n_K_C in torch.split(log_probs_N_K_C, num_points)]
    )


def _mutual_information(log_probs_n_K_C: Tensor) -> Tensor:
    """Subtract conditional entropy from entropy in few passes; tiny probabilities are raised to the smallest float."""
    log_probs_n_K_C = log_probs_n_K_C.clamp_min(math.log(torch.finfo(log_probs_n_K_C.dtype).tiny))
    probs_n_K_C = log_probs_n_K_C.exp()
    mean_n_C = probs_n_K_C.mean(1)
    negative_conditional_n = probs_n_K_C.mul_(log_probs_n_K_C).sum((1, 2)) / probs_n_K_C.shape[1]
    return (negative_conditional_n - (mean_n_C * mean_n_C.log()).sum(1)).clamp_min(0.0)
