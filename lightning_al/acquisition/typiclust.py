"""TypiClust: query the typical points of clusters that have no labels yet.

Axes: N unlabelled points, n labelled ones, A of both, D feature dimensions, b batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ANY_TASK, Acquisition, Selection, at_most
from lightning_al.acquisition.clusters import k_means
from lightning_al.acquisition.features import features_of, labelled_features_of
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_labelled, checked_table
from lightning_al.acquisition.ties import in_order, tie_keys
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number

SMALL = 5
"""The number of points of a cluster that is still too small to be queried before the others."""

SMALLEST_DISTANCE = 1e-5
"""What is added to mean distances, so that the typicality of equal points is finite."""

BLOCK_VALUES = 2**22
"""The number of distances to hold at a time."""


def typiclust(
    features_N_D: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    max_clusters: int = 500,
    num_neighbours: int = 20,
    generator: torch.Generator,
) -> Selection:
    """Select the most typical point of each of the b largest clusters without labels.

    All points, labelled or not, are clustered by k-means into min(n + b, `max_clusters`) clusters. A point's typicality
    is 1 / (mean distance to its `num_neighbours` nearest neighbours in its cluster), or to the nearest half of the
    cluster if that is smaller. Clusters with the fewest labels are visited first, and of these the largest. Each gives
    its most typical point. If there are more picks than clusters, the visits start again. Clusters of 5 or fewer points
    come last.

    Guy Hacohen, Avihu Dekel, Daphna Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low
    Budgets", ICML 2022.

    Time is that of k-means, O(A D k) a step for k clusters (see `k_means`), and O(D A_c^2) for each visited cluster of
    A_c points; memory is O(A D): 5 s and 60 MB for N = 100,000, D = 128, b = 100 on one core. Neighbours are exact,
    so a single cluster of 100,000 points takes minutes. Use it to start from no labels, or very few, with good
    features. MaxHerding was better in our measurements. With more labels, it is worse than random selection in
    published benchmarks.

    Args:
        features_N_D: Features ``[N, D]`` of the unlabelled points.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled_n_D: Features ``[n, D]`` of the labelled points, if there are any.
        max_clusters: The most clusters.
        num_neighbours: The most neighbours that typicality averages over.
        generator: A CPU generator, which seeds k-means; its initial seed also breaks ties.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are typicalities, 1 / (1e-5 + mean distance).

    Raises:
        ValueError: If a number is not finite, or if b, `max_clusters` or `num_neighbours` is below 1.

    Of each cluster of six points, the second is the most typical one, at a mean distance of 1 to its two neighbours:

    >>> points = torch.tensor([0.0, 1.0, 2.0, 3.5, 5.0, 7.0])
    >>> points = torch.cat([points, 100 + points]).unsqueeze(1)
    >>> selection = typiclust(points, 2, num_neighbours=2, generator=torch.Generator().manual_seed(0))
    >>> sorted(position % 6 for position in selection.positions.tolist())
    [1, 1]
    """
    features_N_D = checked_table(features_N_D, "features", who="typiclust")
    max_clusters = whole_number("TypiClust", "max_clusters", max_clusters)
    num_neighbours = whole_number("TypiClust", "num_neighbours", num_neighbours)
    N, device = len(features_N_D), features_N_D.device
    b = at_most(b, N)
    if b == 0:
        return Selection(torch.empty(0, dtype=torch.int64), torch.empty(0))
    features_A_D = features_N_D
    if labelled_n_D is not None and len(labelled_n_D) > 0:
        features_A_D = torch.cat([features_N_D, checked_labelled(labelled_n_D, features_N_D, who="typiclust")])
    num_labelled = len(features_A_D) - N

    numbers_A = k_means(features_A_D, min(num_labelled + b, max_clusters), generator).numbers_N
    keys_N = tie_keys(N, generator).to(device)
    ranked = (
        _ranked(features_A_D, (numbers_A == number).nonzero().flatten(), keys_N, num_neighbours)
        for number in _in_order_of_visits(numbers_A, num_labelled)
    )
    picks = _in_turn(ranked, b)
    return Selection(
        torch.tensor([position for position, _ in picks], device=device),
        torch.tensor([typicality for _, typicality in picks], dtype=features_N_D.dtype, device=device),
    )


def _in_order_of_visits(numbers_A: Tensor, num_labelled: int) -> list[int]:
    """Return the clusters with unlabelled points: small ones last, then by fewest labels, then the largest first."""
    num_clusters, N = int(numbers_A.max()) + 1, len(numbers_A) - num_labelled
    sizes = numbers_A.bincount(minlength=num_clusters).tolist()
    labels = numbers_A[N:].bincount(minlength=num_clusters).tolist()
    with_points = [number for number in range(num_clusters) if sizes[number] > labels[number]]
    return sorted(with_points, key=lambda number: (sizes[number] <= SMALL, labels[number], -sizes[number]))


def _ranked(features_A_D: Tensor, members: Tensor, keys_N: Tensor, num_neighbours: int) -> list[tuple[int, float]]:
    """Return positions and typicalities of a cluster's unlabelled points, the most typical first."""
    members_of_pool = members[members < len(keys_N)]
    typicality_m = 1 / (SMALLEST_DISTANCE + mean_distances(features_A_D[members], num_neighbours))
    typicality_m = typicality_m[: len(members_of_pool)]
    order = in_order(typicality_m, keys_N[members_of_pool])
    return list(zip(members_of_pool[order].tolist(), typicality_m[order].tolist(), strict=True))


