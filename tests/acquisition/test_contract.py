"""What every registered acquisition function promises."""

import pytest
import torch

from lightning_al.acquisition import Acquisition, available, create
from tests.references import random_log_probs
from tests.support.pools import pool, reads_log_probs

N, K, C = 20, 6, 4

pytestmark = pytest.mark.parametrize("name", available())


def select(name, log_probs_N_K_C, b, seed=0):
    return create(name).select(pool(log_probs_N_K_C), b, torch.Generator().manual_seed(seed))


def assert_is_selection(selection, b, size):
    positions = selection.positions.tolist()
    assert selection.positions.dtype == torch.int64
    assert selection.scores.shape == (b,)
    assert not selection.scores.isnan().any()
    assert len(set(positions)) == len(positions) == b
    assert all(0 <= position < size for position in positions)


def test_is_an_acquisition_that_compares_by_value(name):
    acquisition = create(name)
    assert isinstance(acquisition, Acquisition)
    assert acquisition == create(name)
    assert acquisition.min_samples >= 1


@pytest.mark.parametrize(
    ("b", "dtype"),
    [*((b, torch.float64) for b in (1, 7, N)), (7, torch.float32), (7, torch.float16), (7, torch.bfloat16)],
)
def test_selects_b_unique_positions(name, b, dtype):
    assert_is_selection(select(name, random_log_probs(N, K, C, seed=0, dtype=dtype), b), b, N)


def test_selects_all_candidates_where_there_are_fewer(name):
    selection = select(name, random_log_probs(N, K, C, seed=0), N + 5)
    assert_is_selection(selection, N, N)


def test_selects_nothing_from_nothing(name):
    assert_is_selection(select(name, torch.empty(0, K, C), 3), 0, 0)


def test_same_seed_same_selection(name):
    log_probs_N_K_C = random_log_probs(N, K, C, seed=1)
    first, second = select(name, log_probs_N_K_C, 9, seed=5), select(name, log_probs_N_K_C, 9, seed=5)
    assert first.positions.equal(second.positions)
    assert first.scores.equal(second.scores)


def test_leaves_its_input_and_the_global_generator_alone(name):
    log_probs_N_K_C = random_log_probs(N, K, C, seed=2)
    before, state = log_probs_N_K_C.clone(), torch.get_rng_state()
    select(name, log_probs_N_K_C, 9)
    assert log_probs_N_K_C.equal(before)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_probabilities_of_exactly_zero_and_one(name, dtype):
    generator = torch.Generator().manual_seed(0)
    sure_N_K_C = torch.nn.functional.one_hot(torch.randint(C, (N, K), generator=generator), C).to(dtype).log()
    assert_is_selection(select(name, sure_N_K_C, N), N, N)


def test_samples_that_all_agree(name):
    assert_is_selection(select(name, random_log_probs(N, 1, C, seed=4).expand(N, K, C), 8), 8, N)


def test_nan_raises(name):
    if not reads_log_probs(name):
        pytest.skip("it never looks at the predictions")
    log_probs_N_K_C = random_log_probs(N, K, C, seed=5)
    log_probs_N_K_C[4, 1, 0] = torch.nan
    log_probs_N_K_C[7] = torch.nan
    with pytest.raises(ValueError, match=r"NaN for 2 candidates, the first at position 4\. Check the model's outputs"):
        select(name, log_probs_N_K_C, 3)


@pytest.mark.parametrize("b", [0, -1])
def test_asking_for_less_than_one_raises(name, b):
    with pytest.raises(ValueError, match=f"at least 1 point, but got b={b}"):
        select(name, random_log_probs(N, K, C, seed=6), b)
