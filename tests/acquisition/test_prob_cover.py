"""ProbCover against balls listed one by one.

Axes: N points, n labelled ones, D feature dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_al import Candidates, Points, ProbCover, prob_cover
from lightning_al.acquisition.coverage import BLOCK_ROWS
from tests import references
from tests.support.features import unit_rows


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, int, Tensor | None, float]:
    """Features, some of them equal, with and without labelled points, and a radius."""
    N, D, n, seed = (draw(st.integers(*ends)) for ends in ((1, 25), (1, 4), (0, 3), (0, 999)))
    features_N_D = unit_rows(N, D, seed=seed)
    if draw(st.booleans()):
        features_N_D = features_N_D[torch.randint(max(1, N // 3), (N,), generator=torch.Generator().manual_seed(seed))]
    labelled_n_D = torch.cat([unit_rows(n, D, seed=seed + 1), features_N_D[:1]]) if n else None
    return features_N_D, draw(st.integers(1, N)), labelled_n_D, draw(st.sampled_from([0.05, 0.4, 1.1, 3.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(problem=problems())
def test_each_ball_covers_the_most_points(
    problem: tuple[Tensor, int, Tensor | None, float], dtype: torch.dtype
) -> None:
    features_N_D, b, labelled_n_D, radius = problem
    positions, scores = references.prob_cover(features_N_D, b, labelled_n_D, radius)
    given_labelled = None if labelled_n_D is None else labelled_n_D.to(dtype)
    selection = prob_cover(features_N_D.to(dtype), b, labelled_n_D=given_labelled, radius=radius)
    assert selection.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(scores, abs=1e-6)


def test_every_point_has_a_ball_past_the_last_whole_block() -> None:
    """The authors' code leaves out the edges of the last N mod 500 points."""
    far_2_D = torch.full((BLOCK_ROWS + 1, 1), 9.0)
    features_N_D = torch.cat([torch.linspace(0, 3, BLOCK_ROWS).unsqueeze(1), far_2_D])
    selection = prob_cover(features_N_D, 1, radius=0.5)
    assert int(selection.positions) >= BLOCK_ROWS
    assert selection.scores.tolist() == pytest.approx([(BLOCK_ROWS + 1) / (2 * BLOCK_ROWS + 1)])


def test_where_all_is_covered_the_rest_comes_in_random_order() -> None:
    """The authors' code picks position 0 then, a point that has a label."""
    features_N_D = unit_rows(30, 2)
    orders = set()
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        selection = prob_cover(features_N_D, 30, labelled_n_D=features_N_D, radius=0.5, generator=generator)
        assert sorted(selection.positions.tolist()) == list(range(30))
        assert selection.scores.tolist() == [0] * 30
        orders.add(tuple(selection.positions.tolist()))
    assert len(orders) == 5


@pytest.mark.parametrize("purity", [0.5, 0.9, 0.95])
def test_the_radius_is_the_largest_that_keeps_balls_pure(purity: float) -> None:
    """Of two groups on a line that k-means tells apart, the points at the gap have impure balls first."""
    ones, twos = torch.linspace(0, 1, 30, dtype=torch.float64) ** 2, 1.3 + torch.linspace(0, 1, 30, dtype=torch.float64)
    line = torch.cat([ones, twos])
    group = torch.arange(60) // 30
    distances_N_N = (line[:, None] - line).abs()
    is_other_N_N = group[:, None] != group

    def share_of_pure(radius: float) -> float:
        return float((~((distances_N_N < radius) & is_other_N_N).any(1)).double().mean())

    radius = prob_cover(line.unsqueeze(1), 1, num_clusters=2, purity=purity).metrics["radius"]
    assert isinstance(radius, float)
    larger = distances_N_N[distances_N_N > radius + 1e-6].min()
    assert share_of_pure(radius - 1e-9) >= purity > share_of_pure(float(larger) + 1e-9)


