"""BatchBALD on problems made to break it, against the form that evaluates every candidate under every configuration."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.acquisition.batchbald import batchbald
from lightning_al.acquisition.batchbald.configurations import Configurations
from tests import references
from tests.references import random_log_probs
from tests.support.combinations import one_in


def plain(log_probs_N_K_C, generator):
    return log_probs_N_K_C


def zeros(log_probs_N_K_C, generator):
    """Some classes impossible under some samples."""
    drop = torch.rand(log_probs_N_K_C.shape, generator=generator) < 0.4
    drop[..., 0] = False
    return log_probs_N_K_C.masked_fill(drop, -math.inf).log_softmax(-1)


def one_hot(log_probs_N_K_C, generator):
    """Each sample sure of a class."""
    return torch.nn.functional.one_hot(log_probs_N_K_C.argmax(-1), log_probs_N_K_C.shape[-1]).double().log()


def some_one_hot(log_probs_N_K_C, generator):
    is_sure_N = torch.rand(len(log_probs_N_K_C), 1, 1, generator=generator) < 0.5
    return torch.where(is_sure_N, one_hot(log_probs_N_K_C, generator), log_probs_N_K_C)


def identical_points(log_probs_N_K_C, generator):
    N = len(log_probs_N_K_C)
    return log_probs_N_K_C[torch.randint(max(1, N // 3), (N,), generator=generator)]


def identical_samples(log_probs_N_K_C, generator):
    K = log_probs_N_K_C.shape[1]
    return log_probs_N_K_C[:, torch.randint(max(1, K // 2), (K,), generator=generator)]


def agreeing_samples(log_probs_N_K_C, generator):
    return log_probs_N_K_C[:, :1].expand_as(log_probs_N_K_C)


def tiny_probabilities(log_probs_N_K_C, generator):
    """Probabilities down to 1e-30."""
    low = -torch.rand(log_probs_N_K_C.shape, generator=generator, dtype=torch.float64) * 30 * math.log(10)
    low[..., 0] = 0.0
    return low.log_softmax(-1)


KINDS = [plain, zeros, one_hot, some_one_hot, identical_points, identical_samples, agreeing_samples, tiny_probabilities]


@st.composite
def problems(draw, most_points=24, most_samples=24, most_classes=8):
    """Log-probabilities, and how many points to choose."""
    N, K, C = draw(st.integers(1, most_points)), draw(st.integers(2, most_samples)), draw(st.integers(2, most_classes))
    seed, spread = draw(st.integers(0, 10_000)), draw(st.sampled_from([0.01, 0.5, 2.0, 10.0]))
    kind, dtype = draw(st.sampled_from(KINDS)), draw(st.sampled_from([torch.float32, torch.float64]))
    log_probs_N_K_C = random_log_probs(N, K, C, seed=seed, spread=spread)
    return kind(log_probs_N_K_C, torch.Generator().manual_seed(seed)).to(dtype), draw(st.integers(1, N))


def assert_picks_of_evaluating_everything(problem, M):
    log_probs_N_K_C, b = problem
    selection = batchbald(log_probs_N_K_C, b, num_configurations=M)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, b, num_configurations=M)
    assert_equal_up_to_ties(selection.positions.tolist(), expected, log_probs_N_K_C, M)
    assert (selection.scores <= math.log(log_probs_N_K_C.shape[1]) + 1e-6).all()
    assert not selection.scores.isnan().any()


def assert_equal_up_to_ties(chosen, expected, log_probs_N_K_C, M):
    """Where float64 cannot tell two points apart, either may be chosen, and what follows may differ."""
    generator = torch.Generator().manual_seed(0)
    configurations = Configurations.before_any_label(log_probs_N_K_C.shape[1])
    for one, other in zip(chosen, expected, strict=True):
        if one != other:
            gains_N = references.gains(log_probs_N_K_C, configurations)
            assert gains_N[one].item() == pytest.approx(gains_N[other].item(), abs=3e-12)
            return
        probs_K_C = log_probs_N_K_C[one].double().exp()
        configurations = configurations.observe(probs_K_C, limit=M, generator=generator)


@settings(max_examples=30)
@given(problem=problems(most_points=16, most_samples=16), M=st.sampled_from([1, 30, 300]))
def test_picks_are_those_of_evaluating_everything(problem, M):
    assert_picks_of_evaluating_everything(problem, M)


@pytest.mark.slow
@settings(max_examples=2000)
@given(
    problem=problems(most_points=200, most_samples=60, most_classes=12), M=st.sampled_from([1, 30, 300, 3000, 10_000])
)
def test_picks_are_those_of_evaluating_everything_on_many_larger_problems(problem, M):
    assert_picks_of_evaluating_everything(problem, M)


def test_thousands_of_equal_terms_are_added_up_without_a_drift():
    """In float32, each addition of the same small number to a growing sum is off in the same direction."""
    log_probs_N_K_C = random_log_probs(68, 2, 2, seed=0)
    log_probs_N_K_C = tiny_probabilities(log_probs_N_K_C, torch.Generator().manual_seed(0)).float()
    assert_picks_of_evaluating_everything((log_probs_N_K_C, 26), 10_000)


SIZES = [(6, 2, 1000, 3), (6, 1000, 2, 6), (5, 300, 40, 3), (40, 2, 2, 40)]


@pytest.mark.parametrize(("sizes", "kind", "dtype"), one_in(4, SIZES, KINDS, [torch.float32, torch.float64]))
def test_extreme_sizes(sizes, kind, dtype):
    N, K, C, b = sizes
    log_probs_N_K_C = kind(random_log_probs(N, K, C, seed=1), torch.Generator().manual_seed(1)).to(dtype)
    assert_picks_of_evaluating_everything((log_probs_N_K_C, b), 400)


@settings(max_examples=50)
@given(problem=problems(most_points=7, most_samples=6, most_classes=3))
def test_picks_are_those_of_enumerating_all_outcomes(problem):
    """An independent greedy search by the definition; of points that tie, either may be chosen."""
    log_probs_N_K_C, b = problem
    selection = batchbald(log_probs_N_K_C, min(b, 4))
    taken = []
    for position, score in zip(selection.positions.tolist(), selection.report.information, strict=True):
        rest = [i for i in range(len(log_probs_N_K_C)) if i not in taken]
        information = {i: references.joint_mutual_information(log_probs_N_K_C[[*taken, i]]) for i in rest}
        # float32 log-probabilities sum to 1 only roughly, and the two ways to add them up differ by as much.
        rounding = 1e-10 if log_probs_N_K_C.dtype == torch.float64 else 1e-5
        assert information[position] >= max(information.values()) - rounding
        assert score == pytest.approx(information[position], abs=rounding)
        taken.append(position)
