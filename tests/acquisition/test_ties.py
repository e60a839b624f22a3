"""Equally good points are chosen by chance, the same however they come, and chance moves nothing else."""

import math
from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.acquisition import ScoreAcquisition, create, ties
from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald import BatchBALD, batchbald, search
from lightning_al.acquisition.batchbald.shortlist import Shortlist
from lightning_al.acquisition.ties import tie_keys
from lightning_al.points import Candidates
from tests import references
from tests.acquisition import test_hard_cases as hard
from tests.acquisition.batchbald.test_search import as_on_a_gpu
from tests.acquisition.batchbald.test_shortlist import budget, stream
from tests.references import random_log_probs

SCORES = sorted(references.SCORES)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Given(ScoreAcquisition):
    """Scores that a third party computed."""

    def __init__(self, scores_N):
        self.scores_N = scores_N

    def score(self, candidates, generator):
        return self.scores_N


def given_scores(values, dtype=torch.float64):
    scores_N = torch.tensor(values, dtype=dtype)
    return Given(scores_N), Candidates(len(scores_N), torch.empty(len(scores_N), 1, 2))


def repeated(num_rows, copies, *, seed, dtype=torch.float32):
    """A pool sorted as datasets are: all copies of a row side by side."""
    return random_log_probs(num_rows, 6, 4, seed=seed, dtype=dtype).repeat_interleave(copies, 0)


# Scores.


@given(
    values=st.lists(st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, 2.0, math.inf]), min_size=1, max_size=40),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.int64]),
    seed=st.integers(0, 2**64 - 1),
    b=st.integers(1, 45),
)
def test_the_highest_scores_come_first_and_equal_ones_by_their_keys(values, dtype, seed, b):
    values = [int(max(-9, min(9, value))) for value in values] if dtype == torch.int64 else values
    acquisition, candidates = given_scores(values, dtype)
    selection = acquisition.select(candidates, b, seeded(seed))
    assert selection.positions.tolist() == references.best_scores(values, b, seed)
    assert selection.scores.tolist() == sorted(values, reverse=True)[:b]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30, unique=True), st.integers(0, 99))
def test_where_no_scores_are_equal_nothing_is_left_to_chance(values, seed):
    acquisition, candidates = given_scores(values)
    scores, positions = torch.sort(acquisition.scores_N, descending=True, stable=True)
    selection = acquisition.select(candidates, 7, seeded(seed))
    assert selection.positions.equal(positions[:7])
    assert selection.scores.equal(scores[:7])


@pytest.mark.parametrize("name", SCORES)
@given(seed=st.integers(0, 999), chunk_size=st.integers(1, 31), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=20)
def test_a_stream_is_asked_for_the_same_points_as_a_table(name, seed, chunk_size, dtype):
    log_probs_N_K_C = repeated(5, 6, seed=seed, dtype=dtype)
    whole = create(name).select(Candidates(30, log_probs_N_K_C), 20, seeded(seed))
    parts = create(name).select(stream(log_probs_N_K_C, chunk_size), 20, seeded(seed))
    assert parts.positions.equal(whole.positions)
    scores_N = create(name).score(Candidates(30, log_probs_N_K_C), torch.Generator()).tolist()
    assert whole.positions.tolist() == references.best_scores(scores_N, 20, seed)


def test_a_pool_sorted_by_class_is_not_asked_from_one_end():
    """Votes of 20 samples have few counts, so that half of a batch lies among equal scores."""
    pool = Candidates(1000, random_log_probs(1000, 20, 10, seed=0, spread=1.0))
    batches = [create("variation_ratio").select(pool, 50, seeded(seed)) for seed in range(20)]
    by_chance = [int(i) for batch in batches for i in batch.positions[batch.scores == batch.scores[-1]]]
    scores_N = create("variation_ratio").score(pool, torch.Generator())
    tied = (scores_N == batches[0].scores[-1]).nonzero().flatten().tolist()
    assert len(by_chance) > 20 * 15
    assert len(tied) > 60
    assert sum(by_chance) / len(by_chance) == pytest.approx(sum(tied) / len(tied), abs=60)


# What chance is.


@pytest.mark.parametrize("name", [*SCORES, "batchbald"])
def test_each_order_of_equal_points_is_equally_likely(name):
    """Three equal points at places of their own among others that tell less."""
    sure, torn = [[0.99, 0.01]] * 2, [[0.9, 0.1], [0.1, 0.9]]
    candidates = Candidates(5, torch.tensor([torn, sure, torn, sure, torn]).log())
    draws = range(150)
    orders = Counter(tuple(create(name).select(candidates, 3, seeded(seed)).positions.tolist()) for seed in draws)
    assert set(orders) == set(permutations([0, 2, 4]))
    # The standard deviation of each count is 4.6.
    assert all(abs(count - 25) < 20 for count in orders.values())


@given(st.integers(0, 2**64 - 1), st.integers(0, 50))
def test_keys_are_one_order_of_the_positions_from_the_first_seed(seed, N):
    generator = seeded(seed)
    keys = tie_keys(N, generator)
    assert generator.get_state().equal(seeded(seed).get_state())
    torch.rand(3, generator=generator)
    assert tie_keys(N, generator).equal(keys)
    assert keys.tolist() == references.tie_keys(N, seed)


@pytest.mark.parametrize("name", SCORES)
def test_scores_draw_nothing_from_the_generator(name):
    generator = seeded(3)
    create(name).select(Candidates(30, repeated(5, 6, seed=0)), 20, generator)
    assert generator.get_state().equal(seeded(3).get_state())


