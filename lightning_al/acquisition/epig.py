"""EPIG: query points whose label would tell most about the predictions at the inputs that matter.

Axes: N points, n of them, T target inputs, K posterior samples, C classes, M configurations of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, checked_log_probs, score_chunks
from lightning_al.acquisition.batchbald.configurations import NEGLIGIBLE, Configurations
from lightning_al.acquisition.batchbald.gains import exact, num_per_block
from lightning_al.acquisition.registry import register
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number

BLOCK_CONFIGURATIONS = 256
"""The number of labels of targets to work on at a time, so intermediate results stay in cache."""


def epig(log_probs_N_K_C: Tensor, log_probs_T_K_C: Tensor) -> Tensor:
    """Return how much each point's label would tell about the labels of the target inputs.

    Freddie Bickford Smith, Andreas Kirsch, Sebastian Farquhar, Yarin Gal, Adam Foster, Tom Rainforth,
    "Prediction-Oriented Bayesian Active Learning", AISTATS 2023.

    EPIG(i) = mean over targets of I(y_i; y*), from the joint probabilities mean_k p[i, k, c] p[*, k, c']. `bald` counts
    all that a label tells about the weights, and so prefers odd points, which say much about weights that no other
    prediction depends on. EPIG counts only what changes predictions at the targets. Prefer it if the pool has many
    points that do not matter, or other proportions of classes than the data that the model is for. It cannot help if
    the targets are a poor sample of those data.

    Time is O(N T K C^2), which is T C times that of `bald`; memory is O(T K C) besides the tables.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero. Sample k must be
            the same weights for every point and every target.
        log_probs_T_K_C: Log-probabilities ``[T, K, C]`` of the target inputs.

    Returns:
        Expected predictive information gain ``[N]`` in nats, between 0 and the BALD score.

    Raises:
        ValueError: If there are fewer than 2 posterior samples or no targets, if points and targets have other numbers
            of samples, or if log-probabilities are NaN or above 0.

    The first point asks which half of the samples is right, on which the target depends. The second asks another
    question, of the same BALD score:

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> log_probs_N_K_C = torch.stack([p, 1 - p], dim=-1).log()
    >>> [round(score, 4) for score in epig(log_probs_N_K_C, log_probs_N_K_C[:1]).tolist()]
    [0.6931, 0.0]
    """
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="epig", min_samples=2)
    return _epig(log_probs_N_K_C, target_probs(log_probs_T_K_C, log_probs_N_K_C))


@register("epig")
@final
@dataclass(frozen=True)
class EPIG(ScoreAcquisition):
    """Score a candidate by what its label would tell about the predictions at the target inputs, in nats.

    The target inputs are those of ``ActiveDataModule(target_inputs=...)``, and by default the pool. Choose inputs like
    those that the model is for: an unbalanced pool is the wrong target for a balanced test set. The method sees no
    labels of the targets. If they are the test inputs, the result is transductive: say so when you report it.

    The b highest scores may count the same information b times; `BatchEPIG` counts it once.

    Args:
        num_target_inputs: The number of target inputs to draw, anew in each round. If there are fewer, all are used.

    Raises:
        ValueError: If `num_target_inputs` is below 1.

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> log_probs_N_K_C = torch.stack([p, 1 - p], dim=-1).log()
    >>> candidates = Candidates(2, log_probs_N_K_C, target_inputs=Candidates(1, log_probs_N_K_C[1:]))
    >>> EPIG().select(candidates, 1, torch.Generator()).positions.tolist()
    [1]
    """

    min_samples: ClassVar[int] = 2
    lowest_score: ClassVar[float] = 0.0
    num_target_inputs: int = 100

    def __post_init__(self) -> None:
        number = whole_number("EPIG", "num_target_inputs", self.num_target_inputs)
        object.__setattr__(self, "num_target_inputs", number)

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return the expected predictive information gain ``[N]`` in nats; `epig` says more."""
        if len(candidates) == 0:
            return torch.empty(0)
        log_probs_T_K_C = drawn_targets(candidates, self.num_target_inputs, generator)
        return score_chunks(
            candidates,
            lambda log_probs_n_K_C: _epig(log_probs_n_K_C, target_probs(log_probs_T_K_C, log_probs_n_K_C)),
            who="epig",
            min_samples=self.min_samples,
        )


def drawn_targets(candidates: Candidates, num_target_inputs: int, generator: torch.Generator) -> Tensor:
    """Return the log-probabilities ``[T, K, C]`` of target inputs drawn without replacement."""
    targets = candidates.target_inputs
    if len(targets) <= num_target_inputs:
        return targets.log_probs_N_K_C
    places = torch.randperm(len(targets), generator=generator)[:num_target_inputs]
    return targets.at(places.sort().values).log_probs_N_K_C


def target_probs(log_probs_T_K_C: Tensor, log_probs_N_K_C: Tensor) -> Tensor:
    """Return the probabilities ``[T, K, C]`` of target inputs in float64, on the device of the points.

    Raises:
        ValueError: If there are no targets, or if they have another number of posterior samples than the points.
    """
    log_probs_T_K_C = checked_log_probs(log_probs_T_K_C, who="epig(log_probs_T_K_C=...)", min_samples=2)
    if len(log_probs_T_K_C) == 0:
        raise ValueError("`epig` measures predictions at target inputs, but got none of them. Pass at least 1.")
    if log_probs_T_K_C.shape[1] != log_probs_N_K_C.shape[1]:
        raise ValueError(
            "`epig` expected the same posterior samples for points and target inputs, but got "
            f"{log_probs_N_K_C.shape[1]} for points and {log_probs_T_K_C.shape[1]} for target inputs. Pass predictions "
            "of both by the same weights."
        )
    return exact(log_probs_T_K_C.to(log_probs_N_K_C.device)).exp()


def after_target_labels(configurations: Configurations, probs_T_K_C: Tensor) -> Configurations:
    """Continue each configuration by each label of each target, as if one target, drawn at random, were labelled.

    Returns:
        At most M T C configurations, without those of no probability.
    """
    joint_M_T_C_K = configurations.posteriors_M_K[:, None, None, :].double() * probs_T_K_C.transpose(1, 2)
    evidence_M_T_C = joint_M_T_C_K.sum(-1)
    weights_M_T_C = configurations.weights_M[:, None, None].double() * evidence_M_T_C / len(probs_T_K_C)
    happens_M_T_C = weights_M_T_C > NEGLIGIBLE
    posteriors_m_K = joint_M_T_C_K[happens_M_T_C] / evidence_M_T_C[happens_M_T_C][:, None]
    return Configurations(weights_M_T_C[happens_M_T_C], torch.threshold_(posteriors_m_K, NEGLIGIBLE, 0.0))


def _epig(log_probs_N_K_C: Tensor, probs_T_K_C: Tensor) -> Tensor:
    """Return the entropy of each label, less what is left of it on average once a target's label is known."""
    _, K, C = log_probs_N_K_C.shape
    after = after_target_labels(Configurations.before_any_label(K, probs_T_K_C.device), probs_T_K_C)
    weights = after.weights_M.to(log_probs_N_K_C).split(BLOCK_CONFIGURATIONS)
    posteriors = after.posteriors_M_K.to(log_probs_N_K_C).split(BLOCK_CONFIGURATIONS)
    scores = []
    for log_probs_n_K_C in log_probs_N_K_C.split(num_per_block(C * BLOCK_CONFIGURATIONS, log_probs_N_K_C)):
        probs_n_C_K = log_probs_n_K_C.transpose(1, 2).clamp_min(math.log(NEGLIGIBLE)).exp().contiguous()
        mean_n_C = probs_n_C_K.mean(2)
        gained_n_C = -mean_n_C * mean_n_C.log()
        for weights_m, posteriors_m_K in zip(weights, posteriors, strict=True):
            joint_n_C_m = probs_n_C_K @ posteriors_m_K.T
            # Not a product of matrix and vector, which may round equal rows differently, so that they do not tie.
            gained_n_C += joint_n_C_m.log().mul_(joint_n_C_m).mul_(weights_m).sum(2)
        scores.append(gained_n_C.sum(1).clamp_min(0.0))
    return torch.cat(scores)
