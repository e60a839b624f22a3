"""DropQuery: query a spread of the points whose predictions change under dropout.

Axes: N points, K posterior samples, C classes, D feature dimensions, b batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, at_most, checked_log_probs, score_chunks
from lightning_al.acquisition.clusters import Clusters, k_means
from lightning_al.acquisition.features import features_of
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_table
from lightning_al.acquisition.ties import tie_keys
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number

ROUNDING = 16
"""Distances that differ by less count as equal, in units of the last place of the longest feature."""


def dropquery(
    log_probs_N_K_C: Tensor,
    features_N_D: Tensor,
    b: int,
    *,
    min_uncertain: int = 25,
    generator: torch.Generator,
) -> Selection:
    """Cluster the points on whose class the posterior samples disagree, and select the point nearest to each centre.

    A sample disagrees on a point if its likeliest class is not that of the posterior mean. A point is uncertain if more
    than t samples disagree. The threshold t is K / 2, rounded down, or the largest smaller number for which
    `min_uncertain` b points are uncertain, or 0. The uncertain points are clustered by k-means into b clusters of
    features. If there are no more than b of them, all are selected, and others at random.

    Sanket Rajan Gupte, Josiah Aklilu, Jeffrey J. Nirschl, Serena Yeung-Levy, "Revisiting Active Learning in the Era of
    Vision Foundation Models", TMLR 2024. The paper drops 75 % of the features at the input of a linear head, three
    times, and compares with the head without dropout. Here, the posterior samples stand for these draws, and their mean
    for the head. Samples seldom disagree with their own mean, so the threshold is usually lowered, as in the authors'
    code.

    Time is O(N K C), and O(n D b) a step of k-means for n uncertain points; memory is O(n D): 1.6 s and 85 MB for
    N = 100,000, K = 20, C = 10, D = 128, b = 100 on one core. Use it with frozen features of a foundation model and a
    head with dropout. It needs features in which distances mean something.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero.
        features_N_D: Features ``[N, D]``.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        min_uncertain: The number of uncertain points for each pick down to which the threshold is lowered.
        generator: A CPU generator, which seeds k-means; its initial seed also breaks ties.

    Returns:
        Positions ``[b]``, those of the largest clusters first. The scores are the shares of samples that disagree.

    Raises:
        ValueError: If there are fewer than 2 posterior samples, if a number is not one that its table may have, or if b
            or `min_uncertain` is below 1.

    One of two samples disagrees on the last two points, which are two clusters:

    >>> sure, unsure = [[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.4, 0.6]]
    >>> features = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> log_probs = torch.tensor([sure, sure, unsure, unsure]).log()
    >>> selection = dropquery(log_probs, features, 2, generator=torch.Generator().manual_seed(0))
    >>> sorted(selection.positions.tolist()), selection.scores.tolist()
    ([2, 3], [0.5, 0.5])
    """
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="dropquery", min_samples=2)
    num_samples = log_probs_N_K_C.shape[1]
    return _select(num_disagreeing(log_probs_N_K_C), num_samples, features_N_D, b, min_uncertain, generator)


def num_disagreeing(log_probs_N_K_C: Tensor) -> Tensor:
    """Return for each point ``[N]`` how many samples predict another class than the posterior mean.

    >>> num_disagreeing(torch.tensor([[[0.9, 0.1], [0.4, 0.6]]]).log()).tolist()
    [1]
    """
    of_mean_N = posterior_mean(log_probs_N_K_C).argmax(1)
    return (log_probs_N_K_C.argmax(2) != of_mean_N.unsqueeze(1)).sum(1)


def _select(
    num_disagreeing_N: Tensor,
    num_samples: int,
    features_N_D: Tensor,
    b: int,
    min_uncertain: int,
    generator: torch.Generator,
) -> Selection:
    features_N_D = checked_table(features_N_D, "features", who="dropquery")
    min_uncertain = whole_number("DropQuery", "min_uncertain", min_uncertain)
    N = len(num_disagreeing_N)
    if len(features_N_D) != N:
        raise ValueError(
            f"`dropquery` expected features of the {N} points with log-probabilities, but got {len(features_N_D)} "
            "rows. Pass both tables of the same points."
        )
    b = at_most(b, N)
    keys_N = tie_keys(N, generator).to(features_N_D.device)
    num_disagreeing_N = num_disagreeing_N.to(features_N_D.device)
    uncertain = _uncertain(num_disagreeing_N, num_samples // 2, min_uncertain * b)
    if len(uncertain) > b:
        # k-means runs on the CPU, and there distances are the same whatever device has the features.
        places = _spread(features_N_D[uncertain].cpu(), keys_N[uncertain].cpu(), b, generator)
        positions = uncertain[places.to(uncertain.device)]
    else:
        is_certain_N = torch.ones_like(keys_N, dtype=torch.bool)
        is_certain_N[uncertain] = False
        certain = is_certain_N.nonzero().flatten()
        positions = torch.cat([uncertain, certain[keys_N[certain].argsort()]])[:b]
    return Selection(positions, (num_disagreeing_N[positions] / num_samples).to(features_N_D.dtype))


def _uncertain(num_disagreeing_N: Tensor, threshold: int, least: int) -> Tensor:
    """Return the positions at which more samples disagree than the largest threshold that leaves enough points."""
    counts = num_disagreeing_N.bincount(minlength=threshold + 1)
    num_above = (counts.sum() - counts.cumsum(0)).tolist()
    while threshold > 0 and num_above[threshold] < least:
        threshold -= 1
    return (num_disagreeing_N > threshold).nonzero().flatten()


def _spread(features_n_D: Tensor, keys_n: Tensor, b: int, generator: torch.Generator) -> Tensor:
    """Return b places: for each cluster the nearest point to its centre, those of the largest clusters first.

    Equal points may leave clusters empty. Then the second nearest points follow, and so on.
    """
    clusters = k_means(features_n_D, b, generator)
    sizes_n = clusters.numbers_N.bincount(minlength=b)[clusters.numbers_N]
    by_key = keys_n.argsort()
    by_cluster = by_key[_levels(clusters, features_n_D)[by_key].argsort(stable=True)]
    numbers_n = clusters.numbers_N[by_cluster]
    firsts_n = torch.searchsorted(numbers_n, numbers_n)
    turns_n = torch.empty_like(by_cluster)
    turns_n[by_cluster] = torch.arange(len(numbers_n), device=numbers_n.device) - firsts_n
    # Of clusters of one size, the lowest key comes first: where points are equal, rounding chooses a cluster's number.
    largest_first = by_key[(-sizes_n[by_key]).argsort(stable=True)]
    order = largest_first[turns_n[largest_first].argsort(stable=True)]
    return order[:b]


def _levels(clusters: Clusters, features_n_D: Tensor) -> Tensor:
    """Number the points by cluster and by distance to its centre, from the nearest on.

    Points of a cluster whose distances differ by no more than rounding have one number ``[n]``. The two points of a
    cluster of two are as far from its centre, so rounding would choose one of them.
    """
    distances_n = clusters.distances_to_centres(features_n_D)
    nearest_first = distances_n.argsort()
    by_cluster = nearest_first[clusters.numbers_N[nearest_first].argsort(stable=True)]
    rounding = ROUNDING * torch.finfo(distances_n.dtype).eps * torch.linalg.vector_norm(features_n_D, dim=1).max()
    is_next_n = (distances_n[by_cluster].diff() > rounding) | (clusters.numbers_N[by_cluster].diff() > 0)
    levels_n = torch.zeros_like(by_cluster)
    levels_n[by_cluster[1:]] = is_next_n.cumsum(0)
    return levels_n


@register("dropquery")
@final
@dataclass(frozen=True)
class DropQuery(Acquisition):
    """Select a spread of the candidates on whose class the posterior samples disagree; see `dropquery`.

    Features are the points' own or the network's embeddings, scaled to length 1.

    Args:
        min_uncertain: The number of uncertain points for each pick down to which the threshold is lowered.

    Raises:
        ValueError: If it is below 1.

    >>> sure, unsure = [[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.4, 0.6]]
    >>> candidates = Candidates(2, torch.tensor([sure, unsure]).log(), features=torch.eye(2))
    >>> DropQuery().select(candidates, 1, torch.Generator().manual_seed(0)).positions.tolist()
    [1]
    """

    min_samples: ClassVar[int] = 2
    min_uncertain: int = 25

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_uncertain", whole_number("DropQuery", "min_uncertain", self.min_uncertain))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the shares of samples that disagree.

        Raises:
            ValueError: If log-probabilities are NaN or above 0, or if there are no features.
        """
        num_samples = 1

        def disagreement(chunk_n_K_C: Tensor) -> Tensor:
            nonlocal num_samples
            num_samples = chunk_n_K_C.shape[1]
            return num_disagreeing(chunk_n_K_C)

        num_disagreeing_N = score_chunks(candidates, disagreement, who="dropquery", min_samples=2).long()
        return _select(num_disagreeing_N, num_samples, features_of(candidates), b, self.min_uncertain, generator)
