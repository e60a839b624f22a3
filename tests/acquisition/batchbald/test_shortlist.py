"""BatchBALD within a byte budget, against BatchBALD on the whole table."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald import BatchBALD, batchbald
from lightning_al.acquisition.batchbald.shortlist import Shortlist, num_bytes
from lightning_al.points import Candidates
from tests import references
from tests.references import random_log_probs

BYTES = {torch.float32: 16, torch.float64: 24}


def stream(log_probs_N_K_C, chunk_size):
    return Candidates.stream(len(log_probs_N_K_C), lambda: log_probs_N_K_C.split(chunk_size))


def budget(log_probs_N_K_C, num_points):
    return num_points * log_probs_N_K_C[0].numel() * BYTES[log_probs_N_K_C.dtype]


def whole(log_probs_N_K_C, b, **kwargs):
    return batchbald(log_probs_N_K_C, b, generator=torch.Generator().manual_seed(0), **kwargs)


def within(acquisition, log_probs_N_K_C, b, chunk_size=7):
    return acquisition.select(stream(log_probs_N_K_C, chunk_size), b, torch.Generator().manual_seed(0))


problems = {
    "seed": st.integers(0, 10_000),
    "num_kept": st.integers(5, 40),
    "chunk_size": st.integers(1, 50),
    "M": st.sampled_from([8, 60, 500]),
    "spread": st.sampled_from([0.3, 2.0, 8.0]),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
}


@given(**problems)
def test_passing_again_gives_the_picks_of_the_whole_table(seed, num_kept, chunk_size, M, spread, dtype):
    log_probs_N_K_C = random_log_probs(40, 6, 3, seed=seed, spread=spread, dtype=dtype)
    acquisition = BatchBALD(M, max_memory=budget(log_probs_N_K_C, num_kept), exact=True)
    selection = within(acquisition, log_probs_N_K_C, 5, chunk_size)
    expected = whole(log_probs_N_K_C, 5, num_configurations=M)
    assert selection.positions.equal(expected.positions)
    assert selection.scores.equal(expected.scores)
    assert selection.report.is_exact


@given(**problems)
def test_a_certificate_of_exactness_holds(seed, num_kept, chunk_size, M, spread, dtype):
    log_probs_N_K_C = random_log_probs(40, 6, 3, seed=seed, spread=spread, dtype=dtype)
    acquisition = BatchBALD(M, max_memory=budget(log_probs_N_K_C, num_kept))
    selection = within(acquisition, log_probs_N_K_C, 5, chunk_size)
    if selection.report.is_exact:
        assert selection.positions.equal(whole(log_probs_N_K_C, 5, num_configurations=M).positions)
    assert selection.report.is_exact or num_kept < 40


@given(**{**problems, "M": st.just(10_000)})
def test_the_shortfall_bounds_what_each_pick_lacks(seed, num_kept, chunk_size, M, spread, dtype):
    log_probs_N_K_C = random_log_probs(40, 6, 3, seed=seed, spread=spread, dtype=dtype)
    acquisition = BatchBALD(M, max_memory=budget(log_probs_N_K_C, num_kept))
    selection = within(acquisition, log_probs_N_K_C, 4, chunk_size)
    lacking, taken = 0.0, []
    for position in selection.positions.tolist():
        rest = [i for i in range(40) if i not in taken]
        gains = {i: references.joint_mutual_information(log_probs_N_K_C[[*taken, i]]) for i in rest}
        lacking += max(gains.values()) - gains[position]
        taken.append(position)
    assert lacking <= selection.report.shortfall + 1e-9


def test_some_budgets_suffice_and_some_do_not():
    log_probs_N_K_C = random_log_probs(200, 6, 3, seed=1)
    shortfalls = [
        within(BatchBALD(max_memory=budget(log_probs_N_K_C, n)), log_probs_N_K_C, 3).report.shortfall
        for n in (3, 30, 100, 199, 200)
    ]
    assert shortfalls == sorted(shortfalls, reverse=True)
    assert shortfalls[0] > 0.1
    assert shortfalls[-2] == shortfalls[-1] == 0.0


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 60])
def test_it_keeps_the_points_with_the_highest_bald(chunk_size):
    log_probs_N_K_C = random_log_probs(60, 4, 3, seed=2)
    shortlist = Shortlist.gather(stream(log_probs_N_K_C, chunk_size), 3, budget(log_probs_N_K_C, 9), torch.arange(60))
    scores_N = bald(log_probs_N_K_C)
    assert shortlist.positions_n.tolist() == sorted(scores_N.topk(9).indices.tolist())
    assert shortlist.log_probs_n_K_C.equal(log_probs_N_K_C[shortlist.positions_n])
    torch.testing.assert_close(shortlist.scores_N, scores_N)
    assert shortlist.highest_left_out([]) == pytest.approx(scores_N.sort(descending=True).values[9].item())


def test_rounding_of_scores_leaves_no_winner_out():
    """Scores of about 2e-7 nats are 0 in float32, and still above what two clear questions leave to gain."""

    def asked(sides, wrong):
        rest = torch.tensor([math.log1p(-wrong), math.log(wrong)]) - math.log(15)
        return torch.stack([rest[[side, 1 - side]].repeat_interleave(15) for side in sides])

    generator = torch.Generator().manual_seed(0)
    base, step = (
        0.3 * torch.randn(400, 1, 30, generator=generator),
        1.5e-3 * torch.randn(400, 1, 30, generator=generator),
    )
    faint = torch.cat([base, base + step, base, base + step], 1).double().log_softmax(-1).float()
    faint = faint[bald(faint) == 0]
    assert bald(faint.double()).min() > 1e-8
    clear, other = asked([0, 0, 1, 1], 1e-13), asked([0, 1, 0, 1], 5e-5)
    table_N_K_C = torch.cat([clear.expand(6, -1, -1), other[None], faint])
    candidates = Candidates.stream(len(table_N_K_C), lambda: table_N_K_C.split(50))
    room = 7 * 4 * table_N_K_C[0].numel() * 4
    selection = BatchBALD(max_memory=room, exact=True).select(candidates, 3, torch.Generator().manual_seed(0))
    assert selection.positions.tolist() == batchbald(table_N_K_C, 3).positions.tolist()


def test_a_table_that_is_held_anyway_is_used_whole():
    log_probs_N_K_C = random_log_probs(60, 4, 3, seed=3)
    acquisition = BatchBALD(max_memory=1)
    selection = acquisition.select(Candidates(60, log_probs_N_K_C), 5, torch.Generator().manual_seed(0))
    assert selection.positions.equal(whole(log_probs_N_K_C, 5).positions)


def test_without_a_need_the_stream_is_passed_over_once():
    passes = []
    log_probs_N_K_C = random_log_probs(60, 4, 3, seed=4)
    candidates = Candidates.stream(60, lambda: passes.append(1) or log_probs_N_K_C.split(9))
    BatchBALD(max_memory="1GB", exact=True).select(candidates, 5, torch.Generator())
    assert len(passes) == 1


def test_a_budget_below_the_batch_raises():
    log_probs_N_K_C = random_log_probs(60, 4, 3, seed=5)
    with pytest.raises(ValueError, match=r"holds 4 points of 288 bytes each, but a batch of 5 .* at least 1,440 bytes"):
        within(BatchBALD(max_memory=budget(log_probs_N_K_C, 4)), log_probs_N_K_C, 5)


@pytest.mark.parametrize(("size", "expected"), [("2GB", 2e9), ("1.5 kB", 1500), ("3", 3), (77, 77), ("2 GiB", 2**31)])
def test_budgets(size, expected):
    assert num_bytes(size) == expected
    BatchBALD(max_memory=size)


@pytest.mark.parametrize("size", ["much", "2 GBs", "-1GB", "", -5, math.inf, True])
def test_budgets_that_are_none(size):
    with pytest.raises(ValueError, match=rf"`max_memory` expected a number of bytes or text .* got {size!r}. Write it"):
        BatchBALD(max_memory=size)


@pytest.mark.parametrize("size", [0, "0MB", 0.5])
def test_budgets_of_nothing(size):
    with pytest.raises(ValueError, match=rf"`max_memory` expected at least 1 byte, but got {size!r}. Give it room"):
        BatchBALD(max_memory=size)
