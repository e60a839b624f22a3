"""Laws of the configurations, and of the gains that are averaged over them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald.configurations import BLOCK_ROWS, ROUNDING, Configurations, average
from lightning_al.acquisition.batchbald.gains import gains
from tests import references
from tests.references import random_log_probs


def configurations_of(log_probs_S_K_C, *, limit, seed=0):
    generator = torch.Generator().manual_seed(seed)
    configurations = Configurations.before_any_label(log_probs_S_K_C.shape[1])
    for log_probs_K_C in log_probs_S_K_C:
        configurations = configurations.observe(log_probs_K_C.exp(), limit=limit, generator=generator)
    return configurations


def fast_gains(log_probs_N_K_C, configurations):
    probs_N_C_K = log_probs_N_K_C.exp().clamp_min(1e-18).transpose(1, 2).contiguous()
    entropies_N_K = -(probs_N_C_K * probs_N_C_K.log()).sum(1)
    return gains(probs_N_C_K, entropies_N_K, None, configurations.to(torch.float64))


def rounding(configurations):
    """How far sums over the posteriors may be off."""
    return 1e-6 if configurations.posteriors_M_K.dtype == torch.float32 else 1e-12


@given(
    seed=st.integers(0, 10_000),
    K=st.integers(2, 12),
    C=st.integers(2, 5),
    S=st.integers(1, 6),
    spread=st.floats(0.1, 9),
)
def test_gains_lie_between_zero_and_bald(seed, K, C, S, spread):
    log_probs_N_K_C = random_log_probs(20, K, C, seed=seed, spread=spread)
    configurations = configurations_of(log_probs_N_K_C[:S], limit=30 * K)
    gains_N = fast_gains(log_probs_N_K_C, configurations)
    assert (gains_N >= -1e-12).all()
    assert (gains_N <= configurations.gain_per_bald * bald(log_probs_N_K_C) + 1e-12).all()
    assert configurations.gain_per_bald < 1 + 2e-5 or spread > 1


@given(seed=st.integers(0, 10_000), least_entropy=st.sampled_from([0.0, 1e-6, 1e-2, 0.5]))
def test_settled_configurations_add_no_more_than_is_said(seed, least_entropy):
    log_probs_N_K_C = random_log_probs(20, 6, 4, seed=seed, spread=6.0)
    configurations = configurations_of(log_probs_N_K_C[:5], limit=300)
    undecided = configurations.undecided(least_entropy)
    neglected = configurations.entropy_left - undecided.entropy_left
    lacking_N = fast_gains(log_probs_N_K_C, configurations) - fast_gains(log_probs_N_K_C, undecided)
    assert (lacking_N >= -rounding(configurations)).all()
    assert (lacking_N <= neglected + rounding(configurations)).all()


@given(seed=st.integers(0, 10_000), limit=st.sampled_from([1, 12, 100, 5000]), S=st.integers(1, 6))
def test_configurations_are_distributions(seed, limit, S):
    configurations = configurations_of(random_log_probs(S, 6, 4, seed=seed), limit=limit)
    ones_M = torch.ones_like(configurations.weights_M)
    torch.testing.assert_close(configurations.weights_M.sum(), torch.ones_like(ones_M[0]))
    torch.testing.assert_close(configurations.posteriors_M_K.sum(1), ones_M, check_dtype=False)
    assert len(configurations) <= max(limit, 6)


def test_gains_equal_the_whole_table():
    log_probs_N_K_C = random_log_probs(30, 6, 4, seed=0)
    configurations = configurations_of(log_probs_N_K_C[:5], limit=200)
    torch.testing.assert_close(
        fast_gains(log_probs_N_K_C, configurations),
        references.gains(log_probs_N_K_C, configurations),
        rtol=0,
        atol=1e-12,
    )


def test_all_configurations_hold_exactly_what_the_labels_tell():
    log_probs_S_K_C = random_log_probs(5, 4, 3, seed=1)
    configurations = configurations_of(log_probs_S_K_C, limit=3**5)
    assert not configurations.sampled
    expected = references.joint_mutual_information(log_probs_S_K_C)
    assert configurations.information.item() == pytest.approx(expected, abs=1e-12)


def test_impossible_labels_take_no_room():
    p_K_C = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    configurations = configurations_of(p_K_C.log().expand(20, 2, 2), limit=4)
    assert not configurations.sampled
    assert len(configurations) == 2


def test_drawn_configurations_are_unbiased():
    log_probs_S_K_C = random_log_probs(5, 4, 3, seed=2)
    truth_N = references.gains(log_probs_S_K_C, configurations_of(log_probs_S_K_C[:4], limit=3**4))
    draws = torch.stack(
        [
            references.gains(log_probs_S_K_C, configurations_of(log_probs_S_K_C[:4], limit=40, seed=s))
            for s in range(200)
        ]
    )
    error_N = 4 * draws.std(0) / math.sqrt(len(draws))
    # Reusing the weights that the draws themselves suggest leaves a bias of the order 1/M.
    assert ((draws.mean(0) - truth_N).abs() <= error_N + 0.2 / 40).all()


def test_as_many_are_drawn_from_each_sample_and_all_samples_stay_equally_likely():
    configurations = configurations_of(random_log_probs(6, 5, 4, seed=3, spread=1.0), limit=503)
    assert configurations.sampled
    assert len(configurations) == 500
    mean_K = configurations.weights_M @ configurations.posteriors_M_K.double()
    torch.testing.assert_close(mean_K, torch.full_like(mean_K, 1 / 5), rtol=0, atol=1e-5 / 5)
    torch.testing.assert_close(configurations.mean_K, mean_K, rtol=1e-6, atol=0)


def test_samples_that_are_the_same_do_not_unbalance_the_others():
    twice_S_K_C = random_log_probs(6, 5, 4, seed=3, spread=1.0).repeat(1, 2, 1)
    configurations = configurations_of(twice_S_K_C, limit=500)
    mean_K = configurations.mean_K
    torch.testing.assert_close(mean_K, torch.full_like(mean_K, 1 / 10), rtol=0, atol=1e-5 / 10)


@pytest.mark.parametrize("M", [BLOCK_ROWS, 1000, 2044])
def test_an_average_of_equal_terms_drifts_by_less_than_is_said(M):
    posteriors_M_K = torch.zeros(M, 4)
    posteriors_M_K[: M // 2, :2] = posteriors_M_K[M // 2 :, 2:] = 0.5
    mean_K = average(torch.full((M,), 1 / M, dtype=torch.float64), posteriors_M_K)
    assert (mean_K * 4 - 1).abs().max() <= ROUNDING
