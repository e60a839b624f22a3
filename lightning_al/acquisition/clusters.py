"""Clusters of points by their features, for acquisition functions that spread a batch over them.

Axes: N points, n of them, D feature dimensions, k clusters, T points tried for the next centre.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

MINI_BATCH = 5000
"""The number of points in a mini-batch."""

MOST_IN_FULL = 50
"""The most clusters for which k-means always passes over all points in each step."""

FEW_POINTS = 2 * MINI_BATCH
"""So few points are passed over in each step for any number of clusters: mini-batches would take as long together."""

MOST_TO_SEED = 3 * MINI_BATCH
"""The most points to find the first centres among."""


@final
@dataclass(frozen=True)
class Clusters:
    """Which cluster each point belongs to.

    Attributes:
        numbers_N: The number ``[N]`` of each point's cluster, int64, on the device of the features.
        centres_k_D: The centres ``[k, D]``.
    """

    numbers_N: Tensor
    centres_k_D: Tensor

    def distances_to_centres(self, features_N_D: Tensor) -> Tensor:
        """Return the distance ``[N]`` of each point to the centre of its own cluster."""
        distances_N: Tensor = torch.linalg.vector_norm(features_N_D - self.centres_k_D[self.numbers_N], dim=1)
        return distances_N


def k_means(features_N_D: Tensor, num_clusters: int, generator: torch.Generator) -> Clusters:
    """Cluster points by scikit-learn's k-means, from one k-means++ start.

    With more than 50 clusters and more than 10,000 points, its steps take mini-batches. It runs on the CPU with one
    thread: sums of several threads depend on which one ends first. A cluster may be empty if points are equal.

    Args:
        features_N_D: Features ``[N, D]``, with N of at least 1.
        num_clusters: The number of clusters; at most N are made.
        generator: A CPU generator, which draws the seed of k-means.

    >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> clusters = k_means(points, 2, torch.Generator().manual_seed(0))
    >>> clusters.numbers_N[0] == clusters.numbers_N[1], clusters.numbers_N[0] == clusters.numbers_N[2]
    (tensor(True), tensor(False))
    >>> [round(centre, 2) for centre in sorted(clusters.centres_k_D.flatten().tolist())]
    [0.05, 5.05]
    """
    # The import takes a second, and most methods need none of it.
    import numpy as np
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    random = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
    points_N_D = features_N_D.cpu().numpy()
    num_clusters = min(num_clusters, len(points_N_D))
    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer different points than clusters leave clusters empty, which callers expect.
        warnings.simplefilter("ignore", ConvergenceWarning)
        options: Any = {"init": _first_centres(points_N_D, num_clusters, random), "n_init": 1, "random_state": random}
        if num_clusters <= MOST_IN_FULL or len(points_N_D) <= FEW_POINTS:
            method = KMeans(num_clusters, **options)
        else:
            method = MiniBatchKMeans(num_clusters, batch_size=MINI_BATCH, **options)
        method.fit(points_N_D)
    device, dtype = features_N_D.device, features_N_D.dtype
    return Clusters(
        torch.from_numpy(method.labels_).to(device, torch.int64),
        torch.from_numpy(method.cluster_centers_).to(device, dtype),
    )


def _first_centres(points_N_D: np.ndarray, num_clusters: int, random: np.random.RandomState) -> np.ndarray:
    """Choose points ``[k, D]`` by greedy k-means++, as scikit-learn does by default, but in the type of the points.

    Each next point is the best of a few drawn in proportion to their squared distance to the nearest point chosen
    before: the one that leaves the smallest sum of these distances. scikit-learn computes them in float64, which takes
    several times as long.
    """
    import numpy as np

    most = max(MOST_TO_SEED, 3 * num_clusters)
    rows_n = random.permutation(len(points_N_D))[:most]
    points_n_D = points_N_D[rows_n] / (np.abs(points_N_D[rows_n]).max() or 1)  # squares of large numbers would overflow
    points_n_D -= points_n_D.mean(0)
    squares_n = np.square(points_n_D).sum(1)

    def squared_distances_n_T(chosen_T: np.ndarray) -> Any:
        products_n_T = points_n_D @ points_n_D[chosen_T].T
        return np.maximum(squares_n[:, None] + squares_n[chosen_T] - 2 * products_n_T, 0)

    num_tried = 2 + int(math.log(num_clusters))
    chosen = [0]
    nearest_n = squared_distances_n_T(np.zeros(1, dtype=int))[:, 0]
    while len(chosen) < num_clusters:
        sums_n = nearest_n.cumsum(dtype=np.float64)
        tried_T = np.searchsorted(sums_n, sums_n[-1] * random.random_sample(num_tried), side="right")
        tried_T = np.minimum(tried_T, len(sums_n) - 1)
        nearest_n_T = np.minimum(nearest_n[:, None], squared_distances_n_T(tried_T))
        best = nearest_n_T.sum(0, dtype=np.float64).argmin()
        nearest_n = nearest_n_T[:, best]
        chosen.append(tried_T[best])
    first_centres: np.ndarray = points_N_D[rows_n[chosen]]
    return first_centres
