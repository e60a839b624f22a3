from __future__ import annotations

import json
import os
from math import isnan
from pathlib import Path

import pytest

from lightning_al.cli.cells import write_error
from lightning_al.report import Run, load_runs
from lightning_al.report.runs import read_all, read_run
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal
from tests.support.runs import record, rounds, run


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


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_finished_run_is_read_and_its_folder_left_as_it_was(tmp_path):
    record(tmp_path / "run", seed=3)
    (tmp_path / "run" / "initial.pt").write_bytes(b"no weights")
    before = state_of(tmp_path)
    ([run], left_out) = read_all([tmp_path])
    assert (run.name, run.acquisition, run.seed, run.metric, run.state) == ("bald", "BALD", 3, "test_acc", "finished")
    assert list(run.history) == rounds([0.5, 0.6, 0.7])
    assert run.settings["active.query_size"] == 10
    assert "torch" in run.versions
    assert (left_out, state_of(tmp_path)) == ([], before)


@pytest.mark.long
def test_a_run_that_another_process_writes_to_shows_what_it_has(tmp_path):
    journal = record(tmp_path, [0.5, 0.6], finished=False, keep_open=True)
    run = read_run(tmp_path)
    assert (run.state, [round.labelled for round in run.history]) == ("going", [10, 20])
    journal.append(rounds([0.5, 0.6, 0.7])[2], labels={})
    assert read_run(tmp_path).state == "finished"
    journal.close()


def test_a_run_that_was_cut_off_has_stopped(tmp_path):
    record(tmp_path, finished=False)
    assert read_run(tmp_path).state == "stopped"


@pytest.mark.parametrize("is_going", [False, True])
def test_a_run_of_the_python_interface_is_known_by_its_journal(tmp_path, is_going):
    header = {
        "acquisition": "BatchBALD(num_configurations=10000)",
        "posterior": "MCDropout()",
        "last_layer": "LastLayer()",
        "query_size": 10,
        "seed": 5,
        "reset": "initial",
        "data": {"length": 100, "classes": [0, 1], "labels": [0], "form": "(Tensor, int)", "contents": "ab"},
        "initial": [1, 2],
    }
    journal = Journal(tmp_path)
    journal.begin(header)
    for round in rounds([0.5, 0.6], finished=False):
        journal.append(round, labels={})
    if not is_going:
        journal.close()
    run = read_run(tmp_path)
    assert (run.name, run.acquisition, run.seed, run.metric) == ("batchbald", "BatchBALD", 5, "")
    assert run.state == ("going" if is_going else "stopped")
    assert run.settings["pool.initial_size"] == 2
    journal.close()


def test_a_going_run_whose_journal_says_another_seed_is_damaged(tmp_path):
    journal = Journal(tmp_path)
    journal.begin({"acquisition": "BALD()", "seed": 5})
    path = tmp_path / "journal.sqlite"
    path.write_bytes(path.read_bytes().replace(b'"seed": 5', b'"seed": 6'))
    with pytest.raises(ValueError, match=r"the first row of journal\.sqlite is damaged\. Put back"):
        read_run(tmp_path)
    journal.close()


