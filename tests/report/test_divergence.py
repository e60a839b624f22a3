"""Runs that diverged: shown as such, never averaged over, and counted at chance level beside those that did not."""

from __future__ import annotations

import csv
import io
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lightning_al.report import area_under_curve, compare, paired_difference
from lightning_al.report.comparison import baseline_of, stand_in
from lightning_al.report.console import comparison_table
from lightning_al.report.curve_pictures import comparison_picture, curve_picture
from lightning_al.report.curves import labels_to_target
from lightning_al.report.frames import comparison_frame, write_table
from lightning_al.report.sentences import of_diverged
from tests.support.runs import run

CLASS = {"random": "Random", "bald": "BALD", "batchbald": "BatchBALD"}


def methods(seeds=8, **diverged):
    """Runs of three methods, of which those named diverge: the value that stands in their second round, by seed."""
    found = {}
    for place, (name, acquisition) in enumerate(CLASS.items()):
        found[name] = []
        for seed in range(seeds):
            values = [0.5, 0.6 + 0.1 * place + 0.01 * seed, 0.8]
            if name in diverged and seed in diverged[name]:
                values[1] = diverged[name][seed]
            found[name].append(run(name, acquisition, seed=seed, values=values, num_classes=10))
    return found


def shown(rows):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison_table(rows, "test_acc"))
    return console.export_text()


@given(st.sampled_from(["min", "max"]), st.floats(0, 5), st.lists(st.floats(0, 5), max_size=5))
def test_a_diverged_run_is_never_better_than_chance_or_another_run(mode, chance, heights):
    height = stand_in("anything", heights, mode, chance=chance).height
    assert height in (chance, *heights)
    sign = -1 if mode == "min" else 1
    assert all(sign * height <= sign * other for other in (chance, *heights))


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_method_with_a_run_that_diverged_is_incomplete_and_has_a_second_row(value):
    random, bald, counted, batchbald = compare(methods(bald={3: value}))
    assert [row.title for row in (random, bald, counted, batchbald)] == [
        *("random", "bald", "bald, diverged at 0.100", "batchbald")
    ]
    assert (bald.num_diverged, bald.difference, bald.p_t_holm, bald.p_sign_flip_holm) == (
        "1 of 8 diverged",
        *[None] * 3,
    )
    assert [one.seed for one in bald.runs] == [0, 1, 2, 4, 5, 6, 7]
    assert [one.seed for one in counted.runs] == list(range(8))
    heights = [area_under_curve(one.labels, one.values) if one.seed != 3 else 0.1 for one in counted.runs]
    assert counted.areas == heights
    assert counted.difference == paired_difference(heights, random.areas)
    assert batchbald.difference == compare(methods())[2].difference
    text = shown([random, bald, counted, batchbald])
    assert "1 of 8 diverged" in text
    assert "nan" not in text
    [said] = of_diverged([random, bald, counted, batchbald], "test_acc", "max")
    assert "bald seed 3 with 20 labels" in said
    assert "they count at 0.100, chance level of 10 classes" in said


def test_where_random_choice_diverged_the_others_are_compared_with_its_second_row():
    rows = compare(methods(random={0: nan, 5: inf}))
    assert [row.title for row in rows] == ["random", "random, diverged at 0.100", "bald", "batchbald"]
    baseline = baseline_of(rows)
    assert baseline is rows[1]
    assert [baseline.areas[0], baseline.areas[5]] == [0.1, 0.1]
    assert rows[2].difference == paired_difference(rows[2].areas, baseline.areas)
    assert "minus random, diverged at" in comparison_picture(rows, "test_acc", title="").axes[1].get_xlabel()


@pytest.mark.parametrize("changes", [{"metric": "f1"}, {"num_classes": None}, {"metric": "quality"}])
def test_where_chance_level_is_not_known_nothing_stands_in(changes):
    runs = methods(random={0: nan}, bald={1: nan})
    runs = {
        name: [
            run(name, CLASS[name], seed=one.seed, values=one.values, **{"num_classes": 10, **changes}) for one in same
        ]
        for name, same in runs.items()
    }
    rows = compare(runs)
    assert [row.title for row in rows] == ["random", "bald", "batchbald"]
    assert all(row.difference is None for row in rows)
    assert baseline_of(rows) is None
    metric = changes.get("metric", "test_acc")
    [said] = of_diverged(rows, metric, None if metric == "quality" else "max")
    assert "incomplete and not tested, since it is not known" in said
    assert ("--mode" if metric == "quality" else "--chance") in said
    given_both = compare(runs, mode="max", chance=0.2)
    assert given_both[1].title == "random, diverged at 0.200"
    assert "0.200, chance level: to leave them out" in of_diverged(given_both, metric, "max")[0]


def test_a_loss_above_chance_level_is_not_beaten_by_a_run_that_diverged():
    runs = {
        "random": [run("random", "Random", seed=seed, metric="test_loss", values=[4.0, 3.5, 3.0]) for seed in range(2)],
        "bald": [run("bald", seed=seed, metric="test_loss", values=[4.0, nan, nan]) for seed in range(2)],
    }
    runs["random"][0] = run("random", "Random", metric="test_loss", values=[4.0, 3.5, 3.0], num_classes=10)
    counted = compare(runs)[-1]
    assert counted.areas == [3.5, 3.5]
    assert counted.difference.mean == 0
    assert "the worst of the other runs, since chance level of 10 classes, 2.303" in counted.stand_in.said


