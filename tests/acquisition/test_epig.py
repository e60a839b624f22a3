"""EPIG against its definition, and the laws of mutual information."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition import EPIG
from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.epig import BLOCK_CONFIGURATIONS, epig
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates, Points
from tests import references
from tests.references import random_log_probs


@pytest.mark.parametrize(("K", "C", "T"), [(2, 2, 1), (5, 3, 4), (10, 4, 7)])
def test_equals_the_definition(K: int, C: int, T: int) -> None:
    log_probs_N_K_C, log_probs_T_K_C = random_log_probs(8, K, C, seed=0), random_log_probs(T, K, C, seed=1)
    expected = references.epig(log_probs_N_K_C, log_probs_T_K_C)
    assert epig(log_probs_N_K_C, log_probs_T_K_C).tolist() == pytest.approx(expected, abs=1e-12)
    in_float32 = epig(log_probs_N_K_C.float(), log_probs_T_K_C)
    assert in_float32.dtype == torch.float32
    assert in_float32.tolist() == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 5.0, 50.0]))
def test_lies_between_zero_and_bald_and_below_what_is_unknown_of_the_targets(seed: int, spread: float) -> None:
    """With a spread of 50, most probabilities are 0 or 1 to within float64."""
    log_probs_N_K_C = random_log_probs(6, 4, 3, seed=seed, spread=spread)
    log_probs_T_K_C = random_log_probs(3, 4, 3, seed=seed + 1, spread=spread)
    scores_N = epig(log_probs_N_K_C, log_probs_T_K_C)
    assert (scores_N >= 0).all()
    assert (scores_N <= bald(log_probs_N_K_C) + 1e-12).all()
    means = posterior_mean(log_probs_T_K_C).exp().tolist()
    assert scores_N.max() <= sum(map(references.entropy, means)) / len(means) + 1e-12


def test_a_point_tells_of_itself_what_it_tells_of_the_weights_at_most() -> None:
    """It tells all of it if the weights decide the label."""
    sure = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    assert epig(sure.log(), sure.log()).item() == pytest.approx(bald(sure.log()).item())
    assert epig(sure.log(), sure.log()).item() == pytest.approx(1.5 * math.log(2))


def test_probabilities_of_zero_and_targets_without_doubt() -> None:
    p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    assert epig(p.log(), p[1:2].log()).tolist() == [0.0, 0.0, 0.0]
    assert epig(p.log(), p[2:].log()).tolist() == [0.0, 0.0, 0.0]
    assert epig(p.log(), p.log()).tolist() == pytest.approx([math.log(2) / 3, 0.0, 0.0])


def test_blocks_of_points_and_targets_change_nothing() -> None:
    N, K, C = 1000, 8, 4
    log_probs_N_K_C = random_log_probs(N, K, C, seed=2)
    scores_N = epig(log_probs_N_K_C, log_probs_N_K_C[:70])
    assert C * 70 > BLOCK_CONFIGURATIONS
    some = [0, 1, N // 3, N // 2, N - 2, N - 1]
    assert scores_N[some].tolist() == pytest.approx(references.epig(log_probs_N_K_C[some], log_probs_N_K_C[:70]))


def test_targets_are_drawn_without_replacement_from_the_target_inputs() -> None:
    """Each target tells which half of its pair is right, so the scores say which targets were drawn."""
    right_wrong = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    p_N_K_C = torch.full((6, 12, 2), 0.5)
    for i in range(6):
        p_N_K_C[i, 2 * i : 2 * i + 2] = right_wrong
    pool, targets = p_N_K_C.log(), Points(6, p_N_K_C.log())
    drawn = set()
    for seed in range(40):
        candidates = Candidates(6, pool, target_inputs=targets)
        scores_N = EPIG(num_target_inputs=2).score(candidates, torch.Generator().manual_seed(seed))
        places = frozenset((scores_N > 1e-3).nonzero().flatten().tolist())
        assert len(places) == 2
        drawn.add(places)
    assert len(drawn) > 10
    whole_N = EPIG().score(Candidates(6, pool, target_inputs=targets), torch.Generator())
    assert whole_N.equal(epig(pool, pool))


def test_the_pool_is_the_target_by_default() -> None:
    pool = random_log_probs(9, 5, 3, seed=3)
    scores_N = EPIG().score(Candidates.stream(9, lambda: pool.split(4)), torch.Generator())
    assert scores_N.tolist() == pytest.approx(references.epig(pool), abs=1e-12)


def test_it_targets_what_matters() -> None:
    """Two groups of questions: BALD prefers the odd one with three answers, which no target depends on."""
    answers = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]])
    log_probs_N_K_C = torch.nn.functional.one_hot(answers, 3).double().log()
    candidates = Candidates(2, log_probs_N_K_C, target_inputs=Points(1, log_probs_N_K_C[:1]))
    assert bald(log_probs_N_K_C).argmax() == 1
    assert EPIG().select(candidates, 1, torch.Generator()).positions.tolist() == [0]


def test_other_samples_for_points_and_targets_raise() -> None:
    with pytest.raises(ValueError, match="expected the same posterior samples for points and target inputs, but got 3"):
        epig(random_log_probs(2, 3, 2, seed=0), random_log_probs(2, 4, 2, seed=0))


def test_no_targets_raise() -> None:
    with pytest.raises(ValueError, match=r"measures predictions at target inputs, but got none of them\. Pass"):
        epig(random_log_probs(2, 3, 2, seed=0), torch.empty(0, 3, 2))


def test_targets_that_are_no_log_probabilities_raise() -> None:
    log_probs_T_K_C = random_log_probs(4, 3, 2, seed=0)
    log_probs_T_K_C[2] = math.nan
    with pytest.raises(
        ValueError, match=r"`epig\(log_probs_T_K_C=\.\.\.\)` expected .* NaN for 1 .* position 2\. Check"
    ):
        epig(random_log_probs(2, 3, 2, seed=0), log_probs_T_K_C)


@pytest.mark.parametrize("number", [0, -1])
def test_too_few_target_inputs_raise(number: Any) -> None:
    with pytest.raises(ValueError, match=f"`EPIG` needs `num_target_inputs` of at least 1, but got {number}"):
        EPIG(num_target_inputs=number)
