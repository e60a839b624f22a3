"""DropQuery: who disagrees, the threshold, and the spread of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_al import Candidates, DropQuery, dropquery
from lightning_al.acquisition.dropquery import num_disagreeing
from tests import references
from tests.references import random_log_probs
from tests.support.blobs import blobs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def votes(num_against: list[int], K: int) -> Tensor:
    """Log-probabilities ``[N, K, 3]`` of which so many samples predict another class than the posterior mean.

    They predict two different classes, each with little confidence, so they may be more than half.
    """
    sure, against = [0.98, 0.01, 0.01], [[0.2, 0.41, 0.39], [0.2, 0.39, 0.41]]
    rows = [[against[k % 2] if k < number else sure for k in range(K)] for number in num_against]
    return torch.tensor(rows, dtype=torch.float64).log()


def test_disagreement_counts_samples_with_another_class_than_the_mean() -> None:
    log_probs_N_K_C = random_log_probs(30, 7, 4, seed=0)
    expected = []
    for mean, samples in zip(references.posterior_mean(log_probs_N_K_C), log_probs_N_K_C.tolist(), strict=True):
        of_mean = mean.index(max(mean))
        expected.append(sum(sample.index(max(sample)) != of_mean for sample in samples))
    assert num_disagreeing(log_probs_N_K_C).tolist() == expected
    assert max(expected) > 3
    assert num_disagreeing(votes([0, 2, 3], 5)).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("num_against", "min_uncertain", "uncertain"),
    [
        ([0, 3, 3, 3, 2, 1], 3, {1, 2, 3}),
        ([0, 3, 3, 3, 2, 1], 4, {1, 2, 3, 4}),
        ([0, 3, 3, 3, 2, 1], 25, {1, 2, 3, 4, 5}),
        ([0, 0, 3, 0, 2, 2], 25, {2, 4, 5}),
    ],
)
def test_the_threshold_is_lowered_until_enough_points_are_uncertain(
    num_against: list[int], min_uncertain: int, uncertain: set[int]
) -> None:
    members = sorted(uncertain)
    for turn in range(6):
        points_N_D = torch.randn(6, 2, generator=seeded(turn), dtype=torch.float64)
        selection = dropquery(votes(num_against, 5), points_N_D, 1, min_uncertain=min_uncertain, generator=seeded())
        distances_m = (points_N_D[members] - points_N_D[members].mean(0)).norm(dim=1)
        assert selection.positions.tolist() == [members[int(distances_m.argmin())]]


def test_the_point_nearest_to_each_centre_is_selected_from_the_largest_cluster_on() -> None:
    points_N_D, numbers_N = blobs(5, 9, 7, 4)
    # The last blob is certain.
    log_probs_N_K_C = votes([2] * 21 + [0] * 4, 5)
    selection = dropquery(log_probs_N_K_C, points_N_D, 3, generator=seeded())
    expected = []
    for blob in (1, 2, 0):
        members = (numbers_N == blob).nonzero().flatten()
        distances_m = (points_N_D[members] - points_N_D[members].mean(0)).norm(dim=1)
        expected.append(int(members[distances_m.argmin()]))
    assert selection.positions.tolist() == expected
    assert selection.scores.tolist() == pytest.approx([0.4] * 3)


def test_others_are_drawn_where_too_few_are_uncertain() -> None:
    log_probs_N_K_C = votes([0, 2, 0, 1, 0, 0], 5)
    batches = [dropquery(log_probs_N_K_C, torch.eye(6), 3, generator=seeded(seed)) for seed in range(40)]
    assert all(set(batch.positions[:2].tolist()) == {1, 3} for batch in batches)
    assert {int(batch.positions[2]) for batch in batches} == {0, 2, 4, 5}
    everything = dropquery(log_probs_N_K_C, torch.eye(6), 9, generator=seeded())
    assert sorted(everything.positions.tolist()) == list(range(6))


@pytest.mark.parametrize("b", [4, 55])
def test_equal_points_are_each_selected_once(b: int) -> None:
    points_N_D = torch.randn(2, 3, generator=seeded()).repeat(30, 1)
    selection = dropquery(votes([2] * 60, 5), points_N_D, b, generator=seeded())
    assert len(set(selection.positions.tolist())) == b
    assert set((selection.positions[:2] % 2).tolist()) == {0, 1}


def test_equal_points_are_told_apart_by_the_seed_and_not_by_rounding() -> None:
    points_N_D = torch.randn(12, 4, generator=seeded(3), dtype=torch.float64).repeat(15, 1)
    expected = dropquery(votes([2] * 180, 5), points_N_D, 40, generator=seeded()).positions
    for turn in range(8):
        noise_N_D = torch.randn(12, 4, generator=seeded(turn), dtype=torch.float64).repeat(15, 1)
        moved_N_D = points_N_D * (1 + 1e-15 * noise_N_D)
        assert torch.equal(dropquery(votes([2] * 180, 5), moved_N_D, 40, generator=seeded()).positions, expected)
    assert not torch.equal(dropquery(votes([2] * 180, 5), points_N_D, 40, generator=seeded(1)).positions, expected)


def test_points_as_far_from_their_centre_are_told_apart_by_the_seed_and_not_by_rounding() -> None:
    # Pairs: each point of one is as far from the middle as the other.
    middles_n_D = 10 * torch.randn(20, 5, generator=seeded(1))
    points_N_D = (middles_n_D + torch.randn(2, 20, 5, generator=seeded(2))).flatten(0, 1)
    expected = dropquery(votes([2] * 40, 5), points_N_D, 20, generator=seeded()).positions
    assert len(set((expected % 20).tolist())) == 20
    for turn in range(8):
        noise_N_D = torch.finfo(points_N_D.dtype).eps * torch.randn(40, 5, generator=seeded(turn))
        moved_N_D = points_N_D * (1 + noise_N_D)
        assert torch.equal(dropquery(votes([2] * 40, 5), moved_N_D, 20, generator=seeded()).positions, expected)


def test_the_class_selects_by_the_function_from_a_stream() -> None:
    log_probs_N_K_C = random_log_probs(40, 5, 4, seed=1)
    points_N_D = torch.nn.functional.normalize(torch.randn(40, 3, generator=seeded()))
    candidates = Candidates.stream(40, lambda: log_probs_N_K_C.split(7), features=points_N_D)
    chosen = DropQuery(3).select(candidates, 4, seeded())
    expected = dropquery(log_probs_N_K_C, points_N_D, 4, min_uncertain=3, generator=seeded())
    assert torch.equal(chosen.positions, expected.positions)
    assert torch.equal(chosen.scores, expected.scores)


def test_wrong_tables_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="expected features of the 3 points with log-probabilities, but got 2 rows"):
        dropquery(votes([0, 0, 0], 5), torch.eye(2), 1, generator=seeded())
    with pytest.raises(ValueError, match=r"`dropquery` compares posterior samples .* at least 2 .* got 1"):
        dropquery(votes([0, 0, 0], 1), torch.eye(3), 1, generator=seeded())
    with pytest.raises(ValueError, match="`DropQuery` needs `min_uncertain` of at least 1, but got 0"):
        DropQuery(0)
