from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_al.report import Run
from lightning_al.report.comparison import compare
from lightning_al.report.runs import read_all
from lightning_al.report.sentences import caveats, headlines
from lightning_al.report.study import Study, group_runs, make_studies
from lightning_al.run.history import History
from tests.support.runs import record, record_study, rounds, run


def studies(folder, **asked):
    return make_studies(read_all([folder])[0], **asked)


def test_random_choice_comes_first_and_the_others_are_compared_with_it(tmp_path):
    record_study(tmp_path)
    [study], left_out = studies(tmp_path)
    assert (study.title, list(study.methods), left_out) == ("Digits", ["random", "bald"], [])
    assert study.between == (10, 30)
    [_, bald] = study.compared
    # Areas over two steps: half of the first height, the middle one, half of the last.
    differences = [(0.7 + 0.01 * seed - 0.6) / 2 + (0.9 - 0.7) / 4 for seed in range(8)]
    assert bald.difference.mean == pytest.approx(sum(differences) / 8)
    [_, (sentence, rests)] = headlines(study)
    assert sentence == "bald's curve lies 0.118 above random's."
    assert "8 paired seeds; above on all of them; exact sign-flip p = .008, Holm-corrected" in rests
    assert caveats(study) == []


def test_fewer_than_eight_seeds_are_called_descriptive(tmp_path):
    record_study(tmp_path, seeds=3)
    [study], _ = studies(tmp_path)
    assert any("Descriptive: 3 paired seeds" in caveat for caveat in caveats(study))
    [(best, _), (sentence, rests)] = headlines(study)
    assert best.startswith("With 3 seeds, bald is best: it")
    assert sentence.startswith("With 3 seeds, bald's curve lies")
    assert "n too small for a test" in rests


def test_the_same_height_is_said_to_be_level(tmp_path):
    record(tmp_path / "a", name="random", acquisition="Random")
    record(tmp_path / "b")
    [study], _ = studies(tmp_path)
    [(best, _), (sentence, rests)] = headlines(study)
    assert best == "No method is better than random."
    assert sentence == "With one seed, bald's curve is level with random's."
    assert "one seed, so no interval" in rests


def test_other_data_and_other_training_are_other_tasks(tmp_path):
    for place, changes in enumerate([{}, {"data__noise": 0.1}, {"trainer__max_steps": 9}]):
        record(tmp_path / f"random-{place}", name="random", acquisition="Random", **changes)
        record(tmp_path / f"bald-{place}", **changes)
    found, _ = studies(tmp_path)
    assert [list(study.methods) for study in found] == [["random", "bald"]] * 3
    assert {study.title for study in found} == {
        "Digits data.noise=0.0 trainer.max_steps=500",
        "Digits data.noise=0.1 trainer.max_steps=500",
        "Digits data.noise=0.0 trainer.max_steps=9",
    }


def test_a_larger_budget_is_the_same_method(tmp_path):
    record(tmp_path / "short", [0.5, 0.6], seed=0)
    record(tmp_path / "long", [0.5, 0.6, 0.8], seed=1, active__budget=40)
    [study], _ = studies(tmp_path)
    assert [run.seed for run in study.methods["bald"]] == [0, 1]
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
    assert len(study.methods["bald"]) == 3
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
    assert study.methods["bald"][0].folder.name == "long"
    assert (left_out.folder.name, "part of the run in" in left_out.reason) == ("short", True)


def test_two_runs_of_a_seed_that_asked_for_different_points_are_refused(tmp_path):
    record(tmp_path / "one", [0.5, 0.6, 0.7])
    journal = record(tmp_path / "other", [0.5], finished=False, keep_open=True)
    journal.take_back()
    first = read_all([tmp_path / "one"])[0][0].history[0]
    journal.append(type(first).from_dict({**first.to_dict(), "indices": first.indices[::-1]}), labels={})
    journal.close()
    with pytest.raises(ValueError, match="have the seed 0 and the same settings, but queried different points"):
        studies(tmp_path)


