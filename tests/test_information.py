"""Laws that information obeys, whatever the predictions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald import batchbald
from lightning_al.information import conditional_entropy, entropy, mutual_information, posterior_mean
from tests import references
from tests.references import random_log_probs


@st.composite
def predictions(draw):
    """Predictions ``[N, K, C]``, some with probabilities of exactly zero."""
    N, K, C = draw(st.integers(2, 6)), draw(st.integers(2, 6)), draw(st.integers(2, 4))
    log_probs_N_K_C = random_log_probs(N, K, C, seed=draw(st.integers(0, 10_000)), spread=draw(st.floats(0.0, 20.0)))
    if draw(st.booleans()):
        log_probs_N_K_C = log_probs_N_K_C.masked_fill(log_probs_N_K_C < -4, -math.inf).log_softmax(-1)
    return log_probs_N_K_C


@given(predictions())
def test_formulas_equal_their_definitions(log_probs_N_K_C):
    probs = log_probs_N_K_C.exp().tolist()
    expected_N = [sum(map(references.entropy, point)) / len(point) for point in probs]
    assert conditional_entropy(log_probs_N_K_C).tolist() == pytest.approx(expected_N, abs=1e-12)
    torch.testing.assert_close(posterior_mean(log_probs_N_K_C).exp(), log_probs_N_K_C.exp().mean(1))
    assert mutual_information(log_probs_N_K_C).tolist() == pytest.approx(references.bald(log_probs_N_K_C), abs=1e-12)


@given(predictions())
def test_entropy_lies_between_zero_and_log_c(log_probs_N_K_C):
    entropies_N_K = entropy(log_probs_N_K_C)
    assert (entropies_N_K >= -1e-12).all()
    assert (entropies_N_K <= math.log(log_probs_N_K_C.shape[-1]) + 1e-12).all()


@given(predictions())
def test_bald_lies_between_zero_and_log_c_and_log_k(log_probs_N_K_C):
    scores_N = bald(log_probs_N_K_C)
    assert (scores_N >= 0).all()
    assert (scores_N <= math.log(min(log_probs_N_K_C.shape[1:])) + 1e-12).all()


@given(predictions())
def test_first_pick_of_batchbald_is_one_of_the_best_by_bald(log_probs_N_K_C):
    scores_N = bald(log_probs_N_K_C)
    selection = batchbald(log_probs_N_K_C, 1)
    assert scores_N[selection.positions[0]] >= scores_N.max() - 1e-12


@given(predictions())
def test_joint_information_grows_and_is_at_most_the_sum(log_probs_N_K_C):
    selection = batchbald(log_probs_N_K_C, len(log_probs_N_K_C))
    sums = bald(log_probs_N_K_C)[selection.positions].cumsum(0)
    assert (selection.scores.diff() >= -1e-10).all()
    assert (selection.scores <= sums + 1e-10).all()
    assert selection.scores.max() <= math.log(log_probs_N_K_C.shape[1]) + 1e-12
