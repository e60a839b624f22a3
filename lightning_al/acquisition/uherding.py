"""UHerding: query points that cover the pool where the model is uncertain.

Axes: N points, n labelled ones, K posterior samples, C classes, D feature dimensions, b batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, checked_log_probs, score_chunks
from lightning_al.acquisition.features import features_of, labelled_features_of
from lightning_al.acquisition.max_herding import checked_bandwidth, max_herding
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_labelled, checked_table
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import plain, shown

BLOCK_ROWS = 1024
"""The number of labelled points on each side of a block of distances."""

Bandwidth = float | Literal["adaptive"]


def uherding(
    features_N_D: Tensor,
    log_probs_N_K_C: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    bandwidth: Bandwidth = 1.0,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Select b points greedily, each for how much it raises the coverage of uncertain points.

    It is `max_herding` with the weights u_n = 1 - (p1 - p2), where p1 and p2 are the highest probabilities of the
    posterior mean p at temperature T: p_c ** (1 / T), normalised.

    Wonho Bae, Gabriel L. Oliveira, Danica J. Sutherland, "Uncertainty Herding: One Active Learning Method for All Label
    Budgets", ICLR 2025.

    The authors fit T to the least calibration error on validation labels. There are none here, and the points that the
    model was trained on would make T too low. So T is fixed. On the digits (logistic regression on pixels, 10 to 100
    labels, b = 10, 8 seeds, random start, ``python -m tests.benchmarks.coverage``), the normalised area under the
    learning curve is .882 for T = 1, .880 for 2 and .876 for 4, and .879 with the authors' adaptive bandwidth in place
    of h = 1; the standard errors are .003, so these settings can hardly be told apart.

    Use it from a few labels a class on, as long as labels are worth more than computing time: margin sampling has .837
    there and `max_herding` .874. It relies on features in which classes are apart.

    Time and memory are those of `max_herding`, and O(N K C) for the weights.

    Args:
        features_N_D: Features ``[N, D]``. The default bandwidth is meant for rows of length 1.
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled_n_D: Features ``[n, D]`` of the points labelled so far; by default none.
        bandwidth: The bandwidth h of the kernel, or "adaptive" for the smallest distance between two labelled points
            that differ, and 1 where there are no two. This one is the authors'.
        temperature: The temperature T, above 0. A high one makes the weights more equal.
        generator: Its initial seed breaks ties. By default a new one with seed 0, so calls agree.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are the gains, as `max_herding` defines them.

    Raises:
        TypeError: If a table is not a tensor.
        ValueError: If a table does not pass the checks of `max_herding` or `bald`, or if the bandwidth, the temperature
            or b is out of range.

    The model is sure at the first place, so the second is covered, where one point has p = (0.75, 0.25) and u = 0.5:

    >>> p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.75, 0.25]])
    >>> selection = uherding(torch.tensor([[0.0], [0.0], [4.0]]), p.log().unsqueeze(1), 1)
    >>> selection.positions.tolist(), selection.scores
    ([2], tensor([0.1667]))
    """
    features_N_D = checked_table(features_N_D, "features", who="uherding")
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="uherding")
    if len(features_N_D) != len(log_probs_N_K_C):
        raise ValueError(
            f"`uherding` expected features and log-probabilities of the same points, but got {len(features_N_D)} rows "
            f"of features and {len(log_probs_N_K_C)} of log-probabilities. Pass a row of both for each point."
        )
    if labelled_n_D is not None and len(labelled_n_D):
        labelled_n_D = checked_labelled(labelled_n_D, features_N_D, who="uherding")
    weights_N = _uncertainties(log_probs_N_K_C, temperature=_checked_temperature("uherding", temperature))
    h = _found_bandwidth(_checked_bandwidth("uherding", bandwidth), labelled_n_D)
    return max_herding(
        features_N_D, b, labelled_n_D=labelled_n_D, weights_N=weights_N, bandwidth=h, generator=generator
    )


