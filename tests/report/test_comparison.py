from __future__ import annotations

import csv

import pytest
from scipy import stats

from lightning_al.report import area_under_curve, compare, compare_pairs, holm
from lightning_al.report.frames import comparison_frame, pairs_frame, write_table
from tests.support.runs import run

HEIGHTS = {"random": [0.50, 0.52, 0.49, 0.51, 0.50, 0.53], "bald": [0.51, 0.52, 0.48, 0.53, 0.50, 0.56]}
HEIGHTS["batchbald"] = [height + 0.1 + 0.01 * seed for seed, height in enumerate(HEIGHTS["random"])]
CLASS = {"random": "Random", "bald": "BALD", "batchbald": "BatchBALD"}


def methods(seeds: int = 6) -> dict[str, list]:
    return {
        name: [run(name, CLASS[name], seed=seed, height=height) for seed, height in enumerate(heights[:seeds])]
        for name, heights in HEIGHTS.items()
    }


def test_differences_are_paired_by_seed():
    runs = methods()
    runs["batchbald"].reverse()
    baseline, _, batchbald = compare(runs)
    assert (baseline.name, baseline.difference) == ("random", None)
    theirs = stats.ttest_rel([run.area for run in reversed(batchbald.runs)], [run.area for run in runs["random"]])
    assert batchbald.difference.mean == pytest.approx(0.1 + 0.01 * 2.5)
    assert batchbald.difference.p_t == pytest.approx(theirs.pvalue)
    assert batchbald.difference.p_sign_flip == 2 / 2**6


def test_p_values_are_corrected_over_the_methods():
    _, bald, batchbald = compare(methods())
    expected = holm([bald.difference.p_t, batchbald.difference.p_t])
    assert [bald.p_t_holm, batchbald.p_t_holm] == expected
    assert batchbald.p_sign_flip_holm == 2 * batchbald.difference.p_sign_flip


@pytest.mark.parametrize(("seeds", "too_small"), [(5, True), (6, True), (1, True)])
def test_n_is_too_small_where_no_data_could_reach_the_level(seeds, too_small):
    # Two methods are compared: 2 * 2 / 2^6 is .0625.
    assert compare(methods(seeds))[2].n_too_small is too_small


def test_n_of_six_is_enough_for_one_method():
    two = methods()
    del two["bald"]
    assert not compare(two)[1].n_too_small


@pytest.mark.parametrize("seeds", [(8, 6), (8, 5), (6, 8), (8, 8), (6, 6), (8, 2), (7, 7), (1, 8), (20, 1), (5, 5)])
def test_n_is_too_small_where_even_runs_that_all_agree_do_not_reach_the_level(seeds):
    """Each method has as many pairs with random choice as it has seeds, and is above it in all of them."""
    runs = {"random": [run("random", "Random", seed=seed) for seed in range(20)]}
    for name, count in zip("ab", seeds, strict=True):
        runs[name] = [run(name, height=0.7 + 0.01 * seed, seed=seed) for seed in range(count)]
    for row in compare(runs)[1:]:
        assert row.n_too_small == (row.p_sign_flip_holm > 0.05)


def test_seeds_that_random_choice_has_not_do_not_make_n_larger():
    runs = {
        "random": [run("random", "Random", seed=seed) for seed in range(5)],
        "bald": [run(height=0.7 + 0.01 * seed, seed=seed) for seed in range(20)],
    }
    _, bald = compare(runs)
    assert (bald.difference.n, bald.n_too_small) == (5, True)
    runs["random"].append(run("random", "Random", seed=7))
    assert not compare(runs)[1].n_too_small


def test_only_common_seeds_are_compared():
    runs = methods()
    runs["bald"] = runs["bald"][4:]
    runs["batchbald"] = [run("batchbald", "BatchBALD", seed=99)]
    _, bald, batchbald = compare(runs)
    assert bald.difference.n == 2
    assert batchbald.difference is None


def test_without_a_baseline_there_are_no_differences():
    runs = methods()
    del runs["random"]
    assert [row.difference for row in compare(runs)] == [None, None]


