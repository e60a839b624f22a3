"""UHerding against its definition from the whole kernel matrix.

Axes: N points, n labelled ones, K posterior samples, C classes, D feature dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_al import Candidates, MaxHerding, Points, UHerding, max_herding, uherding
from tests import references
from tests.references import random_log_probs
from tests.support.features import unit_rows

N, n, K, C, D = 40, 5, 3, 4, 3


def candidates(labelled: int = n) -> Candidates:
    others = Points(labelled, torch.empty(labelled, 1, C), features=unit_rows(labelled, D, seed=1))
    return Candidates(N, random_log_probs(N, K, C, seed=0), features=unit_rows(N, D), labelled=others)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("bandwidth", [0.4, 1.0, "adaptive"])
def test_weighs_each_point_by_its_margin(temperature: float, bandwidth: Any) -> None:
    pool = candidates()
    log_probs_N_K_C, features_N_D, labelled_n_D = pool.log_probs_N_K_C, unit_rows(N, D), unit_rows(n, D, seed=1)
    weights = []
    for mean in references.posterior_mean(log_probs_N_K_C):
        heated = [p ** (1 / temperature) for p in mean]
        second, first = sorted(p / sum(heated) for p in heated)[-2:]
        weights.append(1 - (first - second))
    smallest = min(math.dist(x, y) for x in labelled_n_D.tolist() for y in labelled_n_D.tolist() if x != y)
    expected = references.max_herding(
        features_N_D,
        8,
        labelled_n_D=labelled_n_D,
        weights_N=torch.tensor(weights, dtype=torch.float64),
        bandwidth=smallest if bandwidth == "adaptive" else bandwidth,
    )
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"bandwidth": bandwidth, "temperature": temperature}
    selection = uherding(features_N_D, log_probs_N_K_C, 8, labelled_n_D=labelled_n_D, **options)
    assert selection.positions.tolist() == expected
    assert UHerding(**options).select(pool, 8, generator).positions.tolist() == expected


def test_is_max_herding_where_nothing_is_labelled() -> None:
    def fail() -> Tensor:
        raise AssertionError("the model was run")

    pool = Candidates(N, fail, features=unit_rows(N, D), labelled=Points(0, fail))
    for bandwidth in (1.0, "adaptive"):
        selection = UHerding(bandwidth=bandwidth).select(pool, 4, torch.Generator().manual_seed(0))
        assert selection.positions.equal(max_herding(unit_rows(N, D), 4).positions)


def test_is_max_herding_at_a_high_temperature() -> None:
    picks = [
        acquisition.select(candidates(), 8, torch.Generator().manual_seed(0)).positions.tolist()
        for acquisition in (MaxHerding(), UHerding(temperature=1e9))
    ]
    assert picks[0] == picks[1]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_adaptive_bandwidth_is_1_where_no_labelled_points_differ(rows: int) -> None:
    labelled_n_D = unit_rows(1, D, seed=2).repeat(rows, 1)
    log_probs_N_K_C = random_log_probs(N, K, C, seed=0)
    adaptive, fixed = (
        uherding(unit_rows(N, D), log_probs_N_K_C, 5, labelled_n_D=labelled_n_D, bandwidth=bandwidth)
        for bandwidth in ("adaptive", 1.0)
    )
    assert adaptive.scores.equal(fixed.scores)


def test_copies_of_a_labelled_point_do_not_count_for_the_adaptive_bandwidth() -> None:
    """Rows that were scaled to length 1 in float32 differ in the last digit."""
    labelled_n_D = unit_rows(4, D, seed=2, dtype=torch.float32)
    nearly = labelled_n_D * (1 + 1e-7)
    log_probs_N_K_C = random_log_probs(N, K, C, seed=0)
    selections = [
        uherding(unit_rows(N, D).float(), log_probs_N_K_C, 5, labelled_n_D=rows_n_D, bandwidth="adaptive")
        for rows_n_D in (labelled_n_D, torch.cat([labelled_n_D, labelled_n_D, nearly]))
    ]
    torch.testing.assert_close(selections[0].scores, selections[1].scores)


def test_a_sure_model_leaves_ties() -> None:
    sure_N_1_C = torch.nn.functional.one_hot(torch.arange(N) % C, C).unsqueeze(1).double().log()
    selection = uherding(unit_rows(N, D), sure_N_1_C, N)
    assert sorted(selection.positions.tolist()) == list(range(N))
    assert selection.scores.tolist() == [0] * N


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bandwidth": "auto"}, "`{}` expected a bandwidth, .* as a number above 0, but got 'auto'"),
        ({"temperature": 0.0}, r"`{}` expected a temperature above 0, but got 0\.0\. Pass 1\.0 to leave"),
        ({"temperature": math.inf}, "`{}` expected a temperature above 0, but got inf"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.format("uherding")):
        uherding(unit_rows(2, D), random_log_probs(2, K, C, seed=0), 1, **options)
    with pytest.raises(ValueError, match=said.format("UHerding")):
        UHerding(**options)


def test_tables_of_different_points_are_refused() -> None:
    with pytest.raises(ValueError, match="expected features and log-probabilities of the same points, but got 3"):
        uherding(unit_rows(3, D), random_log_probs(2, K, C, seed=0), 1)
