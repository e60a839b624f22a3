"""Cluster-Margin against a slow average linkage, and the turns of its groups."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from lightning_al import Candidates, ClusterMargin, Margin, cluster_margin
from lightning_al.acquisition.cluster_margin import average_linkage
from tests import references
from tests.references import random_log_probs
from tests.support.blobs import blobs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_clusters", [1, 4, 14])
def test_average_linkage_is_its_definition(num_clusters: int) -> None:
    points_n_D = torch.randn(14, 3, generator=seeded(), dtype=torch.float64)
    numbers = average_linkage(points_n_D, num_clusters).tolist()
    found = {frozenset(place for place in range(14) if numbers[place] == number) for number in set(numbers)}
    assert found == references.average_linkage(points_n_D, num_clusters)


@pytest.mark.parametrize("max_clustered", [30, 18])
def test_groups_take_turns_and_the_smallest_comes_first(max_clustered: int) -> None:
    """The points with small margins are 2 of a blob, 4 of another and 6 of the third."""
    points_N_D, numbers_N = blobs(10, 10, 10)
    low = [0, 1, 10, 11, 12, 13, 20, 21, 22, 23, 24, 25]
    margins_N = torch.ones(30, dtype=torch.float64)
    margins_N[low] = torch.linspace(0, 0.5, 12, dtype=torch.float64)
    batches = [
        cluster_margin(
            margins_N,
            points_N_D,
            6,
            num_per_pick=2,
            mean_size=10 * max_clustered // 30,
            max_clustered=max_clustered,
            generator=seeded(seed),
        )
        for seed in range(30)
    ]
    for batch in batches:
        assert numbers_N[batch.positions].tolist() == [0, 1, 2, 0, 1, 2]
        assert set(batch.positions.tolist()) <= set(low)
        assert torch.equal(batch.scores, -margins_N[batch.positions])
        assert len(set(batch.positions.tolist())) == 6
    assert {int(batch.positions[2]) for batch in batches} == set(low[6:]), "a random point of the group"


def test_a_group_without_points_left_is_passed_over() -> None:
    points_N_D, numbers_N = blobs(2, 6)
    selection = cluster_margin(torch.zeros(8), points_N_D, 7, mean_size=4, generator=seeded())
    assert numbers_N[selection.positions].tolist() == [0, 1, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("max_clustered", [1, 7, 100])
@pytest.mark.parametrize("b", [1, 5, 40, 50])
def test_equal_points_are_each_selected_once(b: int, max_clustered: int) -> None:
    selection = cluster_margin(
        torch.full((40,), 0.5), torch.ones(40, 3), b, max_clustered=max_clustered, generator=seeded()
    )
    assert len(set(selection.positions.tolist())) == min(b, 40)


def test_equal_points_are_told_apart_by_chance() -> None:
    counts = Counter(
        int(cluster_margin(torch.zeros(4), torch.ones(4, 2), 1, num_per_pick=1, generator=seeded(seed)).positions)
        for seed in range(80)
    )
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 6


def test_one_point_no_points_and_halves() -> None:
    assert cluster_margin(torch.ones(1).half(), torch.ones(1, 2).half(), 3, generator=seeded()).positions.tolist() == [
        0
    ]
    assert cluster_margin(torch.ones(0), torch.ones(0, 2), 3, generator=seeded()).positions.tolist() == []


def test_the_class_selects_by_the_function_among_margins_of_the_mean() -> None:
    log_probs_N_K_C = random_log_probs(40, 5, 4, seed=1)
    points_N_D = torch.nn.functional.normalize(torch.randn(40, 3, generator=seeded()))
    candidates = Candidates.stream(40, lambda: log_probs_N_K_C.split(7), features=points_N_D)
    chosen = ClusterMargin(num_per_pick=2, mean_size=5).select(candidates, 4, seeded())
    margins_N = -Margin().score(Candidates(40, log_probs_N_K_C), seeded())
    expected = cluster_margin(margins_N, points_N_D, 4, num_per_pick=2, mean_size=5, generator=seeded())
    assert torch.equal(chosen.positions, expected.positions)
    torch.testing.assert_close(chosen.scores, expected.scores)


def test_wrong_tables_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a margin for each row of features, but got 2 and 3"):
        cluster_margin(torch.ones(2), torch.eye(3), 1, generator=seeded())
    for name in ("num_per_pick", "mean_size", "max_clustered"):
        with pytest.raises(ValueError, match=f"`ClusterMargin` needs `{name}` of at least 1, but got 0"):
            ClusterMargin(**{name: 0})
