"""TypiClust against dense distances, and on pools that crash other implementations."""

from __future__ import annotations

import pytest
import torch

from lightning_al import Candidates, Points, TypiClust, typiclust
from lightning_al.acquisition.typiclust import BLOCK_VALUES, mean_distances
from tests import references
from tests.support.blobs import blobs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def most_typical(points_N_D: torch.Tensor, members: list[int], choices: list[int]) -> tuple[int, float]:
    """The position and typicality of the most typical choice within a cluster."""
    found = {place: references.typicality(points_N_D[members], members.index(place), 4) for place in choices}
    best = max(found, key=lambda place: found[place])
    return best, found[best]


def test_the_typical_points_of_clusters_with_fewest_labels_come_first_and_small_clusters_last() -> None:
    points_A_D, numbers_A = blobs(14, 10, 3, 8, 6)
    is_labelled_A = torch.zeros(len(points_A_D), dtype=torch.bool)
    is_labelled_A[0] = True
    pool = (~is_labelled_A).nonzero().flatten().tolist()
    selection = typiclust(
        points_A_D[pool], 4, labelled_n_D=points_A_D[is_labelled_A], num_neighbours=4, generator=seeded()
    )
    expected = []
    for blob in (1, 3, 4, 0):
        members = (numbers_A == blob).nonzero().flatten().tolist()
        expected.append(most_typical(points_A_D, members, [place for place in members if place in pool]))
    assert [pool[position] for position in selection.positions] == [place for place, _ in expected]
    assert selection.scores.tolist() == pytest.approx([value for _, value in expected])


def test_clusters_are_visited_again_when_there_are_more_picks_and_small_ones_only_then() -> None:
    points_N_D, numbers_N = blobs(9, 4, 7)
    selection = typiclust(points_N_D, 20, max_clusters=3, generator=seeded())
    assert numbers_N[selection.positions].tolist()[:7] == [0, 2, 1, 0, 2, 1, 0]
    assert sorted(selection.positions.tolist()) == list(range(20))
    for blob in range(3):
        of_blob = selection.scores[numbers_N[selection.positions] == blob].tolist()
        assert of_blob == sorted(of_blob, reverse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_mean_distances_are_exact_in_blocks(dtype: torch.dtype, offset: float) -> None:
    n = 2100
    assert n * n > BLOCK_VALUES
    points_n_D = (torch.randn(n, 3, generator=seeded(), dtype=torch.float64) + offset).to(dtype)
    points_n_D[1000:1030] = points_n_D[0]
    found_n = mean_distances(points_n_D, 20)
    some = [0, 1, 5, 1029, 1030, n - 1]
    distances = torch.cdist(points_n_D[some].double(), points_n_D.double(), compute_mode="donot_use_mm_for_euclid_dist")
    expected = distances.sort(1).values[:, 1:21].mean(1)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found_n[some].double(), expected, rtol=tolerance, atol=0)
    assert found_n[0] == 0, "equal points are at a distance of exactly 0"


@pytest.mark.parametrize("b", [7, 55, 60, 70])
def test_clusters_that_equal_points_leave_empty_are_no_crash(b: int) -> None:
    kinds_k_D = torch.randn(3, 4, generator=seeded())
    points_N_D = kinds_k_D.repeat(20, 1)
    selection = typiclust(points_N_D, b, generator=seeded())
    assert len(set(selection.positions.tolist())) == min(b, 60)
    assert selection.scores.isfinite().all()
    assert sorted((selection.positions[:3] % 3).tolist()) == [0, 1, 2]


def test_equal_points_are_told_apart_by_chance() -> None:
    batches = [typiclust(torch.ones(4, 2), 1, generator=seeded(seed)) for seed in range(40)]
    assert {int(batch.positions) for batch in batches} == {0, 1, 2, 3}


def test_one_point_no_points_and_halves() -> None:
    assert typiclust(torch.ones(1, 2).half(), 3, generator=seeded()).positions.tolist() == [0]
    assert typiclust(torch.ones(0, 2), 3, generator=seeded()).positions.tolist() == []
    assert typiclust(torch.zeros(3, 2), 2, labelled_n_D=torch.empty(0, 0), generator=seeded()).scores.shape == (2,)


def test_the_class_scales_features_and_needs_no_labels() -> None:
    points_N_D, _ = blobs(8, 7, 6)
    nothing = Points(0, torch.empty(0, 1, 2))
    candidates = Candidates(21, torch.empty(21, 1, 2), features=points_N_D, labelled=nothing)
    chosen = TypiClust().select(candidates, 3, seeded())
    scaled_N_D = points_N_D / points_N_D.norm(dim=1, keepdim=True)
    assert torch.equal(chosen.positions, typiclust(scaled_N_D, 3, generator=seeded()).positions)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`TypiClust` needs `max_clusters` of at least 1, but got 0"):
        TypiClust(max_clusters=0)
    with pytest.raises(ValueError, match="`TypiClust` needs `num_neighbours` of at least 1, but got 0"):
        typiclust(torch.ones(3, 2), 1, num_neighbours=0, generator=seeded())