def _uncertainties(log_probs_N_K_C: Tensor, *, temperature: float) -> Tensor:
    """Return 1 - (p1 - p2) of the posterior mean at a temperature ``[N]``."""
    probs_N_C = (posterior_mean(log_probs_N_K_C) / temperature).softmax(-1)
    first_N, second_N = probs_N_C.topk(2).values.unbind(-1)
    return (1 - (first_N - second_N)).clamp_min_(0.0)


def _found_bandwidth(bandwidth: Bandwidth, labelled_n_D: Tensor | None) -> float:
    if bandwidth != "adaptive":
        return bandwidth
    smallest = math.inf if labelled_n_D is None else _smallest_distance(labelled_n_D)
    return smallest if smallest < math.inf else 1.0


def _smallest_distance(features_n_D: Tensor) -> float:
    """Return the smallest distance between two points that differ by more than rounding, or infinity."""
    if len(features_n_D) < 2:
        return math.inf
    rounding = torch.finfo(features_n_D.dtype).eps ** 0.5 * float(torch.linalg.vector_norm(features_n_D, dim=1).amax())
    smallest = math.inf
    blocks = features_n_D.split(BLOCK_ROWS)
    for place, rows_n_D in enumerate(blocks):
        for columns_m_D in blocks[place:]:
            # From differences, since equal rows have to have a distance of 0.
            distances_n_m = torch.cdist(rows_n_D, columns_m_D, compute_mode="donot_use_mm_for_euclid_dist")
            distances_n_m.masked_fill_(distances_n_m <= rounding, math.inf)
            smallest = min(smallest, float(distances_n_m.amin()))
    return smallest


def _checked_bandwidth(who: str, bandwidth: Bandwidth) -> Bandwidth:
    return "adaptive" if isinstance(bandwidth, str) and bandwidth == "adaptive" else checked_bandwidth(who, bandwidth)


def _checked_temperature(who: str, temperature: float) -> float:
    number = plain(temperature)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ValueError(
            f"`{who}` expected a temperature above 0, but got {shown(temperature)}. Pass 1.0 to leave the "
            "posterior mean as it is."
        )
    return float(number)


@register("uherding")
@final
@dataclass(frozen=True)
class UHerding(Acquisition):
    """Select candidates that cover the pool where the model is uncertain, in rows of length 1; see `uherding`.

    It reads features or embeddings, and log-probabilities. Where nothing is labelled, it selects as `MaxHerding` does,
    and reads no predictions.

    Args:
        bandwidth: The bandwidth h of the kernel exp(-d^2 / h^2), or "adaptive" for the smallest distance between two
            labelled points.
        temperature: The temperature T of the probabilities.

    Raises:
        ValueError: If the bandwidth or the temperature is not a number above 0.

    >>> from lightning_al import Points
    >>> labelled = Points(1, torch.empty(1, 1, 2), features=torch.tensor([[-1.0, 0.0]]))
    >>> p = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    >>> candidates = Candidates(2, p.log(), features=torch.eye(2), labelled=labelled)
    >>> UHerding().select(candidates, 1, torch.Generator()).positions.tolist()
    [1]
    """

    bandwidth: Bandwidth = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", _checked_bandwidth("UHerding", self.bandwidth))
        object.__setattr__(self, "temperature", _checked_temperature("UHerding", self.temperature))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the gains in coverage.

        Raises:
            ValueError: If the candidates have neither features nor embeddings, if one is NaN or infinite, or if
                log-probabilities are NaN or above 0.
        """
        labelled_n_D = labelled_features_of(candidates)
        formula = partial(_uncertainties, temperature=self.temperature)
        return max_herding(
            features_of(candidates),
            b,
            labelled_n_D=labelled_n_D,
            weights_N=None if labelled_n_D is None else score_chunks(candidates, formula, who="UHerding"),
            bandwidth=_found_bandwidth(self.bandwidth, labelled_n_D),
            generator=generator,
        )