def _in_turn(ranked: Iterator[list[tuple[int, float]]], b: int) -> list[tuple[int, float]]:
    """Take the first of each list, then the second of each, until there are b; lists are made when they are needed."""
    picks: list[tuple[int, float]] = []
    lists: list[list[tuple[int, float]]] = []
    for members in ranked:
        picks.append(members[0])
        lists.append(members)
        if len(picks) == b:
            return picks
    for turn in range(1, max(map(len, lists))):
        picks += [members[turn] for members in lists if turn < len(members)]
    return picks[:b]


def mean_distances(features_n_D: Tensor, num_neighbours: int) -> Tensor:
    """Return the mean distance ``[n]`` of each point to its nearest neighbours, at most half of the points.

    >>> mean_distances(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 2).tolist()
    [1.5, 1.0, 1.5, 7.5]
    """
    n = len(features_n_D)
    num_neighbours = min(num_neighbours, max(n // 2, 1), n - 1)
    if num_neighbours == 0:
        return features_n_D.new_zeros(n)
    centred_n_D = features_n_D - features_n_D.mean(0)
    squares_n = centred_n_D.square().sum(1)
    widest = max(n, (num_neighbours + 1) * features_n_D.shape[1])
    means = []
    for rows_m_D in centred_n_D.split(max(1, BLOCK_VALUES // widest)):
        # Squared distances but for a term of the row, which changes no order.
        closeness_m_n = torch.addmm(squares_n, rows_m_D, centred_n_D.T, alpha=-2)
        nearest_m_k = closeness_m_n.topk(num_neighbours + 1, largest=False).indices
        # Differences do not cancel, so equal points are at a distance of exactly 0. So is the point itself.
        steps_m_k_D = centred_n_D[nearest_m_k] - rows_m_D.unsqueeze(1)
        distances_m_k = torch.linalg.vector_norm(steps_m_k_D, dim=2).sort(1).values
        means.append(distances_m_k[:, 1:].mean(1))
    return torch.cat(means)


@register("typiclust")
@final
@dataclass(frozen=True)
class TypiClust(Acquisition):
    """Select the most typical candidates of the largest clusters without labels; see `typiclust`.

    Features are the points' own or the network's embeddings, scaled to length 1.

    Args:
        max_clusters: The most clusters.
        num_neighbours: The most neighbours that typicality averages over.

    Raises:
        ValueError: If one of them is below 1.

    >>> points = torch.tensor([[1.0, angle] for angle in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)])
    >>> candidates = Candidates(6, torch.empty(6, 1, 2), features=points, labelled=Candidates(0, torch.empty(0, 1, 2)))
    >>> len(TypiClust().select(candidates, 1, torch.Generator().manual_seed(0)).positions)
    1
    """

    tasks: ClassVar[frozenset[str]] = ANY_TASK
    max_clusters: int = 500
    num_neighbours: int = 20

    def __post_init__(self) -> None:
        for name in ("max_clusters", "num_neighbours"):
            object.__setattr__(self, name, whole_number("TypiClust", name, getattr(self, name)))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are typicalities.

        Raises:
            ValueError: If there are no features, or if a number is not finite.
        """
        return typiclust(
            features_of(candidates),
            b,
            labelled_n_D=labelled_features_of(candidates),
            max_clusters=self.max_clusters,
            num_neighbours=self.num_neighbours,
            generator=generator,
        )
