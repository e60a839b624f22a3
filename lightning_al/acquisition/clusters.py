"""Clusters of points by their features, for acquisition functions that spread a batch over them.

Axes: N points, D feature dimensions, k clusters.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

MOST_IN_FULL = 50
"""The most clusters for which k-means passes over all points in each step; for more it takes mini-batches."""

MINI_BATCH = 5000
"""The number of points in a mini-batch."""


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
    """Cluster points by scikit-learn's k-means, from one k-means++ start; in mini-batches above 50 clusters.

    It runs on the CPU with one thread: sums of several threads depend on which one ends first. A cluster may be empty
    if points are equal.

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
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = int(torch.randint(2**31, (), generator=generator))
    num_clusters = min(num_clusters, len(features_N_D))
    if num_clusters <= MOST_IN_FULL:
        method = KMeans(num_clusters, n_init=1, random_state=seed)
    else:
        method = MiniBatchKMeans(num_clusters, batch_size=MINI_BATCH, n_init=1, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer different points than clusters leave clusters empty, which callers expect.
        warnings.simplefilter("ignore", ConvergenceWarning)
        method.fit(features_N_D.cpu().numpy())
    device, dtype = features_N_D.device, features_N_D.dtype
    return Clusters(
        torch.from_numpy(method.labels_).to(device, torch.int64),
        torch.from_numpy(method.cluster_centers_).to(device, dtype),
    )