# BatchBALD.


@st.composite
def tied_problems(draw):
    """Log-probabilities with many equal gains, and how many points to choose."""
    N, K, C = draw(st.integers(1, 24)), draw(st.integers(2, 8)), draw(st.integers(2, 4))
    seed, dtype = draw(st.integers(0, 10_000)), draw(st.sampled_from([torch.float32, torch.float64]))
    kinds = [hard.one_hot, hard.some_one_hot, hard.identical_points, hard.identical_samples, hard.agreeing_samples]
    log_probs_N_K_C = random_log_probs(N, K, C, seed=seed)
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2)):
        log_probs_N_K_C = kind(log_probs_N_K_C, seeded(seed))
    return log_probs_N_K_C.to(dtype), draw(st.integers(1, min(N, 10)))


def in_all_ways(log_probs_N_K_C, b, *, M, seed, num_kept, chunk_size):
    """What is chosen of a table, as on a GPU, and of a stream that does not fit into memory."""
    whole = Candidates(len(log_probs_N_K_C), log_probs_N_K_C)
    least = max(b, min(num_kept, len(log_probs_N_K_C)))
    within = BatchBALD(M, max_memory=budget(log_probs_N_K_C, least), exact=True)
    with as_on_a_gpu():
        on_gpu = BatchBALD(M).select(whole, b, seeded(seed))
    return {
        "table": BatchBALD(M).select(whole, b, seeded(seed)).positions.tolist(),
        "gpu": on_gpu.positions.tolist(),
        "stream": within.select(stream(log_probs_N_K_C, chunk_size), b, seeded(seed)).positions.tolist(),
    }


ways = {"seed": st.integers(0, 99), "num_kept": st.integers(1, 24), "chunk_size": st.integers(1, 24)}


@given(problem=tied_problems(), M=st.sampled_from([1, 30, 300]), **ways)
def test_equal_gains_are_told_apart_by_bald_and_then_by_chance(problem, M, seed, num_kept, chunk_size):
    log_probs_N_K_C, b = problem
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, b, num_configurations=M, seed=seed)
    chosen = in_all_ways(log_probs_N_K_C, b, M=M, seed=seed, num_kept=num_kept, chunk_size=chunk_size)
    assert chosen == dict.fromkeys(chosen, expected)


@given(problem=hard.problems(), M=st.sampled_from([1, 30, 300]), **ways)
def test_a_tolerance_is_measured_from_the_best_however_points_come(problem, M, seed, num_kept, chunk_size):
    """A tolerance so wide that many gains lie within it of each other, and not all within it of the best."""
    log_probs_N_K_C, b = problem
    log_probs_N_K_C, b = log_probs_N_K_C.double(), min(b, 6)
    expected = references.batchbald_evaluating_everything(
        log_probs_N_K_C, b, num_configurations=M, seed=seed, equal=0.05
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (ties, search):
            patch.setattr(module, "EQUAL_GAINS", 0.05)
        chosen = in_all_ways(log_probs_N_K_C, b, M=M, seed=seed, num_kept=num_kept, chunk_size=chunk_size)
    assert chosen == dict.fromkeys(chosen, expected)


def test_where_information_is_used_up_points_come_by_bald_and_not_from_one_end():
    """Two points settle which of four samples is right; of the others, some disagreed more than others before."""
    clear = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]] * 2])
    torn = torch.tensor([[[0.9, 0.1], [0.1, 0.9]] * 2])
    agreed = torch.tensor([[[0.7, 0.3]] * 4])
    pool = torch.cat([agreed.expand(40, 4, 2), torn.expand(20, 4, 2), clear]).double().log()
    for seed in range(3):
        first, second, *rest = batchbald(pool, 26, generator=seeded(seed)).positions.tolist()
        assert {first, second} == {60, 61}
        keys = references.tie_keys(62, seed)
        by_key = [sorted(points, key=lambda i: keys[i]) for points in (range(40, 60), range(40))]
        assert rest == by_key[0] + by_key[1][:4]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_pick_is_that_of_bald_among_equal_points_too(seed):
    pool = repeated(5, 6, seed=seed)
    first = create("bald").select(Candidates(30, pool), 1, seeded(seed)).positions
    assert batchbald(pool, 1, generator=seeded(seed)).positions.equal(first)


def test_picks_that_add_too_little_give_way_to_equal_bald_scores_by_chance():
    p = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4)
    pool = torch.stack([p, 1 - p], dim=-1).double().log()
    seconds = [batchbald(pool, 4, min_gain=0.1, generator=seeded(seed)).positions.tolist() for seed in range(30)]
    assert len({tuple(batch) for batch in seconds}) > 10


@given(seed=st.integers(0, 999), num_kept=st.integers(3, 30), chunk_size=st.integers(1, 30))
def test_which_of_equal_points_are_kept_depends_on_no_chunk(seed, num_kept, chunk_size):
    pool = repeated(5, 6, seed=seed)
    keys_N = tie_keys(30, seeded(seed))
    kept = Shortlist.gather(stream(pool, chunk_size), 3, budget(pool, num_kept), keys_N)
    assert kept.positions_n.tolist() == sorted(references.best_scores(bald(pool).tolist(), num_kept, seed))
    assert kept.log_probs_n_K_C.equal(pool[kept.positions_n])
    assert kept.log_probs_of(29).equal(pool[29])
