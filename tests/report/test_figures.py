"""The figures of a report by hand: labels to a target, classes, parts of a round, noise."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.report.classes import asked_by_class, classes_of
from lightning_al.report.comparison import compare
from lightning_al.report.curves import quartile
from lightning_al.report.monte_carlo_error import MethodNoise, noise_of
from lightning_al.report.phases import phases
from lightning_al.report.recorded import read_all
from lightning_al.report.targets import labels_to_target
from tests.support.runs import record, run

counts = st.lists(st.integers(1, 500), min_size=1, max_size=12)
shares = st.sampled_from([0.25, 0.5, 0.75])


@given(counts, shares)
def test_quartiles_are_numpys_where_all_runs_reach_the_target(numbers, share):
    assert quartile(numbers, share) == pytest.approx(np.quantile(numbers, share))


@given(counts, st.integers(1, 12), shares, st.integers(501, 10_000))
def test_a_quartile_stands_or_falls_with_whether_it_depends_on_runs_that_never_reach(numbers, missing, share, never):
    found = quartile([*numbers, *[None] * missing], share)
    # Any number beyond all that were recorded may stand in for the missing ones, where the quartile does not need them.
    stand_ins = [np.quantile([*numbers, *[later] * missing], share) for later in (never, 2 * never)]
    if found is None:
        assert stand_ins[0] != stand_ins[1]
    else:
        assert stand_ins == pytest.approx([found, found])


def reached(*runs, target=0.6):
    [method] = compare({"bald": list(runs)})
    return labels_to_target(method, target)


def test_labels_to_a_target_over_seeds():
    found = reached(run(seed=0, height=0.6), run(seed=1, height=0.5), run(seed=2, height=0.3))
    assert found.labels == [10, 20, None]
    assert found.shown == ["15", "20", "over 30"]
    assert (found.num_reached, found.resolution) == (2, 10)


def test_a_shorter_run_does_not_count_as_one_that_failed():
    short = run(seed=0, labels=[10, 20], values=[0.1, 0.2])
    long = run(seed=1, labels=[10, 20, 30], values=[0.1, 0.2, 0.9])
    assert reached(short, long).labels == [None, None]
    assert reached(short, long).shown == ["over 20"] * 3


def test_of_a_loss_less_is_better():
    loss = run(metric="test_loss", labels=[10, 20, 30], values=[0.9, 0.5, 0.2])
    assert reached(loss, target=0.5).labels == [20]


@pytest.fixture
def recorded(tmp_path):
    for seed in (0, 1):
        record(tmp_path / str(seed), [0.5, 0.6, 0.7, 0.8], seed=seed)
    return read_all([tmp_path])[0]


def test_classes_are_counted_without_those_of_the_start(recorded):
    asked = asked_by_class(recorded, classes_of(recorded), up_to=40)
    assert asked.labels == [20, 30, 40]
    assert asked.counts == [{0: 3, 1: 7}, {0: 6, 1: 14}, {0: 10, 1: 20}]
    assert asked.evenness[-1] == pytest.approx(-(log(1 / 3) / 3 + 2 * log(2 / 3) / 3) / log(2))


def test_as_many_of_each_class_is_even_and_one_class_alone_is_not():
    from lightning_al.report.classes import _evenness

    assert _evenness({0: 4, 1: 4, 2: 4}) == pytest.approx(1)
    assert _evenness({0: 9, 1: 0}) == 0


def test_parts_of_a_round_add_up(recorded):
    found = phases("bald", recorded)
    assert (found.num_rounds, found.seconds) == (8, {"fit": 16.0, "score": 6.0, "select": 3.0})
    assert found.share("fit") == 16 / 25
    assert found.peak_bytes == {"fit": 2**30, "score": 2**31}


def test_noise_is_that_of_the_last_pick(recorded):
    noise = MethodNoise("bald", noise_of(recorded))
    assert len(noise.batches) == 6
    assert (noise.num_samples, noise.picks_below_noise, noise.num_picks) == ("20", 6, 60)
    assert noise.batches[0].information == 2.0
    assert noise.largest_error == 0.25
    assert noise.by_labels() == ([10, 20, 30], pytest.approx([2 / log(20)] * 3), [1, 1, 1])
    assert noise.mean_overlap is None


def test_the_sampling_noise_is_shown_where_it_was_measured(recorded):
    for seed, share in enumerate((0.2, 0.4)):
        for round in recorded[seed].history:
            if round.details:
                round.details["overlap_of_half_samples"] = share
    assert MethodNoise("bald", noise_of(recorded)).mean_overlap == pytest.approx(0.3)