def test_the_radius_of_a_large_pool_comes_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    features_N_D = torch.cat([unit_rows(40, 3) + 5, unit_rows(40, 3, seed=1) - 5])
    whole = prob_cover(features_N_D, 1, num_clusters=2).metrics["radius"]
    monkeypatch.setattr("lightning_al.acquisition.prob_cover.MOST_CLUSTERED", 20)
    of_sample = [prob_cover(features_N_D, 1, num_clusters=2).metrics["radius"] for _ in range(2)]
    assert of_sample[0] == of_sample[1]
    assert of_sample[0] == pytest.approx(whole, rel=0.2)
    assert of_sample[0] != whole


def test_choosing_does_not_advance_the_generator() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    prob_cover(unit_rows(20, 3), 2, generator=generator)
    assert generator.get_state().equal(before)


@pytest.mark.parametrize("N", [0, 1, 2, 5])
def test_all_points_where_there_are_fewer(N: int) -> None:
    for features_N_D in (unit_rows(N, 2), torch.zeros(N, 2), torch.ones(N, 2) * (1 + 1e-7 * torch.rand(N, 1))):
        selection = prob_cover(features_N_D, 7)
        assert sorted(selection.positions.tolist()) == list(range(N))


def test_the_class_scales_rows_and_reads_the_labelled() -> None:
    features_N_D, labelled_n_D = unit_rows(20, 3), unit_rows(4, 3, seed=1)
    for rows in (0, 4):
        labelled = Points(rows, torch.empty(rows, 1, 2), features=2 * labelled_n_D[:rows])
        candidates = Candidates(20, torch.empty(20, 1, 2), features=5 * features_N_D, labelled=labelled)
        options: dict[str, Any] = {"num_clusters": 3, "purity": 0.8}
        expected = prob_cover(features_N_D, 6, labelled_n_D=labelled_n_D[:rows], **options)
        selection = ProbCover(**options).select(candidates, 6, torch.Generator().manual_seed(0))
        assert selection.positions.equal(expected.positions)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"radius": 0.0}, r"`{}` expected a radius above 0, or None, but got 0\.0"),
        ({"radius": math.nan}, "`{}` expected a radius above 0, or None, but got nan"),
        ({"purity": 1.0}, r"`{}` expected a purity, a share of the balls, .* but got 1\.0"),
        ({"purity": None}, "`{}` expected a purity, .* but got None"),
        ({"num_clusters": 0}, "`{}` needs `num_clusters` of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.format("prob_cover")):
        prob_cover(unit_rows(2, 3), 1, **options)
    with pytest.raises(ValueError, match=said.format("ProbCover")):
        ProbCover(**options)


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
def test_single_precision_finds_the_balls_of_tight_clusters(spread: float) -> None:
    noise_N_D = torch.randn(60, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features_N_D = (unit_rows(3, 8).repeat(20, 1) + spread * noise_N_D).float()
    selection, expected = prob_cover(features_N_D, 6), prob_cover(features_N_D.double(), 6)
    assert selection.metrics == expected.metrics
    radius = selection.metrics["radius"]
    assert isinstance(radius, float)
    assert spread / 2 < radius < 20 * spread
    positions, scores = references.prob_cover(features_N_D, 6, None, radius)
    assert selection.positions.tolist() == expected.positions.tolist() == positions
    assert selection.scores.tolist() == pytest.approx(scores)


def test_of_balls_without_other_points_those_of_most_copies_come_first() -> None:
    selection = prob_cover(torch.tensor([[0.0], [0.1], [0.1], [1.0]]), 1, radius=1e-320)
    assert int(selection.positions) in (1, 2)
    assert selection.scores.tolist() == [0.5]


def test_the_radius_of_the_least_purity_is_the_largest_distance_to_another_cluster() -> None:
    line_N_1 = torch.tensor([[0.0], [0.1], [1.0], [1.2]])
    assert prob_cover(line_N_1, 1, num_clusters=2, purity=1e-12).metrics == {"radius": pytest.approx(1.1)}
    assert prob_cover(torch.ones(4, 2), 1, purity=1e-12).metrics == {"radius": 1.0}
