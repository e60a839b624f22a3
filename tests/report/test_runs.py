from __future__ import annotations

import json
from math import isnan

import pytest

from lightning_al.report import Run, group_runs, load_runs
from lightning_al.run.history import History, Round
from tests.support.runs import run


def test_a_history_sums_up():
    first = Round(0, 10, [4, 2], [1.0, 0.5], metrics={"test_acc": 0.4}, seconds={"fit": 1.0, "score": 0.5})
    second = Round(1, 12, [], [], metrics={"test_acc": 0.6}, seconds={"fit": 1.0}, validation_labels=7)
    history = History([first, second])
    summary = Run.from_history(
        history,
        name="mine",
        acquisition="BALD",
        seed=3,
        metric="test_acc",
        initial=[1, 5],
        settings={"active.budget": 12},
    )
    assert (summary.labels, summary.values, summary.area) == ([10, 12], [0.4, 0.6], 0.5)
    assert (summary.indices, summary.initial) == ([[4, 2], []], [1, 5])
    assert (summary.seconds, summary.validation_labels) == (2.5, 7)
    assert {"lightning_al", "torch"} <= set(summary.versions)


def test_a_run_is_read_as_it_was_written(tmp_path):
    for name, seed in [("a", 0), ("b", 1)]:
        run(seed=seed).write(tmp_path / "sweep" / name)
    assert load_runs(tmp_path) == [run(seed=0), run(seed=1)]
    assert sorted(path.name for path in (tmp_path / "sweep" / "a").iterdir()) == ["summary.json"]


def test_a_run_that_diverged_is_kept_as_json_that_everyone_reads(tmp_path):
    run(values=[0.5, float("nan"), float("inf")], mode="min", num_classes=3).write(tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    plain = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    assert (plain["values"], plain["area"]) == ([0.5, None, None], None)
    found = Run.read(tmp_path)
    assert (found.values[0], found.has_diverged, isnan(found.area)) == (0.5, True, True)
    assert (found.mode, found.num_classes) == ("min", 3)


def test_a_summary_of_an_earlier_version_is_read(tmp_path):
    run(mode=None).write(tmp_path)
    path = tmp_path / "summary.json"
    plain = json.loads(path.read_text())
    del plain["mode"], plain["num_classes"]
    path.write_text(json.dumps(plain))
    assert Run.read(tmp_path) == run()


def test_a_damaged_summary_is_named(tmp_path):
    (tmp_path / "summary.json").write_text('{"name": "bald"}')
    with pytest.raises(ValueError, match=r"is not the summary of a run: KeyError: 'acquisition'\. Remove it"):
        Run.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": [10, 10**19 * 2]}, "a whole number of 20 digits is larger"),
        ({"labels": [10, "20"]}, r"it holds .*20.*\. Put back"),
        ({"labels": [10]}, r"it has 1 labels and 3 values\. Put back"),
        ({"values": [1e200, 0.5, 0.5]}, r"it holds 1e\+200\. Put back"),
        ({"indices": [[1, None]]}, r"it holds None\. Put back"),
        ({"indices": 3}, "TypeError"),
        ({"settings": [3]}, "TypeError"),
        ({"versions": {"torch": 3}}, "it holds 3"),
        ({"name": ["a"]}, "it holds "),
    ],
)
def test_a_summary_that_no_run_writes_is_refused(tmp_path, changes, words):
    run().write(tmp_path)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=f"is not the summary of a run: .*{words}.* Remove it"):
        Run.read(tmp_path)


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


def test_the_same_run_twice_is_refused():
    with pytest.raises(ValueError, match="Two runs of bald have the same seed and settings"):
        group_runs([run(seed=1), run(seed=1)])
