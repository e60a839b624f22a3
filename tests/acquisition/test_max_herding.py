"""MaxHerding against the whole kernel matrix.

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

from lightning_al import Candidates, MaxHerding, Points, max_herding
from lightning_al.acquisition.coverage import BLOCK_ROWS
from tests import references
from tests.support.features import unit_rows


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, int, dict[str, Any]]:
    """Features, some of them equal, with and without labelled points and weights, some of them 0."""
    N, D, n, seed = (
        draw(st.integers(1, 30)),
        draw(st.integers(1, 5)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 999)),
    )
    generator = torch.Generator().manual_seed(seed)
    features_N_D = unit_rows(N, D, seed=seed)
    if draw(st.booleans()):
        features_N_D = features_N_D[torch.randint(max(1, N // 3), (N,), generator=generator)]
    options: dict[str, Any] = {"bandwidth": draw(st.sampled_from([0.1, 0.5, 1.0, 3.0]))}
    if n:
        options["labelled_n_D"] = torch.cat([unit_rows(n, D, seed=seed + 1), features_N_D[:1]])
    if draw(st.booleans()):
        weights_N = torch.rand(N, generator=generator, dtype=torch.float64)
        options["weights_N"] = weights_N * (torch.rand(N, generator=generator) < 0.7)
    return features_N_D, draw(st.integers(1, N)), options


@given(problems())
def test_picks_are_those_of_evaluating_every_point(problem: tuple[Tensor, int, dict[str, Any]]) -> None:
    features_N_D, b, options = problem
    selection = max_herding(features_N_D, b, **options)
    assert selection.positions.tolist() == references.max_herding(features_N_D, b, **options)


@given(problems())
def test_scores_are_the_gains_and_only_fall(problem: tuple[Tensor, int, dict[str, Any]]) -> None:
    features_N_D, b, options = problem
    selection = max_herding(features_N_D, b, **options)
    picked_n_D = options.get("labelled_n_D", features_N_D[:0])
    weights_N = options.get("weights_N", torch.ones(len(features_N_D)))
    for position, score in zip(selection.positions.tolist(), selection.scores.tolist(), strict=True):
        gains = references.herding_gains(features_N_D, picked_n_D, weights_N, options["bandwidth"])
        assert score == pytest.approx(float(gains[position]), abs=1e-12)
        picked_n_D = torch.cat([picked_n_D, features_N_D[position, None]])
    assert (selection.scores.diff() <= 1e-12).all()
    assert (selection.scores >= 0).all()


@given(problems())
def test_in_single_precision_each_pick_is_the_best_but_for_rounding(
    problem: tuple[Tensor, int, dict[str, Any]],
) -> None:
    features_N_D, b, options = problem
    options = {name: thing.float() if isinstance(thing, Tensor) else thing for name, thing in options.items()}
    selection = max_herding(features_N_D.float(), b, **options)
    assert selection.scores.dtype == torch.float32
    picked_n_D = options.get("labelled_n_D", features_N_D[:0])
    weights_N = options.get("weights_N", torch.ones(len(features_N_D)))
    rounding = 2e-6 / min(1.0, options["bandwidth"]) ** 2
    for position in selection.positions.tolist():
        gains = references.herding_gains(features_N_D.float(), picked_n_D, weights_N, options["bandwidth"])
        assert float(gains[position]) >= float(gains.max()) - rounding
        picked_n_D = torch.cat([picked_n_D.float(), features_N_D[position, None].float()])


def test_several_blocks() -> None:
    N = BLOCK_ROWS + 100
    features_N_D, labelled_n_D = unit_rows(N, 4), unit_rows(BLOCK_ROWS + 3, 4, seed=1)
    weights_N = torch.linspace(0, 1, N, dtype=torch.float64)
    for options in ({}, {"weights_N": weights_N, "labelled_n_D": labelled_n_D, "bandwidth": 0.2}):
        selection = max_herding(features_N_D, 3, **options)
        assert selection.positions.tolist() == references.max_herding(features_N_D, 3, **options)


def test_greedy_picks_reach_their_share_of_the_best_coverage() -> None:
    for seed in range(10):
        features_N_D, b = unit_rows(9, 2, seed=seed), 3
        reached = float(max_herding(features_N_D, b, bandwidth=0.5).scores.sum())
        kernel_N_N = (-torch.cdist(features_N_D, features_N_D).square() / 0.25).exp()
        best = max(float(kernel_N_N[:, list(S)].amax(1).mean()) for S in itertools.combinations(range(9), b))
        assert (1 - 1 / math.e) * best <= reached <= best + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_points_are_picked_equally_often(dtype: torch.dtype) -> None:
    """Of four equal points the first pick is each in turn; the rest come in random order, with gains of 0."""
    features_N_D = unit_rows(1, 7, dtype=dtype).repeat(4, 1)
    orders = [
        tuple(max_herding(features_N_D, 4, generator=torch.Generator().manual_seed(seed)).positions.tolist())
        for seed in range(120)
    ]
    # The standard deviation of each count is 4.7.
    assert all(abs(sum(order[0] == i for order in orders) - 30) < 19 for i in range(4))
    assert len(set(orders)) > 20
    assert max_herding(features_N_D, 4).scores.tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)


def test_copies_are_left_until_all_is_covered() -> None:
    places_3_D = unit_rows(3, 4, dtype=torch.float32)
    positions = max_herding(places_3_D.repeat(3, 1), 9).positions
    assert sorted((positions[:3] % 3).tolist()) == [0, 1, 2]
    assert sorted(positions.tolist()) == list(range(9))


def test_a_point_of_weight_zero_needs_no_cover() -> None:
    features_N_D = torch.tensor([[0.0], [0.0], [5.0]])
    assert max_herding(features_N_D, 1, weights_N=torch.tensor([0.0, 0.0, 0.1])).positions.tolist() == [2]


def test_all_weights_zero_selects_at_random() -> None:
    picks = {
        int(
            max_herding(
                unit_rows(5, 3), 1, weights_N=torch.zeros(5), generator=torch.Generator().manual_seed(seed)
            ).positions
        )
        for seed in range(40)
    }
    assert picks == set(range(5))


def test_isolated_points_are_told_apart_by_their_weights() -> None:
    """With a bandwidth far below all distances, each point covers itself alone."""
    weights_N = torch.linspace(0.9, 1, 50)[torch.randperm(50, generator=torch.Generator().manual_seed(0))]
    selection = max_herding(unit_rows(50, 8, dtype=torch.float32), 5, weights_N=weights_N, bandwidth=0.05)
    assert selection.positions.tolist() == weights_N.topk(5).indices.tolist()


@pytest.mark.parametrize("N", [0, 1, 3])
def test_all_points_where_there_are_fewer(N: int) -> None:
    selection = max_herding(unit_rows(N, 2), 5)
    assert sorted(selection.positions.tolist()) == list(range(N))
    assert selection.positions.dtype == torch.int64


def test_half_precision_is_worked_on_in_float32() -> None:
    features_N_D = unit_rows(20, 3).half()
    assert max_herding(features_N_D, 5).scores.equal(max_herding(features_N_D.float(), 5).scores)


def test_the_class_scales_rows_and_reads_the_labelled() -> None:
    features_N_D, labelled_n_D = unit_rows(20, 3), unit_rows(4, 3, seed=1)
    labelled = Points(4, torch.empty(4, 1, 2), features=2 * labelled_n_D)
    candidates = Candidates(20, torch.empty(20, 1, 2), features=5 * features_N_D, labelled=labelled)
    expected = max_herding(features_N_D, 6, labelled_n_D=labelled_n_D, bandwidth=0.5)
    selection = MaxHerding(bandwidth=0.5).select(candidates, 6, torch.Generator().manual_seed(0))
    assert selection.positions.equal(expected.positions)
    torch.testing.assert_close(selection.scores, expected.scores)


def test_nothing_labelled_and_no_predictions() -> None:
    def fail() -> Tensor:
        raise AssertionError("the model was run")

    features_N_D = unit_rows(9, 3)
    candidates = Candidates(9, fail, features=features_N_D, labelled=Points(0, fail))
    selection = MaxHerding().select(candidates, 3, torch.Generator().manual_seed(0))
    assert selection.positions.equal(max_herding(features_N_D, 3).positions)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"weights_N": torch.ones(3)},
            r"expected weights of shape \[4\], one for each point, but got \[3\]",
        ),
        ({"weights_N": torch.tensor([1, 1, -0.5, 1])}, r"finite weights of at least 0, but got -0.5 at position 2"),
        ({"weights_N": torch.tensor([1, math.nan, 1, 1])}, r"finite weights of at least 0, but got nan at position 1"),
        ({"bandwidth": 0.0}, r"`max_herding` expected a bandwidth, a distance between features, .* but got 0.0"),
        ({"bandwidth": math.nan}, "a number above 0, but got nan. Pass 1.0 for rows of length 1"),
        ({"bandwidth": "1"}, "a number above 0, but got '1'. Pass 1.0"),
        ({"labelled_n_D": torch.ones(2, 3)}, "expected labelled points with 2 features, as many as .* but got 3. Pass"),
        ({"labelled_n_D": torch.full((2, 2), math.inf)}, "`max_herding` expected finite features of labelled points"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        max_herding(torch.ones(4, 2), 1, **options)


def test_weights_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(TypeError, match="`max_herding` expected weights as a tensor, but got list"):
        max_herding(torch.ones(2, 2), 1, weights_N=[1.0, 1.0])  # type: ignore[arg-type]


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`max_herding` expected finite features, but got NaN, Inf .* at position 1"):
        max_herding(torch.tensor([[1.0], [math.nan]]), 1)


def test_a_bandwidth_is_checked_when_the_object_is_made() -> None:
    with pytest.raises(ValueError, match="`MaxHerding` expected a bandwidth"):
        MaxHerding(bandwidth=-1.0)


@pytest.mark.parametrize("spread", [3e-2, 1e-3, 1e-5])
def test_single_precision_selects_as_double_precision_at_small_bandwidths(spread: float) -> None:
    features_N_D = near_few_places(spread).float()
    labelled_n_D = features_N_D[:2] + spread / 3
    selection = max_herding(features_N_D, 9, labelled_n_D=labelled_n_D, bandwidth=spread)
    expected = max_herding(features_N_D.double(), 9, labelled_n_D=labelled_n_D.double(), bandwidth=spread)
    assert selection.positions.equal(expected.positions)
    torch.testing.assert_close(selection.scores, expected.scores.float())
    found = references.max_herding(features_N_D, 9, labelled_n_D=labelled_n_D, bandwidth=spread)
    assert selection.positions.tolist() == found


@pytest.mark.parametrize("bandwidth", [1e-9, 1e-320])
def test_distances_far_below_the_spread_count(bandwidth: float) -> None:
    """Products of features 1 apart, in units of 1e-18, say nothing: float64 has 16 digits."""
    features_N_D = near_few_places(1e-9)
    features_N_D = torch.cat([features_N_D, features_N_D[:3], features_N_D[:1]])  # a place of three points, and so on
    selection = max_herding(features_N_D, 5, labelled_n_D=features_N_D[1:2], bandwidth=bandwidth)
    found = references.max_herding(features_N_D, 5, labelled_n_D=features_N_D[1:2], bandwidth=max(bandwidth, 1e-150))
    assert selection.positions.tolist() == found


def near_few_places(spread: float) -> Tensor:
    """Rows ``[60, 8]`` around four places of length 1."""
    noise_N_D = torch.randn(60, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return unit_rows(4, 8).repeat(15, 1) + spread / 4 * noise_N_D
