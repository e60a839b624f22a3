import math

import pytest
import torch

from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald import BatchBALD, batchbald
from lightning_al.points import Candidates
from tests import references
from tests.references import random_log_probs
from tests.support.combinations import one_in


@pytest.mark.parametrize(("N", "K", "C", "b"), [(6, 2, 2, 5), (7, 5, 3, 4), (5, 8, 4, 3), (9, 3, 2, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_greedy_enumeration_of_all_outcomes(N, K, C, b, seed):
    log_probs_N_K_C = random_log_probs(N, K, C, seed=seed)
    selection = batchbald(log_probs_N_K_C, b)
    positions, scores = references.batchbald(log_probs_N_K_C, b)
    assert selection.positions.tolist() == positions
    torch.testing.assert_close(selection.scores.tolist(), scores, rtol=0, atol=1e-10)


def test_equals_enumeration_with_exact_zeros():
    log_probs_N_K_C = random_log_probs(6, 4, 3, seed=0)
    log_probs_N_K_C[log_probs_N_K_C < -3] = -math.inf
    log_probs_N_K_C = log_probs_N_K_C.log_softmax(-1)
    selection = batchbald(log_probs_N_K_C, 4)
    positions, scores = references.batchbald(log_probs_N_K_C, 4)
    assert selection.positions.tolist() == positions
    torch.testing.assert_close(selection.scores.tolist(), scores, rtol=0, atol=1e-10)


SIZES = [(300, 10, 5, 12, 200), (200, 30, 4, 8, 600), (150, 4, 10, 20, 50)]


@pytest.mark.parametrize(
    ("sizes", "spread", "dtype"), one_in(2, SIZES, [0.5, 2.0, 8.0], [torch.float64, torch.float32])
)
def test_bounds_and_rounding_never_change_a_pick(sizes, spread, dtype):
    N, K, C, b, M = sizes
    log_probs_N_K_C = random_log_probs(N, K, C, seed=7, spread=spread, dtype=dtype)
    selection = batchbald(log_probs_N_K_C, b, num_configurations=M)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, b, num_configurations=M)
    assert selection.positions.tolist() == expected


def test_repeated_points_never_change_a_pick():
    log_probs_N_K_C = random_log_probs(50, 8, 4, seed=8, dtype=torch.float32).repeat(3, 1, 1)
    selection = batchbald(log_probs_N_K_C, 10, num_configurations=400)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, 10, num_configurations=400)
    assert selection.positions.tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_first_pick_is_that_of_bald(seed):
    log_probs_N_K_C = random_log_probs(200, 10, 5, seed=seed)
    selection = batchbald(log_probs_N_K_C, 1)
    scores_N = bald(log_probs_N_K_C)
    assert selection.positions.item() == scores_N.argmax()
    assert selection.scores.item() == pytest.approx(scores_N.max().item())


@pytest.mark.parametrize("M", [1, 40, 300])
def test_drawn_configurations_estimate_the_joint_information(M):
    log_probs_N_K_C = random_log_probs(40, 6, 3, seed=9)
    selection = batchbald(log_probs_N_K_C, 7, num_configurations=M)
    truth = references.joint_mutual_information(log_probs_N_K_C[selection.positions])
    assert selection.scores[-1].item() == pytest.approx(truth, abs=0.6 / math.sqrt(max(M, 6)))


def test_information_is_never_above_that_of_knowing_the_sample():
    log_probs_N_K_C = random_log_probs(60, 5, 4, seed=10, spread=10.0)
    scores = batchbald(log_probs_N_K_C, 60, num_configurations=100).scores
    assert scores.max() <= math.log(5) + 1e-12
    assert scores[-1].item() == pytest.approx(math.log(5), abs=1e-3)


def test_without_a_generator_calls_agree_and_leave_the_global_one_alone():
    log_probs_N_K_C = random_log_probs(60, 8, 5, seed=11)
    state = torch.get_rng_state()
    first, second = (batchbald(log_probs_N_K_C, 8, num_configurations=80) for _ in range(2))
    assert first.positions.equal(second.positions)
    assert torch.get_rng_state().equal(state)


def test_the_class_hands_its_arguments_to_the_function():
    log_probs_N_K_C = random_log_probs(60, 8, 5, seed=12)
    selection = BatchBALD(num_configurations=80).select(
        Candidates(60, log_probs_N_K_C), 8, torch.Generator().manual_seed(3)
    )
    expected = batchbald(log_probs_N_K_C, 8, num_configurations=80, generator=torch.Generator().manual_seed(3))
    assert selection.positions.equal(expected.positions)
    assert selection.scores.equal(expected.scores)


def test_one_sample_raises():
    with pytest.raises(ValueError, match=r"`batchbald` compares posterior samples .* got 1.*`num_samples`"):
        batchbald(torch.zeros(3, 1, 1), 2)


def test_no_configurations_raise():
    with pytest.raises(ValueError, match="`num_configurations` of at least 1, but got 0"):
        BatchBALD(num_configurations=0)
    with pytest.raises(ValueError, match="`num_configurations` of at least 1, but got -2"):
        batchbald(torch.full((3, 2, 2), 0.5).log(), 2, num_configurations=-2)
