"""What a batch's report says, against definitions and repeated draws."""

import math
import re

import pytest
import torch

from lightning_al.acquisition.bald import bald
from lightning_al.acquisition.batchbald.batch_report import BatchReport
from lightning_al.acquisition.batchbald.selection import BatchBALD, batchbald, half_overlap
from lightning_al.points import Candidates
from tests import references
from tests.references import random_log_probs


def test_information_of_enumerated_labels_is_exact_and_without_error():
    log_probs_N_K_C = random_log_probs(20, 5, 3, seed=0)
    selection = batchbald(log_probs_N_K_C, 4)
    picked = selection.positions.tolist()
    expected = [references.joint_mutual_information(log_probs_N_K_C[picked[: t + 1]]) for t in range(4)]
    assert selection.report.information == pytest.approx(expected, abs=1e-10)
    assert selection.report.standard_errors == [0.0] * 4
    assert selection.report.share_used == pytest.approx(expected[-1] / math.log(5))
    assert sum(selection.report.gains) == pytest.approx(expected[-1])
    assert selection.report.is_exact


def test_the_standard_error_is_that_of_repeated_draws():
    """Of the same points, so that the draws alone differ."""
    log_probs_N_K_C = random_log_probs(7, 6, 3, seed=1)
    reports = [
        batchbald(log_probs_N_K_C, 7, num_configurations=60, generator=torch.Generator().manual_seed(s)).report
        for s in range(30)
    ]
    seen = torch.tensor([report.information[-1] for report in reports]).std().item()
    told = sum(report.standard_errors[-1] for report in reports) / len(reports)
    # Strata make draws better than the independent ones that the report takes them for.
    assert 0.3 * told < seen < 1.3 * told


def test_more_points_than_samples_can_tell_apart_end_below_the_noise():
    log_probs_N_K_C = random_log_probs(60, 4, 4, seed=2, spread=3.0)
    report = batchbald(log_probs_N_K_C, 40, num_configurations=200).report
    assert report.picks_below_noise > 10
    assert report.share_used > 0.99
    assert report.warning.startswith("4 posterior samples are few for a batch of 40 points.")
    assert batchbald(log_probs_N_K_C, 2).report.warning is None


@pytest.mark.parametrize("K", [2, 10, 20, 49])
def test_the_advice_of_a_warning_ends_it(K):
    """Points that the samples are sure of in ways of their own, so that any batch uses up log K, whatever K is."""
    log_probs_N_K_C = random_log_probs(60, 100, 4, seed=2, spread=9.0)
    warning = batchbald(log_probs_N_K_C[:, :K], 30, num_configurations=200).report.warning
    advised = int(re.search(r"Raise `num_samples` of the posterior to (\d+)\.", warning)[1])
    report = batchbald(log_probs_N_K_C[:, :advised], 30, num_configurations=200).report
    assert report.share_used > 0.95
    assert report.warning is None


def test_a_batch_that_leaves_much_to_learn_is_not_warned_of():
    report = batchbald(random_log_probs(60, 20, 4, seed=2, spread=0.5), 10).report
    assert report.share_used < 0.5
    assert report.warning is None


def test_a_pick_that_adds_too_little_gives_way_to_the_next_by_bald():
    """Copies of one question that the samples flatly disagree about, and one that asks nothing new but a little."""
    p = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 3 + [[0.6, 0.4, 0.5, 0.5]])
    log_probs_N_K_C = torch.stack([p, 1 - p], dim=-1).double().log()
    assert batchbald(log_probs_N_K_C, 2).positions.tolist() == [0, 3]
    assert batchbald(log_probs_N_K_C, 2, min_gain=0.1).positions.tolist() == [0, 1]
    assert batchbald(log_probs_N_K_C, 4, min_gain=0.1).report.information == pytest.approx(
        [references.joint_mutual_information(log_probs_N_K_C[: t + 1]) for t in range(4)]
    )


def test_picks_below_the_noise_are_filled_by_bald():
    log_probs_N_K_C = random_log_probs(60, 4, 4, seed=3, spread=3.0)
    chosen = batchbald(log_probs_N_K_C, 40, num_configurations=200, min_gain="noise").positions.tolist()
    greedy = batchbald(log_probs_N_K_C, 40, num_configurations=200).positions.tolist()
    same = next(t for t in range(40) if chosen[t] != greedy[t])
    scores = bald(log_probs_N_K_C)
    filled = [scores[position].item() for position in chosen[same:]]
    assert 2 < same < 20
    assert filled == sorted(filled, reverse=True)
    assert min(filled) >= max(scores[i].item() for i in range(60) if i not in chosen)


@pytest.mark.parametrize("min_gain", [-0.1, "nose", math.nan])
def test_a_wrong_least_gain_raises(min_gain):
    with pytest.raises(ValueError, match="`min_gain` of at least 0 nats or 'noise', but got"):
        BatchBALD(min_gain=min_gain)


def test_overlap_compares_the_two_halves():
    half_N_K_C = random_log_probs(30, 5, 3, seed=4)
    same_N_K_C = torch.cat([half_N_K_C, half_N_K_C], dim=1)
    assert half_overlap(same_N_K_C, 6) == 1.0
    other_N_K_C = torch.cat([half_N_K_C, half_N_K_C.flip(0)], dim=1)
    picks = set(batchbald(half_N_K_C, 6).positions.tolist())
    flipped = set(batchbald(half_N_K_C.flip(0), 6).positions.tolist())
    assert half_overlap(other_N_K_C, 6) == len(picks & flipped) / 6
    with pytest.raises(ValueError, match="`half_overlap` compares posterior samples and expected at least 4"):
        half_overlap(random_log_probs(5, 3, 2, seed=0), 2)


def test_overlap_is_reported_on_request():
    candidates = Candidates(30, random_log_probs(30, 10, 3, seed=5))
    asked = BatchBALD(check_samples=True).select(candidates, 6, torch.Generator())
    assert asked.report.overlap == half_overlap(candidates.log_probs_N_K_C, 6)
    assert asked.report.to_dict()["overlap_of_half_samples"] == asked.report.overlap
    plain = BatchBALD().select(candidates, 6, torch.Generator())
    assert plain.report.overlap is None
    assert plain.positions.equal(asked.positions)


def test_a_report_becomes_plain_figures():
    figures = BatchReport([0.5, 0.75], [0.0, 0.5], num_samples=4, shortfall=0.125).to_dict()
    assert figures == {
        "information": [0.5, 0.75],
        "standard_error": [0.0, 0.5],
        "log_num_samples": math.log(4),
        "share_used": 0.75 / math.log(4),
        "picks_below_noise": 1.0,
        "shortfall": 0.125,
    }
