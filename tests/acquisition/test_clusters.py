"""k-means from first centres of its own: as good clusters as scikit-learn's, at any scale, the same each time."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from lightning_al.acquisition.clusters import Clusters, k_means


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def blobs(num_blobs: int, size: int = 20, spread: float = 0.01) -> Tensor:
    """Return points ``[num_blobs * size, 8]``, the blobs one after the other."""
    centres = torch.randn(num_blobs, 1, 8, generator=seeded(0))
    return (centres + spread * torch.randn(num_blobs, size, 8, generator=seeded(1))).flatten(0, 1)


def inertia(points: Tensor, clusters: Clusters) -> float:
    return float(clusters.distances_to_centres(points).square().sum())


# The last 60 are found by mini-batches, the others by passes over all points.
@pytest.mark.parametrize(("num_blobs", "size"), [(1, 20), (10, 20), (60, 20), (60, 200)])
def test_each_blob_is_a_cluster(num_blobs: int, size: int) -> None:
    numbers = k_means(blobs(num_blobs, size), num_blobs, seeded(0)).numbers_N.view(num_blobs, -1)
    assert bool((numbers == numbers[:, :1]).all())
    assert numbers[:, 0].unique().tolist() == list(range(num_blobs))


@pytest.mark.parametrize("num_clusters", [10, 60])
def test_clusters_are_as_close_as_those_from_first_centres_of_scikit_learn(num_clusters: int) -> None:
    points = blobs(30, size=40, spread=0.5)
    ours = [inertia(points, k_means(points, num_clusters, seeded(seed))) for seed in range(10)]
    theirs = [KMeans(num_clusters, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(10)]
    assert sum(ours) < 1.05 * sum(theirs)


@pytest.mark.parametrize("num_clusters", [10, 60])
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_a_scale_changes_nothing(num_clusters: int, scale: float) -> None:
    points = blobs(num_clusters)
    numbers = k_means(points, num_clusters, seeded(0)).numbers_N
    assert k_means(scale * points, num_clusters, seeded(0)).numbers_N.equal(numbers)


def test_the_same_seed_gives_the_same_clusters_with_any_number_of_threads() -> None:
    points = torch.randn(20_000, 16, generator=seeded(0))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(k_means(points, 60, seeded(0)).centres_k_D)
    finally:
        torch.set_num_threads(before)
    assert found[0].equal(found[1])
    assert not found[0].equal(k_means(points, 60, seeded(1)).centres_k_D)


@pytest.mark.parametrize("num_clusters", [3, 60])
def test_equal_points_leave_clusters_empty(num_clusters: int) -> None:
    points = torch.ones(100, 4)
    clusters = k_means(points, num_clusters, seeded(0))
    assert len(clusters.centres_k_D) == num_clusters
    assert clusters.distances_to_centres(points).tolist() == [0] * 100
