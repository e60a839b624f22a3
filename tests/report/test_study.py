from __future__ import annotations

import pytest

from lightning_al.report.recorded import read_all
from lightning_al.report.sentences import caveats, headlines
from lightning_al.report.study import make_studies
from tests.report.runs import record, record_study


def studies(folder, **asked):
    return make_studies(read_all([folder])[0], **asked)


def test_random_choice_comes_first_and_the_others_are_compared_with_it(tmp_path):
    record_study(tmp_path)
    [study], left_out = studies(tmp_path)
    assert (study.title, list(study.recorded), left_out) == ("Digits", ["random", "bald"], [])
    assert study.between == (10, 30)
    [_, bald] = study.compared
    # Areas over two steps: half of the first height, the middle one, half of the last.
    differences = [(0.7 + 0.01 * seed - 0.6) / 2 + (0.9 - 0.7) / 4 for seed in range(8)]
    assert bald.difference.mean == pytest.approx(sum(differences) / 8)
    [(sentence, rests)] = headlines(study)
    assert sentence == "bald's curve lies 0.118 above random's."
    assert "8 paired seeds; above on all of them; exact sign-flip p = .008 by Holm" in rests
    assert caveats(study) == []


def test_fewer_than_eight_seeds_are_called_descriptive(tmp_path):
    record_study(tmp_path, seeds=3)
    [study], _ = studies(tmp_path)
    assert any("Descriptive: 3 paired seeds" in caveat for caveat in caveats(study))
    [(sentence, rests)] = headlines(study)
    assert sentence.startswith("With 3 seeds, bald's curve lies")
    assert "n too small for a test" in rests


def test_the_same_height_is_said_to_be_level(tmp_path):
    record(tmp_path / "a", name="random", acquisition="Random")
    record(tmp_path / "b")
    [study], _ = studies(tmp_path)
    assert headlines(study)[0][0] == "With one seed, bald's curve is level with random's."
    assert "one seed, so no interval" in headlines(study)[0][1]


def test_other_data_and_other_training_are_other_tasks(tmp_path):
    for place, changes in enumerate([{}, {"data__noise": 0.1}, {"trainer__max_steps": 9}]):
        record(tmp_path / f"random-{place}", name="random", acquisition="Random", **changes)
        record(tmp_path / f"bald-{place}", **changes)
    found, _ = studies(tmp_path)
    assert [list(study.recorded) for study in found] == [["random", "bald"]] * 3
    assert {study.title for study in found} == {
        "Digits data.noise=0.0 trainer.max_steps=500",
        "Digits data.noise=0.1 trainer.max_steps=500",
        "Digits data.noise=0.0 trainer.max_steps=9",
    }


def test_a_larger_budget_is_the_same_method(tmp_path):
    record(tmp_path / "short", [0.5, 0.6], seed=0)
    record(tmp_path / "long", [0.5, 0.6, 0.8], seed=1, active__budget=40)
    [study], _ = studies(tmp_path)
    assert [run.seed for run in study.recorded["bald"]] == [0, 1]
    assert study.between == (10, 20)
    assert study.compared[0].areas == pytest.approx([0.55, 0.55])
    assert any("Compared up to 20 labels" in caveat for caveat in caveats(study))


def test_a_comparison_may_go_further_than_the_shortest_run(tmp_path):
    record(tmp_path / "short", [0.5, 0.6], seed=0)
    record(tmp_path / "long", [0.5, 0.6, 0.8], seed=1, active__budget=40)
    [study], _ = studies(tmp_path, up_to=30)
    assert [run.seed for run in study.compared[0].runs] == [1]
    assert [run.seed for run in study.too_short] == [0]


def test_a_run_still_going_does_not_cut_the_others_short(tmp_path):
    record_study(tmp_path, seeds=2)
    journal = record(tmp_path / "going", [0.5, 0.6], seed=2, finished=False, keep_open=True)
    [study], _ = studies(tmp_path)
    assert study.between == (10, 30)
    assert [run.state for run in study.too_short] == ["going"]
    assert len(study.curves["bald"]) == 3
    assert any("Not compared, since they do not cover 10 to 30 labels yet: bald seed 2" in c for c in caveats(study))
    journal.close()


def test_runs_that_all_go_on_are_compared_as_far_as_they_are(tmp_path):
    for seed, heights in enumerate([[0.5, 0.6, 0.7], [0.5, 0.6]]):
        record(tmp_path / str(seed), heights, seed=seed, finished=False)
    [study], _ = studies(tmp_path)
    assert study.between == (10, 20)
    assert any("2 have not finished; the figures will change" in caveat for caveat in caveats(study))


def test_a_run_that_a_longer_one_repeats_is_left_out(tmp_path):
    record(tmp_path / "short", [0.5, 0.6], finished=False)
    record(tmp_path / "long", [0.5, 0.6, 0.7])
    [study], [left_out] = studies(tmp_path)
    assert study.recorded["bald"][0].folder.name == "long"
    assert (left_out.folder.name, "part of the run in" in left_out.reason) == ("short", True)


def test_two_runs_of_a_seed_that_asked_for_different_points_are_refused(tmp_path):
    record(tmp_path / "one", [0.5, 0.6, 0.7])
    journal = record(tmp_path / "other", [0.5], finished=False, keep_open=True)
    journal.take_back()
    first = read_all([tmp_path / "one"])[0][0].history[0]
    journal.append(type(first).from_dict({**first.to_dict(), "indices": first.indices[::-1]}), labels={})
    journal.close()
    with pytest.raises(ValueError, match="have the seed 0 and the same settings, but asked for different points"):
        studies(tmp_path)


def test_a_metric_that_no_run_has_lists_those_there_are(tmp_path):
    record(tmp_path)
    with pytest.raises(ValueError, match=r"No run has the metric f1. Choose one of: test_acc, test_loss\."):
        studies(tmp_path, metric="f1")


def test_a_metric_that_only_some_have_leaves_the_others_out(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", seed=1, metric="val_acc")
    [study], [left_out] = studies(tmp_path, metric="val_acc")
    assert study.recorded["bald"][0].seed == 1
    assert "no metric val_acc. Choose by --metric one of: test_acc, test_loss." in left_out.reason


def test_runs_that_show_different_metrics_are_refused(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", seed=1, metric="val_acc")
    with pytest.raises(ValueError, match=r"different metrics: test_acc, val_acc.*all of them have: test_loss"):
        studies(tmp_path)


def test_validation_labels_are_labels(tmp_path):
    record(tmp_path)
    [study], _ = studies(tmp_path, with_validation_labels=True)
    assert study.curves["bald"][0].labels == [17, 27, 37]


def test_without_random_choice_there_is_no_comparison(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", name="batchbald", acquisition="BatchBALD")
    [study], _ = studies(tmp_path)
    assert study.baseline is None
    assert any("no run of random choice" in caveat for caveat in caveats(study))


def test_a_pair_that_did_not_start_alike_is_named(tmp_path):
    record(tmp_path / "a", [0.4, 0.6, 0.7], name="random", acquisition="Random", seed=4)
    record(tmp_path / "b", [0.5, 0.6, 0.7], seed=4)
    [study], _ = studies(tmp_path)
    assert any("Round 0 differs between methods with the same seed (4)" in caveat for caveat in caveats(study))
