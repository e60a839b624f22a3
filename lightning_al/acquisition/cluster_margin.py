"""Cluster-Margin: spread the points with the smallest margins over clusters.

Axes: N points, D feature dimensions, b batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, at_most, checked_scores
from lightning_al.acquisition.features import features_of
from lightning_al.acquisition.margin import Margin
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_table
from lightning_al.acquisition.ties import in_order, tie_keys
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number

NUMBERS = ("num_per_pick", "mean_size", "max_clustered")


def cluster_margin(
    margins_N: Tensor,
    features_N_D: Tensor,
    b: int,
    *,
    num_per_pick: int = 10,
    mean_size: int = 10,
    max_clustered: int = 5_000,
    generator: torch.Generator,
) -> Selection:
    """Select b of the k_m = `num_per_pick` b points with the smallest margins, in turn from each of their clusters.

    The points are clustered by average linkage into clusters of `mean_size` points on average. The k_m points with the
    smallest margins are grouped by cluster. The groups give one random point each, the smallest group first; the visits
    start again until there are b points.

    Gui Citovsky, Giulia DeSalvo, Claudio Gentile, Lazaros Karydas, Anand Rajagopalan, Afshin Rostamizadeh, Sanjiv
    Kumar, "Batch Active Learning at Scale", NeurIPS 2021. The paper clusters all points once, before the first round;
    here the candidates are clustered in each round. Above `max_clustered` points n, a random subsample of n is
    clustered into n / `mean_size` clusters, and each of the k_m points joins the cluster with the nearest mean.

    Time is O(n^2 D) for average linkage on the n clustered points, with 8 n^2 bytes, and O(k_m D n / `mean_size`) for
    joining: 3 s and 200 MB for n = 5,000, N = 100,000, D = 128, b = 100 on one core. Use it for large batches, in which
    margin sampling alone selects many similar points. For small ones, margin sampling is simpler.

    Args:
        margins_N: Margins ``[N]``: the difference of the two largest probabilities, between 0 and 1.
        features_N_D: Features ``[N, D]``.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        num_per_pick: The number of points with small margins for each pick.
        mean_size: The mean number of points of a cluster.
        max_clustered: The most points to cluster.
        generator: A CPU generator, which draws the subsample; its initial seed gives the random order in groups.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are negative margins.

    Raises:
        ValueError: If a number is not finite, if the tables differ in length, or if b or an option is below 1.

    Four points with small margins are two clusters, of one point and of three:

    >>> features = torch.tensor([[0.0], [5.0], [5.1], [5.2], [9.0]])
    >>> margins = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.9])
    >>> generator = torch.Generator().manual_seed(0)
    >>> selection = cluster_margin(margins, features, 2, num_per_pick=2, mean_size=2, generator=generator)
    >>> selection.positions[0].item(), selection.positions[1].item() in (1, 2, 3)
    (0, True)
    """
    features_N_D = checked_table(features_N_D, "features", who="cluster_margin")
    margins_N = checked_table(margins_N.reshape(-1, 1), "margins", who="cluster_margin").flatten()
    if len(margins_N) != len(features_N_D):
        raise ValueError(
            f"`cluster_margin` expected a margin for each row of features, but got {len(margins_N)} and "
            f"{len(features_N_D)}. Pass both tables of the same points."
        )
    num_per_pick = whole_number("ClusterMargin", "num_per_pick", num_per_pick)
    mean_size = whole_number("ClusterMargin", "mean_size", mean_size)
    max_clustered = whole_number("ClusterMargin", "max_clustered", max_clustered)
    b = at_most(b, len(margins_N))
    keys_N = tie_keys(len(margins_N), generator).to(margins_N.device)
    low_m = in_order(-margins_N, keys_N)[: num_per_pick * b].to(features_N_D.device)
    numbers_m = _clusters_of(low_m, features_N_D, mean_size, max_clustered, generator)
    positions = low_m[_in_turn(numbers_m, keys_N.to(low_m.device)[low_m], b)]
    return Selection(positions, -margins_N[positions.to(margins_N.device)].to(positions.device))


def _clusters_of(
    low_m: Tensor, features_N_D: Tensor, mean_size: int, max_clustered: int, generator: torch.Generator
) -> Tensor:
    """Return the number of the cluster of each of some points ``[m]``."""
    N = len(features_N_D)
    if max_clustered >= N:
        return average_linkage(features_N_D, -(-N // mean_size))[low_m]
    clustered = torch.randperm(N, generator=generator)[:max_clustered].to(features_N_D.device)
    features_n_D = features_N_D[clustered]
    numbers_n = average_linkage(features_n_D, -(-max_clustered // mean_size))
    sizes_k = numbers_n.bincount()
    # One row after the other: sums whose order is not fixed would differ from run to run on a GPU.
    means_k_D = features_n_D.cpu().new_zeros(len(sizes_k), features_n_D.shape[1])
    means_k_D = means_k_D.index_add(0, numbers_n.cpu(), features_n_D.cpu()).to(features_n_D.device)
    means_k_D = means_k_D / sizes_k.unsqueeze(1)
    numbers_m = [torch.cdist(rows_D, means_k_D).argmin(1) for rows_D in features_N_D[low_m].split(max_clustered)]
    return torch.cat(numbers_m)


def average_linkage(features_n_D: Tensor, num_clusters: int) -> Tensor:
    """Return the numbers ``[n]`` of the clusters that average linkage makes, at most `num_clusters`.

    Average linkage joins the two clusters with the smallest mean distance between their points, again and again.

    >>> average_linkage(torch.tensor([[0.0], [0.1], [5.0]]), 2).bincount().sort().values.tolist()
    [1, 2]
    """
    # The import takes a third of a second, and most methods need none of it.
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(features_n_D) < 2:
        return torch.zeros(len(features_n_D), dtype=torch.int64, device=features_n_D.device)
    tree = linkage(features_n_D.cpu().numpy(), method="average")
    numbers_n = fcluster(tree, num_clusters, criterion="maxclust") - 1
    return torch.from_numpy(numbers_n).to(features_n_D.device, torch.int64)


def _in_turn(numbers_m: Tensor, keys_m: Tensor, b: int) -> Tensor:
    """Return b places: the first of each group by key, the smallest group first, then the second of each."""
    members: dict[int, list[int]] = {}
    numbers = numbers_m.tolist()
    for place in keys_m.argsort().tolist():
        members.setdefault(numbers[place], []).append(place)
    groups = sorted(members.values(), key=len)
    turns = range(max(map(len, groups), default=0))
    places = [group[turn] for turn in turns for group in groups if turn < len(group)]
    return torch.tensor(places[:b], dtype=torch.int64, device=numbers_m.device)


@register("cluster_margin")
@final
@dataclass(frozen=True)
class ClusterMargin(Acquisition):
    """Select candidates with small margins, in turn from each of their clusters; see `cluster_margin`.

    Margins are those of the posterior mean. Features are the points' own or the network's embeddings, scaled to
    length 1.

    Args:
        num_per_pick: The number of points with small margins for each pick.
        mean_size: The mean number of points of a cluster.
        max_clustered: The most points to cluster.

    Raises:
        ValueError: If one of them is below 1.

    >>> p = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]])
    >>> candidates = Candidates(2, p.log(), features=torch.eye(2))
    >>> ClusterMargin(num_per_pick=1).select(candidates, 1, torch.Generator().manual_seed(0)).positions.tolist()
    [0]
    """

    num_per_pick: int = 10
    mean_size: int = 10
    max_clustered: int = 5_000

    def __post_init__(self) -> None:
        for name in NUMBERS:
            object.__setattr__(self, name, whole_number("ClusterMargin", name, getattr(self, name)))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are negative margins.

        Raises:
            ValueError: If log-probabilities are NaN or above 0, or if there are no features.
        """
        margins_N = -checked_scores(Margin(), candidates, generator)
        return cluster_margin(
            margins_N,
            features_of(candidates),
            b,
            num_per_pick=self.num_per_pick,
            mean_size=self.mean_size,
            max_clustered=self.max_clustered,
            generator=generator,
        )
