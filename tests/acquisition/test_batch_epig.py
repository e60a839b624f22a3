"""BatchEPIG against enumeration of all outcomes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lightning_al.acquisition import BatchEPIG
from lightning_al.acquisition.batch_epig import BLOCK_POINTS, batch_epig
from lightning_al.acquisition.epig import epig
from lightning_al.points import Candidates, Points
from tests import references
from tests.references import random_log_probs


@pytest.mark.parametrize(("K", "C", "T", "seed"), [(2, 2, 1, 0), (4, 3, 3, 1), (6, 2, 4, 2), (3, 3, 2, 3)])
def test_is_the_greedy_choice_by_enumeration(K: int, C: int, T: int, seed: int) -> None:
    log_probs_N_K_C = random_log_probs(6, K, C, seed=seed)
    log_probs_N_K_C[4] = log_probs_N_K_C[2]
    log_probs_T_K_C = random_log_probs(T, K, C, seed=seed + 10)
    expected, scores = references.batch_epig(log_probs_N_K_C, log_probs_T_K_C, 4)
    selection = batch_epig(log_probs_N_K_C, log_probs_T_K_C, 4)
    assert selection.positions.tolist() == expected
    assert selection.scores.tolist() == pytest.approx(scores, abs=1e-12)
    in_float32 = batch_epig(log_probs_N_K_C.float(), log_probs_T_K_C, 4)
    assert in_float32.scores.tolist() == pytest.approx(scores, abs=1e-5)


def test_two_labels_may_tell_about_a_target_only_together() -> None:
    """The target is the exclusive or of two questions: no label tells about it, and both decide it."""
    answers = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]])
    questions = torch.nn.functional.one_hot(answers, 2).double().log()
    assert epig(questions[:2], questions[2:]).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    selection = batch_epig(questions[:2], questions[2:], 2)
    assert selection.scores.tolist() == pytest.approx([0.0, math.log(2)], abs=1e-12)


def test_the_first_pick_is_epigs() -> None:
    """More points than a block, of which most tell too little about the weights to be evaluated."""
    N = 3 * BLOCK_POINTS + 7
    spreads_N = torch.logspace(-3, 0.5, N, dtype=torch.float64)[torch.randperm(N, generator=torch.manual_seed(0))]
    log_probs_N_K_C = (random_log_probs(N, 6, 3, seed=4, spread=1.0) * spreads_N[:, None, None]).log_softmax(-1)
    log_probs_T_K_C = random_log_probs(5, 6, 3, seed=5)
    scores_N = epig(log_probs_N_K_C, log_probs_T_K_C)
    for dtype in (torch.float64, torch.float32):
        selection = batch_epig(log_probs_N_K_C.to(dtype), log_probs_T_K_C, 1)
        assert selection.positions.tolist() == [int(scores_N.argmax())]
        assert selection.scores.tolist() == pytest.approx([float(scores_N.max())], abs=1e-5)


def test_drawn_joint_labels_keep_the_bounds() -> None:
    """With more outcomes than joint labels that are held, scores grow, and stay below what is to be known."""
    log_probs_N_K_C, log_probs_T_K_C = random_log_probs(12, 8, 4, seed=6), random_log_probs(6, 8, 4, seed=7)
    selection = batch_epig(log_probs_N_K_C, log_probs_T_K_C, 12, num_configurations=200)
    assert sorted(selection.positions.tolist()) == list(range(12))
    scores = selection.scores.tolist()
    assert scores[2] == pytest.approx(
        references.information_about_targets(log_probs_N_K_C[selection.positions[:3]], log_probs_T_K_C), abs=1e-12
    )
    exact = references.information_about_targets(log_probs_N_K_C[selection.positions[:5]], log_probs_T_K_C)
    assert scores[4] == pytest.approx(exact, abs=0.05)
    assert max(scores) <= selection.metrics["target_entropy"]  # type: ignore[operator]
    means = log_probs_T_K_C.exp().mean(1).tolist()
    assert selection.metrics["target_entropy"] == pytest.approx(sum(map(references.entropy, means)) / 6)


def test_equal_points_are_picked_by_chance() -> None:
    log_probs_N_K_C = random_log_probs(1, 4, 3, seed=8, dtype=torch.float32).expand(5, 4, 3)
    firsts = {
        int(batch_epig(log_probs_N_K_C, log_probs_N_K_C, 1, generator=torch.Generator().manual_seed(seed)).positions)
        for seed in range(40)
    }
    assert firsts == set(range(5))


def test_all_is_known_already() -> None:
    sure = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]).expand(3, 2, 2).log()
    selection = batch_epig(sure, sure, 5)
    assert sorted(selection.positions.tolist()) == [0, 1, 2]
    assert selection.scores.tolist() == [0.0, 0.0, 0.0]


def test_the_class_reads_the_target_inputs() -> None:
    pool, targets = random_log_probs(10, 5, 3, seed=9), random_log_probs(4, 5, 3, seed=10)
    candidates = Candidates.stream(10, lambda: pool.split(3), target_inputs=Points(4, targets))
    found = BatchEPIG().select(candidates, 3, torch.Generator().manual_seed(0))
    assert found.positions.tolist() == references.batch_epig(pool, targets, 3)[0]
    one = BatchEPIG(num_target_inputs=1).select(candidates, 1, torch.Generator().manual_seed(0))
    assert any(
        one.scores.item() == pytest.approx(max(references.epig(pool, target[None])), abs=1e-9) for target in targets
    )


@pytest.mark.parametrize("name", ["num_target_inputs", "num_configurations"])
def test_numbers_below_one_raise(name: str) -> None:
    wrong: Any = {name: 0}
    with pytest.raises(ValueError, match=f"`BatchEPIG` needs `{name}` of at least 1, but got 0"):
        BatchEPIG(**wrong)