def test_a_round_beyond_the_range_compared_costs_nothing():
    runs = methods(bald={0: 0.5})
    runs["bald"][0] = run("bald", labels=[10, 20, 30, 40], values=[0.5, 0.6, 0.8, nan], num_classes=10)
    rows = compare(runs)
    assert [row.diverged for row in rows] == [[], [], []]
    assert all(isfinite(value) for row in rows for value in row.mean_curve()[1])
    assert compare(runs, between=(10, 20))[1].difference is not None
    runs["bald"][0] = run("bald", labels=[10, 20, 30], values=[0.5, 0.6, nan], num_classes=10)
    assert compare(runs, between=(10, 20))[1].is_complete
    assert not compare(runs, between=(10, 21))[1].is_complete


@pytest.mark.parametrize("seeds", [1, 2, 8])
def test_all_runs_may_diverge(seeds, tmp_path):
    everything = {name: dict.fromkeys(range(seeds), nan) for name in CLASS}
    rows = compare(methods(seeds, **everything))
    assert [row.height.split(" ")[0] for row in rows] == ["none", "0.100"] * 3
    assert rows[-1].difference.mean == 0
    assert (rows[-1].difference.p_t, rows[-1].difference.p_sign_flip) == (1, 1)
    assert f"{seeds} of {seeds} diverged" in shown(rows).replace("\n", " ")
    comparison_picture(rows, "test_acc", title="").draw_without_rendering()
    curve_picture(rows[:1], "test_acc", title="").draw_without_rendering()
    write_table(comparison_frame(rows), tmp_path / "comparison.csv")
    assert "nan" not in (tmp_path / "comparison.csv").read_text()


values = st.lists(st.sampled_from([0.2, 0.5, 0.9, nan, inf, -inf]), min_size=3, max_size=3)


@given(st.lists(values, min_size=1, max_size=9), st.lists(values, min_size=1, max_size=9), st.integers(0, 3))
def test_whatever_diverges_no_figure_of_a_comparison_is_nan(of_random, of_bald, later):
    rows = compare(
        {
            "random": [run("random", "Random", seed=k, values=v, num_classes=5) for k, v in enumerate(of_random)],
            "bald": [run("bald", seed=k + later, values=v, num_classes=5) for k, v in enumerate(of_bald)],
        }
    )
    for row in rows:
        assert all(map(isfinite, row.areas))
        assert all(isfinite(value) for value in row.mean_curve()[1]) or row.stand_in is not None
        if row.difference is None:
            continue
        assert row.is_complete
        assert len(row.areas) == len(of_bald)
        for p in (row.difference.p_t, row.difference.p_sign_flip, row.p_t_holm, row.p_sign_flip_holm):
            assert 0 <= p <= 1
    assert sum(row.stand_in is None for row in rows) == 2


def test_a_mean_curve_leaves_out_rounds_that_diverged_and_the_picture_shows_the_run():
    rows = compare(methods(2, bald={1: nan}))
    assert rows[1].mean_curve()[1] == rows[1].runs[0].values
    figure = curve_picture(rows, "test_acc", title="")
    [axes] = figure.axes
    assert len(axes.lines) == 3 + 1
    assert "bald, 1 of 2 diverged" in [text.get_text() for text in axes.texts]
    [thin] = [line for line in axes.lines if line.get_linewidth() < 1]
    assert thin.get_xdata().tolist() == [10, 20, 30]


def test_the_table_of_a_file_tells_the_rows_apart(tmp_path):
    write_table(comparison_frame(compare(methods(bald={3: nan}))), tmp_path / "comparison.csv")
    with (tmp_path / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = [(line["method"], line["runs"], line["diverged"], line["diverged_counted_at"]) for line in lines]
    assert found[1:3] == [("bald", "7", "1", ""), ("bald, diverged at 0.100", "8", "1", "0.1")]
    assert lines[1]["p_sign_flip"] == lines[1]["p_t"] == lines[1]["difference"] == ""
    assert lines[2]["p_sign_flip"] != ""


def test_labels_to_a_target_count_runs_that_diverged():
    rows = compare(methods(4, bald={0: nan, 3: inf}))
    curves = [(run.labels, run.values) for run in rows[1].all_runs]
    assert labels_to_target(curves, 0.7, mode="max") == [30, 20, 20, 30]


def test_runs_that_differ_in_their_mode_are_refused():
    runs = methods(2)
    runs["bald"][0] = run("bald", num_classes=10, mode="min")
    runs["bald"][1] = run("bald", seed=1, num_classes=10, mode="max")
    with pytest.raises(ValueError, match="Some runs say that less of the metric `test_acc` is better"):
        compare(runs)


def test_a_mode_that_runs_were_given_decides():
    runs = methods(2, bald={0: nan})
    runs = {
        name: [run(name, CLASS[name], seed=one.seed, values=one.values, metric="q", mode="min") for one in same]
        for name, same in runs.items()
    }
    assert compare(runs, chance=0.1)[2].stand_in.height == max(one.area for one in runs["batchbald"])
