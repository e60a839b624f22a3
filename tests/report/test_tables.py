"""Labels with which methods reach a target, as the page and the terminal show them."""

from __future__ import annotations

import pytest

from lightning_al.report.comparison import compare
from lightning_al.report.frames import tables
from lightning_al.report.runs import read_all
from lightning_al.report.study import make_studies
from lightning_al.report.tables import cells_of_target, labels_to_targets
from tests.support.runs import record, run


def cells(*runs, target=0.6, mode="max"):
    [method] = compare({"bald": list(runs)})
    return cells_of_target(method, target, mode, up_to=min(run.labels[-1] for run in runs))


def test_labels_to_a_target_over_seeds():
    found = cells(run(seed=0, height=0.6), run(seed=1, height=0.5), run(seed=2, height=0.3))
    assert found == ["15", "20", "over 30", "2 of 3", "10"]


def test_a_shorter_run_does_not_count_as_one_that_failed():
    short = run(seed=0, labels=[10, 20], values=[0.1, 0.2])
    long = run(seed=1, labels=[10, 20, 30], values=[0.1, 0.2, 0.9])
    assert cells(short, long) == [*["over 20"] * 3, "0 of 2", "10"]


def test_of_a_loss_less_is_better():
    loss = run(metric="test_loss", labels=[10, 20, 30], values=[0.9, 0.5, 0.2])
    assert cells(loss, target=0.5, mode="min")[:3] == ["20"] * 3


@pytest.mark.parametrize(("labels", "step"), [([10, 20], "10"), ([10, 20, 50], "30")])
def test_the_step_is_the_largest_between_two_rounds(labels, step):
    assert cells(run(labels=labels, values=[0.7] * len(labels)))[-1] == step


def test_runs_count_as_far_as_curves_are_compared(tmp_path):
    for seed, heights in enumerate([[0.5, 0.6, 0.7], [0.5, 0.7, 0.8], [0.5, 0.7, 0.8]]):
        record(tmp_path / str(seed), heights, seed=seed)
    [study], _ = make_studies(read_all([tmp_path])[0], up_to=25)
    table = labels_to_targets(study, [0.7])
    assert table is not None
    assert table.rows == [["bald", "0.7", "20", "20", "over 25", "2 of 3", "10"]]
    written = tables([study], [0.7])["labels_to_target"]
    assert written[["labels", "recorded_to", "compared_to"]].to_numpy().tolist() == [[30, 30, 25], *[[20, 30, 25]] * 2]