def test_a_metric_that_no_run_has_lists_those_there_are(tmp_path):
    record(tmp_path)
    with pytest.raises(ValueError, match=r"No run has the metric f1. Choose one of: test_acc, test_loss\."):
        studies(tmp_path, metric="f1")


def test_a_metric_that_only_some_have_leaves_the_others_out(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", seed=1, metric="val_acc")
    [study], [left_out] = studies(tmp_path, metric="val_acc")
    assert study.methods["bald"][0].seed == 1
    assert "no metric val_acc. Choose by --metric one of: test_acc, test_loss." in left_out.reason


def test_runs_that_show_different_metrics_are_refused(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", seed=1, metric="val_acc")
    with pytest.raises(ValueError, match=r"name different metrics: test_acc, val_acc.*all runs have: test_loss"):
        studies(tmp_path)


def test_validation_labels_are_labels(tmp_path):
    record(tmp_path)
    [study], _ = studies(tmp_path, with_validation_labels=True)
    assert study.methods["bald"][0].labels == [17, 27, 37]


def test_without_random_choice_there_is_no_comparison(tmp_path):
    record(tmp_path / "a")
    record(tmp_path / "b", name="batchbald", acquisition="BatchBALD")
    [study], _ = studies(tmp_path)
    assert study.baseline is None
    assert any("no run of random choice" in caveat for caveat in caveats(study))


def test_methods_are_compared_with_each_other_without_random_choice_too(tmp_path):
    for seed in range(2):
        record(tmp_path / f"a-{seed}", seed=seed)
        record(tmp_path / f"b-{seed}", [0.6, 0.7, 0.8], name="batchbald", acquisition="BatchBALD", seed=seed)
    [study], _ = studies(tmp_path)
    [pair] = study.pairs
    assert (pair.method, pair.other, pair.difference.n) == ("batchbald", "bald", 2)
    assert pair.difference.mean == pytest.approx(0.1)
    assert any("Descriptive: 2 paired seeds" in caveat for caveat in caveats(study))


def test_more_seeds_than_the_exact_test_takes_are_not_compared_in_pairs():
    runs = {name: [run(name, seed=seed) for seed in range(count)] for name, count in {"a": 41, "b": 41, "c": 2}.items()}
    study = Study("Digits", "test_acc", False, {}, (10, 30), compare(runs), [], "max")
    assert study.pairs == []
    assert any("since they have more than 40 seeds: a, b." in caveat for caveat in caveats(study))


def test_a_pair_that_did_not_start_alike_is_named(tmp_path):
    record(tmp_path / "a", [0.4, 0.6, 0.7], name="random", acquisition="Random", seed=4)
    record(tmp_path / "b", [0.5, 0.6, 0.7], seed=4)
    [study], _ = studies(tmp_path)
    assert any("Round 0 differs between methods with the same seed (4)" in caveat for caveat in caveats(study))


def record_diverged(folder, *, metric="test_acc", **changes):
    """Eight seeds of random choice and BALD, of which one of BALD's diverged in one round."""
    for seed in range(8):
        value = float("nan") if seed == 3 else 0.7 + 0.01 * seed
        record(
            folder / f"r-{seed}",
            [0.5, 0.6, 0.7],
            name="random",
            acquisition="Random",
            seed=seed,
            metric=metric,
            **changes,
        )
        record(folder / f"b-{seed}", [0.5, value, 0.9], seed=seed, metric=metric, **changes)


def test_a_run_that_diverged_is_named_and_counts_at_chance_level(tmp_path):
    record_diverged(tmp_path)
    [study], left_out = studies(tmp_path)
    assert left_out == []
    [random, incomplete, counted] = study.compared
    assert (random.is_complete, incomplete.num_diverged, counted.stand_in.height) == (True, "1 of 8 diverged", 0.5)
    [(best, _), (sentence, rests)] = headlines(study)
    # Random choice reaches 0.7 at 30 labels, and bald at 20, but for the run that diverged there.
    assert best == "bald is best: it reaches test accuracy 0.700 with 8.8 labels fewer than random."
    # Above by 0.1 and 0.005 a seed, but for the one that counts at 0.5 beside 0.6.
    assert counted.difference.mean == pytest.approx((7 * 0.1 + 0.005 * (28 - 3) - 0.1) / 8)
    assert sentence == "bald's curve lies 0.091 above random's."
    assert "of bald, 1 of 8 diverged and counts at 0.500" in rests
    assert any("bald seed 3 with 20 labels. In the rows that say so, they count at 0.500" in c for c in caveats(study))
    [study], _ = studies(tmp_path, chance=0.25)
    assert study.compared[2].areas[3] == 0.25


def test_without_chance_level_a_method_with_a_run_that_diverged_has_no_figures_of_its_own(tmp_path):
    record_diverged(tmp_path, metric="test_f1")
    [study], _ = studies(tmp_path)
    [(sentence, rests)] = [said for said in headlines(study) if "incomplete" in said[0]]
    assert sentence == "bald is incomplete: 1 of 8 diverged."
    assert rests.startswith("The normalised area of the others is")
    assert not any("lies" in sentence for sentence, _ in headlines(study))


def test_without_random_choice_that_diverged_nothing_is_compared_with_it(tmp_path):
    record(tmp_path / "a", [0.5, float("nan"), 0.7], name="random", acquisition="Random", metric="test_f1")
    record(tmp_path / "b", [0.5, 0.6, 0.7], metric="test_f1")
    [study], _ = studies(tmp_path)
    assert any("Runs of random choice diverged and are not counted" in caveat for caveat in caveats(study))
    assert not any("no run of random choice" in caveat for caveat in caveats(study))


def test_a_direction_is_what_is_asked_or_what_runs_say_or_what_the_name_says(tmp_path):
    record(tmp_path / "a", metric="quality", name="random", acquisition="Random", mode="min")
    record(tmp_path / "b", metric="quality", mode="min")
    assert [study.mode for study in studies(tmp_path)[0]] == ["min"]
    assert [study.mode for study in studies(tmp_path, mode="max")[0]] == ["max"]
    assert [study.mode for study in studies(tmp_path, metric="test_loss")[0]] == ["min"]
    assert any("of which less is better" in rests for _, rests in headlines(studies(tmp_path)[0][0]))


def test_a_direction_that_is_not_known_is_asked_for(tmp_path):
    record(tmp_path, metric="quality")
    [study], _ = studies(tmp_path)
    assert study.mode is None
    assert any("Whether less or more of quality is better is not known" in caveat for caveat in caveats(study))


def test_the_lowest_loss_comes_first(tmp_path):
    for place, height in enumerate([0.9, 0.2, 0.5]):
        record(tmp_path / str(place), [height] * 3, name=f"m{place}", metric="val_loss")
    assert [sentence.split("'")[0][-2:] for sentence, _ in headlines(studies(tmp_path)[0][0])] == ["m1", "m2", "m0"]


def test_rounds_without_the_metric_are_named(tmp_path):
    journal = record(tmp_path, [0.5, 0.6, 0.7, 0.8], finished=False, keep_open=True)
    rounds = list(journal.history)
    for _ in range(3):
        journal.take_back()
    for round in rounds[1:]:
        kept = {} if round.number == 1 else round.metrics
        journal.append(type(round).from_dict({**round.to_dict(), "metrics": kept}), labels={})
    journal.close()
    [study], _ = studies(tmp_path)
    assert study.methods["bald"][0].labels == [10, 30, 40]
    assert any(
        "Rounds without test_acc, over which the curve is taken as straight: bald seed 0 (1 round)" in c
        for c in caveats(study)
    )


def test_seeds_that_make_no_difference_are_noticed(tmp_path):
    for seed in range(8):
        record(tmp_path / f"r-{seed}", name="random", acquisition="Random", seed=seed)
        record(tmp_path / f"b-{seed}", [0.5, 0.7, 0.9], seed=seed)
    [study], _ = studies(tmp_path)
    assert any("is the same with every seed for bald" in caveat for caveat in caveats(study))


def test_runs_that_diverged_alike_at_the_start_started_alike(tmp_path):
    record(tmp_path / "a", [float("nan"), 0.6, 0.7], name="random", acquisition="Random")
    record(tmp_path / "b", [float("nan"), 0.6, 0.7])
    [study], _ = studies(tmp_path)
    assert not any("Round 0 differs" in caveat for caveat in caveats(study))


def test_runs_group_by_name_in_the_order_of_seeds():
    methods = group_runs([run("bald", seed=2), run("random", seed=0), run("bald", seed=0)])
    assert {name: [member.seed for member in runs] for name, runs in methods.items()} == {"bald": [0, 2], "random": [0]}


def test_settings_that_differ_complete_the_name():
    runs = [
        run(seed=seed, settings={"active.query_size": size, "data.noise": 0.1}) for size in (5, 10) for seed in (0, 1)
    ]
    assert list(group_runs(runs)) == ["bald query_size=5", "bald query_size=10"]


def test_settings_that_end_alike_or_name_a_class_are_named_in_full():
    runs = [
        run(settings={"acquisition.size": size, "active.size": size, "posterior._target_": f"a.{letter}"})
        for size, letter in ((5, "B"), (10, "C"))
    ]
    assert list(group_runs(runs)) == [
        "bald acquisition.size=5 active.size=5 posterior._target_=a.B",
        "bald acquisition.size=10 active.size=10 posterior._target_=a.C",
    ]


def named(*methods: dict[str, str], name: str = "stochastic", acquisition: str = "Stochastic") -> list[str]:
    """The names of methods of programs that differ in these settings."""
    of_program = {"data.form": "(Tensor, int)"}
    return list(group_runs([run(name, acquisition, settings={**of_program, **settings}) for settings in methods]))


def test_a_program_is_named_by_the_arguments_that_differ():
    assert named(
        {"acquisition": "Stochastic(acquisition=Margin(), kind='power', beta=1.0)"},
        {"acquisition": "Stochastic(acquisition=Entropy(), kind='power', beta=1.0)"},
    ) == ["stochastic acquisition=Margin()", "stochastic acquisition=Entropy()"]
    assert named(
        {"posterior": "MCDropout(num_samples=4, autocast=False)"},
        {"posterior": "MCDropout(num_samples=8, autocast=False)"},
    ) == ["stochastic num_samples=4", "stochastic num_samples=8"]
    assert named(
        {"acquisition": "Subsample(acquisition=Stochastic(acquisition=Margin(), beta=1.0), size=30)"},
        {"acquisition": "Subsample(acquisition=Stochastic(acquisition=Margin(), beta=2.0), size=30)"},
    ) == ["stochastic beta=1.0", "stochastic beta=2.0"]


@pytest.mark.parametrize(
    "texts",
    [
        ["MCDropout(num_samples=8)", "Deterministic()"],  # of different classes
        ["Mine(1)", "Mine(2)"],  # arguments without names
        ["Mine(net=<a>)", "Mine(net=<b>)"],  # no Python
        ["Mine(a=1)", "Mine( a=1 )"],  # the same but for spaces
        ["Mine(a=1)", "Mine"],
        ["Mine(a=1)", "Mine(a=1, **{})"],
        [f"{'A(a=' * 300}1{')' * 300}", "A(a=2)"],
    ],
)
def test_what_is_not_an_object_with_other_arguments_is_named_in_full(texts):
    assert named(*({"posterior": text} for text in texts)) == [f"stochastic posterior={text}" for text in texts]


def test_a_configuration_has_no_objects_as_text():
    texts = ["Mine(a=1)", "Mine(a=2)"]
    runs = [run(settings={"acquisition._target_": "mine.Mine", "acquisition.inner": text}) for text in texts]
    assert list(group_runs(runs)) == [f"bald inner={text}" for text in texts]


def test_no_two_methods_get_one_name():
    methods = [
        {"acquisition": f"Mine(posterior={inner}, a=1)", "posterior": outer}
        for inner in "AB"
        for outer in ("X()", "Y()")
    ]
    assert len(named(*methods, name="mine", acquisition="Mine")) == 4


def test_the_same_run_twice_is_refused():
    with pytest.raises(ValueError, match="Two runs of bald have the same seed and settings"):
        group_runs([run(seed=1), run(seed=1)])


def test_packages_and_accelerators_that_runs_do_not_share_are_named() -> None:
    history = History(rounds([0.5, 0.6, 0.7]))
    here = [run(seed=seed, settings={"trainer.accelerator": "cpu"}, history=history) for seed in (0, 1)]
    there = run(seed=2, settings={"trainer.accelerator": "gpu"}, versions={"torch": "3"}, history=history)

    def said(runs: list[Run]) -> list[str]:
        methods = group_runs(runs)
        assert list(methods) == ["bald"]
        return caveats(Study("Digits", "test_acc", False, methods, (10, 30), compare(methods), [], "max"))

    assert said([*here, there])[-2:] == [
        "The runs used different versions of torch.",
        "The runs used different accelerators: cpu, gpu.",
    ]
    assert not any("different" in caveat for caveat in said(here))


def test_a_range_that_no_run_covers_is_said_with_the_one_there_is(tmp_path):
    record_study(tmp_path, seeds=2)
    for up_to in (0, 5, 1000):
        [study], _ = studies(tmp_path, up_to=up_to)
        assert study.compared == []
        assert (
            f"Nothing is compared up to {up_to} labels, as `--up-to` asks: the runs have 10 to 30 labels in common."
            in (caveats(study))
        )


def test_runs_without_a_range_in_common_are_not_compared():
    history = History(rounds([0.5, 0.6, 0.7]))
    later = History(rounds([0.5, 0.6, 0.7], first=100))
    [study], _ = make_studies([run(history=history), run(seed=1, history=later)], up_to=40)
    assert "No part of the curves is common to the runs, so that nothing is compared." in caveats(study)


def test_random_choice_alone_has_nothing_to_compare_with_it(tmp_path):
    for seed in range(2):
        record(tmp_path / str(seed), name="random", acquisition="Random", seed=seed)
    [study], _ = studies(tmp_path)
    assert caveats(study) == ["Random choice is the only method, so that nothing is compared with it."]


def of_program(metrics: dict[str, float], *, seed: int = 0, **changes: Any) -> Run:
    """A run of a program, which names no metric, with these in each of its rounds."""
    history = History(replace(round, metrics=metrics) for round in rounds([0.5, 0.6, 0.7]))
    return run(seed=seed, history=history, **{"metric": "", "settings": {"data.form": "(Tensor, int)"}, **changes})


@pytest.mark.parametrize(
    ("of_runs", "chosen"),
    [
        (["test/f1 test/loss avg_conf"], "test/f1"),
        (["avg_conf test_loss"], "test_loss"),
        (["test/acc posterior_accuracy", "test/acc"], "test/acc"),
        (["test/acc test_loss", "test/acc alpha_acc"], "test/acc"),
        (["a_loss test_score"], "a_loss"),
        (["val_acc", "val_acc test_loss", ""], "val_acc"),
        (["val_acc", "test_acc"], "test_acc"),
    ],
)
def test_runs_that_name_no_metric_get_one_for_all(of_runs, chosen):
    runs = [of_program(dict.fromkeys(names.split(), 0.5), seed=seed) for seed, names in enumerate(of_runs)]
    [study], left_out = make_studies(runs)
    assert study.metric == chosen
    assert len(left_out) == sum(chosen not in names.split() for names in of_runs)


def test_a_configuration_without_a_metric_means_the_accuracy_alone():
    [study], _ = make_studies([of_program({"test_loss": 0.5}, settings={})])
    assert study.metric == ""


def test_a_metric_that_a_run_names_is_that_of_runs_that_name_none():
    both = {"test_acc": 0.5, "val_acc": 0.4}
    [study], _ = make_studies([of_program(both), of_program(both, seed=1, metric="val_acc")])
    assert study.metric == "val_acc"
