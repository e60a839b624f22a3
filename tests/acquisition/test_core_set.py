"""CoreSet against distances taken one by one.

Axes: N points, n labelled ones, D feature dimensions.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_al import Candidates, CoreSet, Points, core_set
from lightning_al.acquisition.core_set import BLOCK_ROWS
from tests import references
from tests.support.features import unit_rows


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, int, Tensor | None]:
    """Features, some of them equal, with and without labelled points."""
    N, D, n, seed = (draw(st.integers(*ends)) for ends in ((1, 25), (1, 5), (0, 4), (0, 999)))
    features_N_D = 3 * unit_rows(N, D, seed=seed) + 1
    if draw(st.booleans()):
        features_N_D = features_N_D[torch.randint(max(1, N // 3), (N,), generator=torch.Generator().manual_seed(seed))]
    labelled_n_D = torch.cat([unit_rows(n, D, seed=seed + 1), features_N_D[:1]]) if n else None
    return features_N_D, draw(st.integers(1, N)), labelled_n_D


@given(problems())
def test_each_pick_is_the_farthest(problem: tuple[Tensor, int, Tensor | None]) -> None:
    features_N_D, b, labelled_n_D = problem
    positions, scores = references.core_set(features_N_D, b, labelled_n_D)
    selection = core_set(features_N_D, b, labelled_n_D=labelled_n_D)
    assert selection.positions.tolist() == positions
    # The root of a square's rounding.
    assert selection.scores.tolist() == pytest.approx(scores, abs=1e-6)


@given(problems())
def test_single_precision_picks_the_farthest_but_for_rounding(problem: tuple[Tensor, int, Tensor | None]) -> None:
    features_N_D, b, labelled_n_D = problem
    features_N_D = features_N_D.float()
    labelled_n_D = None if labelled_n_D is None else labelled_n_D.float()
    selection = core_set(features_N_D, b, labelled_n_D=labelled_n_D)
    positions = selection.positions.tolist()
    assert sorted(set(positions)) == sorted(positions)
    assert selection.scores.dtype == torch.float32
    centres_n_D = features_N_D[positions[:1]] if labelled_n_D is None else labelled_n_D
    for position in positions[1 if labelled_n_D is None else 0 :]:
        nearest_N = torch.cdist(features_N_D.double(), centres_n_D.double()).amin(1).square()
        assert nearest_N[position] >= nearest_N.max() - 1e-4
        centres_n_D = torch.cat([centres_n_D, features_N_D[position, None]])


@pytest.mark.parametrize("n", [0, 2])
def test_the_radius_is_at_most_twice_the_least(n: int) -> None:
    for seed in range(8):
        features_N_D, labelled_n_D = unit_rows(9, 2, seed=seed), unit_rows(n, 2, seed=seed + 100)

        def radius(picked: list[int], x: Tensor = features_N_D, labelled: Tensor = labelled_n_D) -> float:
            return float(torch.cdist(x, torch.cat([labelled, x[picked]])).amin(1).max())

        least = min(radius(list(S)) for S in itertools.combinations(range(9), 3))
        reached = radius(core_set(features_N_D, 3, labelled_n_D=labelled_n_D).positions.tolist())
        assert least <= reached + 1e-12
        assert reached <= 2 * least + 1e-12


def test_several_blocks_of_candidates_and_labelled_points() -> None:
    features_N_D, labelled_n_D = unit_rows(BLOCK_ROWS + 9, 4), unit_rows(BLOCK_ROWS + 3, 4, seed=1)
    nearest_N = torch.cdist(features_N_D, labelled_n_D).amin(1)
    selection = core_set(features_N_D, 1, labelled_n_D=labelled_n_D)
    assert selection.positions.tolist() == [int(nearest_N.argmax())]
    assert selection.scores.tolist() == pytest.approx([float(nearest_N.max())])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_points_are_picked_in_random_order(dtype: torch.dtype) -> None:
    features_N_D = unit_rows(1, 7, dtype=dtype).repeat(3, 1)
    orders = [
        tuple(core_set(features_N_D, 3, generator=torch.Generator().manual_seed(seed)).positions.tolist())
        for seed in range(120)
    ]
    # The standard deviation of each count is 4.1.
    assert all(abs(orders.count(order) - 20) < 17 for order in itertools.permutations(range(3)))
    assert core_set(features_N_D, 3).scores.tolist() == pytest.approx([0, 0, 0], abs=1e-3)


def test_copies_are_left_until_every_place_is_picked() -> None:
    positions = core_set(unit_rows(4, 5, dtype=torch.float32).repeat(3, 1), 12).positions
    assert sorted((positions[:4] % 4).tolist()) == [0, 1, 2, 3]
    assert sorted(positions.tolist()) == list(range(12))


@pytest.mark.parametrize("N", [0, 1, 3])
def test_all_points_where_there_are_fewer(N: int) -> None:
    selection = core_set(unit_rows(N, 2), 5)
    assert sorted(selection.positions.tolist()) == list(range(N))
    assert selection.positions.dtype == torch.int64


def test_the_class_scales_rows_and_reads_the_labelled() -> None:
    features_N_D, labelled_n_D = unit_rows(20, 3), unit_rows(4, 3, seed=1)
    for rows in (0, 4):
        labelled = Points(rows, torch.empty(rows, 1, 2), features=2 * labelled_n_D[:rows])
        candidates = Candidates(20, torch.empty(20, 1, 2), features=5 * features_N_D, labelled=labelled)
        expected = core_set(features_N_D, 6, labelled_n_D=labelled_n_D[:rows])
        selection = CoreSet().select(candidates, 6, torch.Generator().manual_seed(0))
        assert selection.positions.equal(expected.positions)


@pytest.mark.parametrize(
    ("features", "options", "said"),
    [
        (torch.tensor([[math.nan]]), {}, "`core_set` expected finite features, but got NaN"),
        (torch.ones(2, 3), {"labelled_n_D": torch.ones(2, 4)}, "`core_set` expected labelled points with 3 features"),
        (torch.ones(2), {}, "`core_set` expected a table of features with two axes"),
    ],
)
def test_what_does_not_fit_is_refused(features: Tensor, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        core_set(features, 1, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_labelled", [False, True])
def test_a_far_point_does_not_hide_the_distances_of_the_rest(dtype: torch.dtype, is_labelled: bool) -> None:
    near_40_2 = 1e-3 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    features_N_D = torch.cat([near_40_2, torch.tensor([[100.0, 100.0]])]).double()
    labelled_n_D = features_N_D[-2:] if is_labelled else None
    positions, scores = references.core_set(features_N_D, 6, labelled_n_D)
    given_labelled = None if labelled_n_D is None else labelled_n_D.to(dtype)
    selection = core_set(features_N_D.to(dtype), 6, labelled_n_D=given_labelled)
    assert selection.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(scores, rel=1e-5)