def test_areas_are_taken_over_the_labels_that_all_have():
    longer = run("bald", labels=[10, 20, 30, 40], values=[0.1, 0.2, 0.3, 0.9])
    rows = compare({"bald": [longer], "random": [run("random", "Random")]})
    assert rows[1].areas == [area_under_curve([10, 20, 30], [0.1, 0.2, 0.3])]


def test_mean_curve_is_of_the_labels_that_all_runs_recorded():
    runs = [run(seed=0, labels=[10, 20, 30], values=[0.1, 0.2, 0.3]), run(seed=1, labels=[10, 30], values=[0.3, 0.5])]
    labels, means, _ = compare({"bald": runs})[0].mean_curve()
    assert labels == [10, 30]
    assert means == pytest.approx([0.2, 0.4])


def test_runs_of_different_tasks_are_refused():
    with pytest.raises(ValueError, match="expects runs with one metric and overlapping curves"):
        compare({"a": [run()], "b": [run(metric="val_acc")]})
    with pytest.raises(ValueError, match="curves over 10 to 30, 40 to 50 labels"):
        compare({"a": [run()], "b": [run(labels=[40, 50])]})


def test_csv_has_a_line_for_each_method(tmp_path):
    rows = compare(methods())
    write_table(comparison_frame(rows), tmp_path / "comparison.csv")
    with (tmp_path / "comparison.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [line["method"] for line in written] == ["random", "bald", "batchbald"]
    assert written[0]["difference"] == ""
    assert float(written[2]["difference"]) == rows[2].difference.mean
    assert float(written[2]["p_sign_flip_holm"]) == rows[2].p_sign_flip_holm


def test_every_two_methods_are_compared_in_pairs():
    rows = compare(methods())
    pairs = compare_pairs(rows)
    assert [(pair.method, pair.other) for pair in pairs] == [
        *(("bald", "random"), ("batchbald", "random"), ("batchbald", "bald"))
    ]
    for pair in pairs:
        one, other = ([run.area for run in methods()[name]] for name in (pair.method, pair.other))
        theirs = stats.ttest_rel(one, other)
        assert pair.difference.mean == pytest.approx(sum(a - b for a, b in zip(one, other, strict=True)) / 6)
        assert pair.difference.p_t == pytest.approx(theirs.pvalue)
    assert [pair.p_t_holm for pair in pairs] == holm([pair.difference.p_t for pair in pairs])
    assert [pair.p_sign_flip_holm for pair in pairs] == holm([pair.difference.p_sign_flip for pair in pairs])
    assert [pair.n_too_small for pair in pairs] == [True] * 3  # 3 * 2 / 2^6 is above .05


def test_two_methods_alone_are_compared_as_one_is_with_random_choice():
    two = methods()
    del two["batchbald"]
    rows = compare(two)
    [pair] = compare_pairs(rows)
    assert pair.difference == rows[1].difference
    assert (pair.p_t_holm, pair.n_too_small) == (rows[1].p_t_holm, rows[1].n_too_small)


def test_pairs_need_a_common_seed_and_no_random_choice():
    runs = {"bald": [run("bald", seed=0)], "entropy": [run("entropy", seed=1), run("entropy", seed=0, height=0.6)]}
    [pair] = compare_pairs(compare(runs))
    assert (pair.difference.n, pair.difference.mean) == (1, pytest.approx(0.1))
    assert compare_pairs(compare({"bald": runs["bald"], "entropy": runs["entropy"][:1]})) == []
    assert pairs_frame([pair]).to_dict("records")[0]["minus"] == "bald"


def test_a_pair_has_the_row_in_which_runs_that_diverged_count():
    runs = {
        "bald": [run("bald", seed=0, values=[0.5, float("nan"), 0.7], num_classes=10)],
        "entropy": [run("entropy", seed=0)],
    }
    [pair] = compare_pairs(compare(runs))
    assert (pair.other, pair.difference.mean) == ("bald, diverged at 0.100", pytest.approx(0.5))
    runs["bald"][0] = run("bald", seed=0, values=[0.5, float("nan"), 0.7])
    assert compare_pairs(compare(runs)) == []
