"""The frames of a report by hand: rounds, parts of a round, classes, queries and batches."""

from __future__ import annotations

from math import log

import pandas as pd
import pytest

from lightning_al.report import frames, tables
from lightning_al.report.runs import read_all
from lightning_al.report.study import make_studies
from tests.support.runs import record


@pytest.fixture
def study(tmp_path):
    for seed in (0, 1):
        record(tmp_path / str(seed), [0.5, float("nan"), 0.7, 0.8], seed=seed)
    [study], _ = make_studies(read_all([tmp_path])[0])
    return study


@pytest.fixture
def rounds(study):
    return frames.rounds([study])


def test_there_is_a_row_a_run_and_round(rounds):
    assert rounds[["task", "method", "seed", "state", "round", "labels"]].to_numpy().tolist() == [
        ["Digits", "bald", seed, "finished", number, 10 + 10 * number] for seed in (0, 1) for number in range(4)
    ]
    assert set(rounds["metric"]) == {"test_acc"}
    assert rounds["value"].isna().tolist() == [False, True, False, False] * 2


def test_a_round_without_the_metric_is_in_no_curve_and_one_that_diverged_is(study):
    first = study.methods["bald"][0].history[0]
    first.metrics.clear()
    curves = frames.curves(frames.rounds([study]))
    assert len(curves) == 7
    assert curves["value"].isna().sum() == 2


def test_parts_of_a_round_add_up(rounds):
    phases = frames.phases(rounds)
    assert phases["phase"].tolist() == [*["fit", "score", "select"] * 3, "fit", "score"] * 2
    seconds = tables.by_method(phases, "seconds", "sum")
    assert seconds.loc["bald"].to_dict() == {"fit": 16.0, "score": 6.0, "select": 3.0}
    peak_bytes = tables.by_method(phases, "peak_bytes", "max")
    assert peak_bytes.loc["bald"].to_dict() == {"fit": 2**30, "score": 2**31}
    row = tables.time(seconds, rounds.groupby("method").size()).rows[0]
    assert row == ["bald", "8", "25.0 s", "16.0 s (64%)", "6.0 s (24%)", "3.0 s (12%)", "3.1 s"]


def test_classes_are_counted_without_those_of_the_start(rounds):
    queried = frames.queried_by_class(rounds, [0, 1], up_to=40)
    assert queried.index.tolist() == [20, 30, 40]
    assert queried.to_dict("records") == [{0: 3, 1: 7}, {0: 6, 1: 14}, {0: 10, 1: 20}]
    assert frames.evenness(queried).iloc[-1] == pytest.approx(-(log(1 / 3) / 3 + 2 * log(2 / 3) / 3) / log(2))
    classes = frames.classes(rounds)
    assert classes[classes["class"] == 1]["asked_for"].tolist() == [0, 7, 14, 20] * 2


def test_classes_are_counted_as_far_as_all_runs_go(rounds):
    assert frames.queried_by_class(rounds, [0, 1], up_to=25).index.tolist() == [20]
    assert frames.queried_by_class(rounds, [0, 1], up_to=5).index.tolist() == [20, 30, 40]
    assert frames.queried_by_class(rounds[:-1], [0, 1], up_to=40).index.tolist() == [20, 30]


def test_runs_whose_labels_are_no_classes_do_not_count(rounds):
    rounds.at[0, "class_counts"] = None
    rounds.at[4, "class_counts"] = {0: 50, 1: 50}  # the start of the other run
    assert frames.queried_by_class(rounds, [0, 1], up_to=40).iloc[0].to_dict() == {0: 8 - 50, 1: 12 - 50}
    rounds.at[4, "class_counts"] = None
    assert frames.queried_by_class(rounds, [0, 1], up_to=40).empty


def test_a_class_that_a_method_did_not_query_counts_none(rounds):
    assert frames.classes_of(rounds) == [0, 1]
    assert frames.queried_by_class(rounds, [0, 1, 5], up_to=40)[5].tolist() == [0, 0, 0]


def test_names_that_differ_in_every_round_take_no_more_room_than_they_do_in_the_folder(rounds):
    names = [f"{row}-{number}" for row in range(len(rounds)) for number in range(1_000)]
    rounds["seconds"] = [dict.fromkeys(names[row * 1_000 : (row + 1) * 1_000], 1.0) for row in range(len(rounds))]
    assert len(rounds.columns) == 20
    assert len(frames.phases(rounds)) == 8_000 + 8 * 2  # and the peak memory of fit and score


def test_as_many_of_each_class_is_even_and_one_class_alone_is_not():
    assert frames.evenness(pd.DataFrame([[4, 4, 4], [9, 0, 0]])).tolist() == pytest.approx([1, 0])
    assert frames.evenness(pd.DataFrame([[4]])).tolist() == [1]


def test_queries_are_in_the_order_of_choice(rounds):
    queries = frames.queries(rounds)
    assert queries["index"].tolist() == list(range(10, 40)) * 2
    assert queries["place"].tolist() == list(range(10)) * 6


def test_a_batch_is_that_of_the_last_pick(rounds):
    batches = frames.batches(rounds)
    assert (len(batches), batches["picks"].sum(), batches["picks_below_noise"].sum()) == (6, 60, 6)
    assert batches["information"].tolist() == [2.0] * 6
    assert batches["labels_paid"].tolist() == [10, 20, 30] * 2
    row = tables.batches(batches).rows[0]
    assert row == ["bald", "20", "3.00", "67%", "67%", "6 of 60", "0.2500", "0.0000", "not measured"]


def test_what_is_no_report_of_a_batch_is_left_out(rounds):
    for row, wrong in enumerate([{"information": 2.0}, {"standard_error": []}, {"shortfall": [0.0]}]):
        rounds.at[row, "details"] = {**rounds.at[row, "details"], **wrong}
    assert len(frames.batches(rounds)) == 3


def test_the_sampling_noise_is_shown_where_it_was_measured(study):
    for run, share in zip(study.methods["bald"], (0.2, 0.4), strict=True):
        for round in run.history:
            if round.details:
                round.details["overlap_of_half_samples"] = share
    batches = frames.batches(frames.rounds([study]))
    assert tables.batches(batches).rows[0][-1] == "30%"