def test_a_run_without_its_journal_is_read_from_its_lines(tmp_path):
    record(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    assert list(read_run(tmp_path).history) == rounds([0.5, 0.6, 0.7])


def damage_journal(folder: Path) -> None:
    content = bytearray((folder / "journal.sqlite").read_bytes())
    place = content.index(b'"labelled": 20')
    content[place + 12 : place + 14] = b"21"
    (folder / "journal.sqlite").write_bytes(bytes(content))


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def enlarge(name: str):
    return lambda folder: os.truncate(folder / name, 100 * 2**20 + 1)


def lines(text: str):
    def damage(folder: Path) -> None:
        (folder / "journal.sqlite").unlink()
        (folder / "history.jsonl").write_text(text)

    return damage


ONE = '{"number": 0, "labelled": %s, "indices": %s, "scores": [], "metrics": %s}\n'


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_journal, "is damaged at row 2; the last good round is 0"),
        (write("config.yaml", "a: [1"), "ParserError"),
        (write("config.yaml", "- 1"), "holds no settings"),
        (write("config.yaml", "a: &a [1]\nb: [*a, *a]"), "config.yaml has aliases, which no run writes. Put back"),
        (enlarge("summary.json"), "summary.json has 104857601 bytes, but such a file has at most 104857600. Put back"),
        (write("config.yaml", f"seed: {'9' * 30}"), "config.yaml has a number as large as 999"),
        (
            write("config.yaml", f"seed: {'9' * 90}"),
            "config.yaml has a number of 90 characters. No run writes one so large",
        ),
        (
            write("config.yaml", "seed: 1.0e+200"),
            "has a number as large as 1e+200. No run writes one so large. Put back",
        ),
        (write("config.yaml", "a: " + "[" * 99), "config.yaml is nested too deeply. Put back a copy"),
        (write("config.yaml", "a: 1\n" * 400_000), "config.yaml has 2000000 bytes, but such a file has at most"),
        (write("config.yaml", "seed: 0"), "KeyError: 'acquisition._target_'"),
        (write("config.yaml", "seed: x\nacquisition:\n  _target_: a.B"), "its seed is 'x'"),
        (write("config.yaml", "a: !!python/object/apply:os.system [true]"), "ConstructorError"),
        (write("summary.json", "{"), "Expecting property name"),
        (lines("{}\n"), "round 0 does not hold what a round holds"),
        (lines("[" * 100_000), "nested too deeply"),
        (lines(ONE % ('"ten"', "[]", "{}")), "round 0 does not hold what a round holds"),
        (lines(ONE % (10, '"ab"', "{}")), "round 0 does not hold what a round holds"),
        (lines(ONE % (10, "[]", '{"acc": "high"}')), "round 0 does not hold what a round holds"),
        (lines(ONE % (10, "[]", '["acc"]')), "round 0 does not hold what a round holds"),
        (lines(ONE % (10, "[]", '{"acc": 1e200}')), "its round 0 has a number larger than any that a run records"),
        (lines(ONE % ("1" + "0" * 9_999, "[]", "{}")), "a whole number of 10000 digits is larger than"),
        (lines(""), "has no round yet"),
    ],
)
def test_a_damaged_run_is_named_and_left_out(tmp_path, damage, reason):
    record(tmp_path / "good")
    record(tmp_path / "bad", seed=1)
    damage(tmp_path / "bad")
    runs, [left_out] = read_all([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert left_out.folder.name == "bad"
    assert reason in left_out.reason


def test_a_cell_that_failed_is_named_with_its_error(tmp_path):
    record(tmp_path / "good")
    (tmp_path / "at once").mkdir()
    write_error(tmp_path / "at once", ValueError("query_size is \x1b[2J0"))
    record(tmp_path / "later", [0.5, 0.6], seed=1, finished=False)
    write_error(tmp_path / "later", RuntimeError("out of memory"))
    runs, [left_out] = read_all([tmp_path])
    assert [(run.folder.name, run.state) for run in runs] == [("good", "finished"), ("later", "failed")]
    assert left_out.folder.name == "at once"
    assert left_out.reason == r"it failed: ValueError: query_size is \x1b[2J0"


def test_text_in_a_run_cannot_move_the_cursor(tmp_path):
    record(tmp_path, name="a\x1b[2Jb\u202ec\nd", metric="m\x07")
    run = read_run(tmp_path)
    assert run.name == r"a\x1b[2Jb\u202ec\nd"
    assert run.metric == r"m\x07"
    assert run.on(run.metric).values == [0.5, 0.6, 0.7]


def test_folders_given_twice_are_read_once(tmp_path):
    record(tmp_path / "sweep" / "one")
    runs, _ = read_all([tmp_path, tmp_path / "sweep", tmp_path / "sweep" / ".." / "sweep" / "one"])
    assert len(runs) == 1


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "missing"):
        with pytest.raises(ValueError, match="is not a folder that can be read"):
            read_all([tmp_path / name])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_below_that_cannot_be_read_is_named(tmp_path):
    record(tmp_path / "good")
    (tmp_path / "closed").mkdir(mode=0)
    runs, [left_out] = read_all([tmp_path])
    assert (len(runs), left_out.folder.name) == (1, "closed")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_run_that_diverged_in_one_round_has_a_curve_and_no_area(tmp_path, value):
    record(tmp_path, [0.5, value, 0.7])
    found = read_run(tmp_path).on("test_acc")
    assert (found.labels, found.has_diverged, isnan(found.area)) == ([10, 20, 30], True, True)
    assert [found.values[0], found.values[2]] == [0.5, 0.7]


def test_the_mode_that_a_run_was_given_is_that_of_its_own_metric(tmp_path):
    record(tmp_path, mode="min")
    run = read_run(tmp_path)
    assert (run.mode, run.on("test_acc").mode, run.on("test_loss").mode) == ("min", "min", None)


def test_a_mode_that_is_none_is_named(tmp_path):
    record(tmp_path, mode="lowest")
    runs, [left_out] = read_all([tmp_path])
    assert runs == []
    assert "config.yaml expects `mode` to be min" in left_out.reason


def test_the_number_of_classes_is_that_of_the_labels(tmp_path):
    record(tmp_path)
    assert read_run(tmp_path).on("test_acc").num_classes == 2
