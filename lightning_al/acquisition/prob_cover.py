"""ProbCover: query points whose balls cover most points that no other ball covers.

Axes: N points, n labelled ones or some of the N, D feature dimensions, b batch.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lightning_al.acquisition.base import ANY_TASK, Acquisition, Selection, at_most
from lightning_al.acquisition.coverage import Ball, Coverage, cover_greedily
from lightning_al.acquisition.features import features_of, labelled_features_of
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_labelled, checked_table, in_float64
from lightning_al.acquisition.ties import tie_keys
from lightning_al.points import Candidates
from lightning_al.run.seeds import derive
from lightning_al.values.whole_numbers import plain, shown, whole_number

MOST_CLUSTERED = 10_000
"""The most points that the radius is found from."""

RADIUS_OF_ONE_CLUSTER = 1.0
"""The radius where all balls are pure, however large: that of all points of length 1 around the origin."""

ROUNDING = 1e-9
"""What is added to a product before it is rounded down: .1 times 10 may be less than 1."""

BLOCK_ROWS = 1024
"""The number of points whose distances to all others are held at a time."""


def prob_cover(
    features_N_D: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    radius: float | None = None,
    num_clusters: int = 10,
    purity: float = 0.95,
    generator: torch.Generator | None = None,
) -> Selection:
    """Select b points greedily, each for how many points lie in its ball and in no ball of a labelled or picked one.

    The ball of a point i is {n : |x_n - x_i| < radius}. It is `max_herding` with the kernel that is 1 in the ball and
    0 elsewhere.

    By default, the radius is the largest one at which a share `purity` of the balls is pure: all points in such a ball
    have the cluster of its centre. Clusters are those of k-means. A ball is pure if the nearest point of another
    cluster is not in it, so the radius is a quantile of the distances to those. Above 10,000 points, it is found from
    a random sample of 10,000, among which these distances are a little larger. It is found in float64. Where all points
    are equal, it is 1.

    Ofer Yehuda, Avihu Dekel, Guy Hacohen, Daphna Weinshall, "Active Learning Through a Covering Lens", NeurIPS 2022.

    Time is O(N^2 D / 2) for the first pick, then O(N D) for each point that is evaluated again. Memory beyond the
    features is O(N D), and about 120 MB for the radius. No edges are held.

    It depends on the radius, and is weaker than methods without one: with 10 labels on the digits (logistic regression
    on pixels, 8 seeds, ``python -m tests.benchmarks.coverage``), its accuracy is .52, that of random points .45 and of
    `max_herding` .78.

    Args:
        features_N_D: Features ``[N, D]``.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled_n_D: Features ``[n, D]`` of the points labelled so far; by default none.
        radius: The radius of the balls, above 0; by default it is found by purity.
        num_clusters: The number of clusters, best that of the classes.
        purity: The share of balls that are to be pure, above 0 and below 1.
        generator: Its initial seed breaks ties, and seeds the sample and k-means. By default a new one with seed 0, so
            calls agree.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are the shares of points that the pick's ball covers first.
        Of points with equal shares, one is selected at random; once all is covered, these are all that are left. The
        metric `radius` is the radius.

    Raises:
        TypeError: If features are not a tensor, or if `num_clusters` is not a number.
        ValueError: If shapes do not fit, if a number is not finite, if `radius`, `num_clusters` or `purity` is out of
            range, or if b is below 1.

    The ball around 0.5 covers three of four points, and then one is left:

    >>> selection = prob_cover(torch.tensor([[0.0], [0.5], [1.0], [3.0]]), 2, radius=0.6)
    >>> selection.positions, selection.scores
    (tensor([1, 3]), tensor([0.7500, 0.2500]))
    """
    features_N_D = checked_table(features_N_D, "features", who="prob_cover")
    N = len(features_N_D)
    b = at_most(b, N)
    num_clusters = whole_number("prob_cover", "num_clusters", num_clusters)
    purity, radius = _checked_purity("prob_cover", purity), _checked_radius("prob_cover", radius)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    if radius is None:
        radius = _pure_radius(features_N_D, num_clusters, purity, generator)
    coverage = Coverage(features_N_D, Ball(radius))
    if labelled_n_D is not None and len(labelled_n_D):
        coverage.add(checked_labelled(labelled_n_D, features_N_D, who="prob_cover"))
    selection = cover_greedily(coverage, b, tie_keys(N, generator).to(features_N_D.device))
    return Selection(selection.positions, selection.scores, metrics={"radius": radius})


def _pure_radius(features_N_D: Tensor, num_clusters: int, purity: float, generator: torch.Generator) -> float:
    """Return the largest radius at which a share of the balls holds points of one k-means cluster only."""
    # Like ties, the sample and the clusters do not advance the generator.
    own = torch.Generator().manual_seed(derive(generator.initial_seed(), "radius"))
    sample = torch.randperm(len(features_N_D), generator=own)[:MOST_CLUSTERED]
    features_n_D = in_float64(features_N_D[sample.to(features_N_D.device)])  # tight clusters need it
    seed = int(torch.randint(2**31, (), generator=own))
    clusters_n = _clusters(features_n_D, num_clusters, seed)
    if len(clusters_n.unique()) < 2:
        return RADIUS_OF_ONE_CLUSTER
    distances_n = _distances_to_other_clusters(features_n_D, clusters_n)
    num_impure = min(math.floor((1 - purity) * len(distances_n) + ROUNDING), len(distances_n) - 1)
    # Points may differ by too little for a distance above 0. Then a ball holds the points that are equal to its centre.
    return max(float(distances_n.sort().values[num_impure]), torch.finfo(distances_n.dtype).tiny)


def _clusters(features_n_D: Tensor, num_clusters: int, seed: int) -> Tensor:
    """Return the k-means cluster of each point ``[n]``."""
    from sklearn.cluster import KMeans  # it takes a second, which nobody else should wait

    rows = features_n_D.cpu().numpy()
    # k-means cannot make more clusters than there are different points; of points that nearly agree, it makes fewer.
    num_clusters = min(num_clusters, len(np.unique(rows, axis=0)))
    if num_clusters < 2:
        return torch.zeros(len(rows), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = KMeans(num_clusters, n_init=1, random_state=seed).fit(rows).labels_
    return torch.as_tensor(labels, dtype=torch.int64, device=features_n_D.device)


def _distances_to_other_clusters(features_n_D: Tensor, clusters_n: Tensor) -> Tensor:
    """Return the distance of each point ``[n]`` to the nearest point of another cluster.

    Products of matrices tell which one is nearest. How far it is comes from differences, which do not cancel.
    """
    features_n_D = features_n_D - features_n_D.mean(0)
    squares_n = features_n_D.square().sum(1)
    distances = []
    for rows in torch.arange(len(features_n_D), device=features_n_D.device).split(BLOCK_ROWS):
        farness_m_n = torch.addmm(squares_n, features_n_D[rows], features_n_D.T, alpha=-2)
        farness_m_n.masked_fill_(clusters_n[rows, None] == clusters_n, math.inf)
        nearest_m = farness_m_n.argmin(1)
        distances.append(torch.linalg.vector_norm(features_n_D[rows] - features_n_D[nearest_m], dim=1))
    return torch.cat(distances)


def _checked_radius(who: str, radius: float | None) -> float | None:
    number = plain(radius)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ValueError(
            f"`{who}` expected a radius above 0, or None, but got {shown(radius)}. Pass None to find it by purity."
        )
    return float(number)


def _checked_purity(who: str, purity: float) -> float:
    number = plain(purity)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1:
        raise ValueError(
            f"`{who}` expected a purity, a share of the balls, above 0 and below 1, but got {shown(purity)}. Pass 0.95 "
            "as the authors do."
        )
    return float(number)


@register("prob_cover")
@final
@dataclass(frozen=True)
class ProbCover(Acquisition):
    """Select candidates whose balls cover most others, in features or embeddings of length 1; see `prob_cover`.

    It reads no predictions, so it fits any task, and it can select the first points, before any label.

    Args:
        radius: The radius of the balls; by default it is found by purity.
        num_clusters: The number of k-means clusters that purity is measured by, best that of the classes.
        purity: The share of balls that are to be pure.

    Raises:
        TypeError: If `num_clusters` is not a number.
        ValueError: If an argument is out of range.

    The label at [0, 1] covers the second candidate:

    >>> from lightning_al import Points
    >>> labelled = Points(1, torch.empty(1, 1, 2), features=torch.tensor([[0.0, 1.0]]))
    >>> candidates = Candidates(2, torch.empty(2, 1, 2), features=torch.eye(2), labelled=labelled)
    >>> ProbCover(radius=0.5).select(candidates, 1, torch.Generator()).positions.tolist()
    [0]
    """

    tasks: ClassVar[frozenset[str]] = ANY_TASK
    radius: float | None = None
    num_clusters: int = 10
    purity: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", _checked_radius("ProbCover", self.radius))
        object.__setattr__(self, "num_clusters", whole_number("ProbCover", "num_clusters", self.num_clusters))
        object.__setattr__(self, "purity", _checked_purity("ProbCover", self.purity))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the shares of candidates that their balls cover first.

        Raises:
            ValueError: If the candidates have neither features nor embeddings, or if one is NaN or infinite.
        """
        return prob_cover(
            features_of(candidates),
            b,
            labelled_n_D=labelled_features_of(candidates),
            radius=self.radius,
            num_clusters=self.num_clusters,
            purity=self.purity,
            generator=generator,
        )
