"""What a report says of the people who labelled: the names of their classes, and the time that labels took."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from lightning_al import ActiveDataModule, ActiveLearning, Answer, MCDropout, Query, Skip, Unusable
from lightning_al.report import frames, tables
from lightning_al.report.command import main
from lightning_al.report.console import rounds_table
from lightning_al.report.people import Person, people_of
from lightning_al.report.progress import line_of_round
from lightning_al.report.runs import read_all, read_run
from lightning_al.report.sentences import caveats, headlines
from lightning_al.report.study import Study, make_studies
from lightning_al.run.effort import Effort
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal
from lightning_al.run.journal_reading import read_header
from lightning_al.run.recorded_labels import RecordedLabel, recorded_labels
from tests.report.conftest import HOSTILE
from tests.support.runs import config, record
from tests.support.tasks import LitMLP, points, trainer

NAMES = [HOSTILE[0], "=1+1"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    record(folder / "runs", classes=NAMES, label_seconds=3000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(folder / "runs"), "--out", str(folder / "report")]) == 0
    return folder / "report"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that a program made of items with keys, labelled by two people, in which audit is paid for.

    An audit point is unusable.
    """
    X, Y = points(60).tensors
    folder = tmp_path_factory.mktemp("program")

    class People:
        def label(self, query: Query) -> dict[int, Any]:
            found = {index: Answer(int(Y[index]), seconds=2.0, who=("anna", "ben")[index % 2]) for index in query}
            if query.round == 1:
                found[query.indices[0]] = Answer(Unusable("blurred"), seconds=2.0, who="anna")
            return found

    data = ActiveDataModule(
        X, keys=[f"{n}.png" for n in range(60)], classes=["a", "b", "c", "d"], initial_size=6, audit=4, batch_size=8,
        seed=0,
    )  # fmt: skip
    active = ActiveLearning(
        "bald", query_size=5, budget=20, posterior=MCDropout(2), oracle=People(), folder=folder / "run", seed=0
    )
    trainer(folder, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    assert active.history.done
    assert not (folder / "run" / "config.yaml").exists()
    return folder / "run"


@pytest.fixture(scope="module")
def report_on_program(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "report"
    assert main([str(program), "--out", str(folder), "--target", "0.5"]) == 0
    return folder


def study_of(folder: Path) -> Study:
    [study], _ = make_studies(read_all([folder])[0])
    return study


def headings(study: Study) -> list[str]:
    counts = frames.queried_by_class(frames.rounds([study]), [0, 1], up_to=40)
    return list(tables.classes({"bald": counts}, study.class_names).headings)


@pytest.mark.long
def test_classes_have_their_names_on_the_page_and_in_pictures_and_files(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "class 0" not in page
    assert ">=1+1</th>" in page
    assert NAMES[0] not in page
    assert "&lt;script&gt;document.title" in page
    picture = (report / "classes-0.svg").read_text()
    assert ">=1+1</text>" in picture
    assert ">&lt;script&gt;doc…" in picture
    table = pd.read_csv(report / "classes.csv")
    assert set(zip(table["class"], table["name"], strict=True)) == {(0, NAMES[0]), (1, "'=1+1")}


@pytest.mark.long
def test_the_time_of_labels_is_shown(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "Time of the people who label" in page
    assert "2 h 30 min" in page
    assert "hours of labelling" in (report / "labelling.svg").read_text()
    assert list(pd.read_csv(report / "curves.csv")["label_seconds"]) == [3000.0, 6000.0, 9000.0]


def test_a_name_on_which_runs_do_not_agree_is_a_number(tmp_path: Path) -> None:
    record(tmp_path / "a", seed=0, classes=["cat", "fox"])
    record(tmp_path / "b", seed=1, classes=["dog", "fox"])
    record(tmp_path / "c", seed=2)
    study = study_of(tmp_path)
    assert study.class_names == {1: "fox"}
    assert headings(study) == ["method", "at labels", "class 0", "fox", "evenness"]


@pytest.mark.parametrize("name", HOSTILE[1:], ids=range(1, len(HOSTILE)))
def test_names_can_only_be_read(name: str, tmp_path: Path) -> None:
    record(tmp_path / "run", classes=[name.replace("\ud800", ""), "b"])
    shown = read_run(tmp_path / "run").classes[0]
    assert shown.isprintable()
    assert len(shown) <= 160


@pytest.mark.parametrize("classes", [3, ["cat"], {"numbers": {"cat": "x"}, "allowed": None}, {"numbers": 1}])
def test_classes_that_no_run_writes_leave_numbers(classes: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    data = dict.fromkeys(("length", "classes", "form"))
    journal.begin({"seed": 0, "acquisition": "BALD", "data": data, "initial": [], "classes": classes})
    journal.append(Round(0, 10, [], [], metrics={"test_acc": 0.5}), labels={})
    journal.close()
    assert read_run(tmp_path).classes == {}


def test_rounds_on_the_terminal_have_the_time_where_it_is_known() -> None:
    def shown(seconds: float) -> str:
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rounds_table(History([Round(0, 10, [4], [1.0], label_seconds=seconds)]), None))
        return console.export_text()

    assert "labelling" in shown(75.0)
    assert "1 min 15 s" in shown(75.0)
    assert "labelling" not in shown(0.0)


@pytest.mark.long
def test_a_programs_run_over_items_with_keys_has_a_report(program: Path, report_on_program: Path) -> None:
    assert (report_on_program / "index.html").exists()
    settings = read_run(program).settings
    assert settings["data.keyed"] is True
    assert settings["data.form"] == read_header(program)["data"]["form"]


@pytest.mark.long
def test_a_run_that_measured_nothing_has_a_report_without_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run", is_measured=False, classes=["cat", "dog"], label_seconds=60.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    said = "30 labels in 3 rounds; nothing measured how good the model is: `pool.audit=0.1` would have."
    shown = capsys.readouterr()
    assert said in shown.out
    assert "nothing is compared" not in shown.out
    assert shown.err == ""
    page = (tmp_path / "report" / "index.html").read_text()
    for part in (
        said,
        "What was asked",
        "dog",
        "Time of the people who label",
        "3 min 0 s",
        "Time and memory",
        "Settings",
    ):
        assert part in page
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"classes.csv", "asked.csv", "phases.csv", "time.svg"} <= names
    assert not names & {"curves.csv", "curves.svg", "labelling.svg", "comparison.csv"}


def test_several_runs_that_measured_nothing_say_how_far_each_goes(tmp_path: Path) -> None:
    record(tmp_path / "a", [0.5, 0.6], is_measured=False)
    record(tmp_path / "b", is_measured=False, seed=1, finished=False)
    [(said, _)] = headlines(study_of(tmp_path))
    assert said.startswith("20 to 30 labels in 2 to 3 rounds; nothing measured")
    assert caveats(study_of(tmp_path)) == ["Of the runs, 1 has not finished; the figures will change."]


def test_beside_runs_that_measured_one_that_did_not_is_left_out_in_true_words(tmp_path: Path) -> None:
    record(tmp_path / "a")
    record(tmp_path / "b", is_measured=False, seed=1)
    _, [left_out] = make_studies(read_all([tmp_path])[0])
    assert left_out.folder.name == "b"
    assert left_out.reason.startswith("it measured nothing, and others did. Make a report of this folder alone")


def test_audit_points_without_a_label_yet_are_not_recommended(tmp_path: Path) -> None:
    record(tmp_path, is_measured=False, audit={"answers": 0, "paid": 0, "labels": 0, "right": 0})
    [(said, _)] = headlines(study_of(tmp_path))
    assert said == "30 labels in 3 rounds; no audit point has a label yet, so that nothing says how good the model is."


def test_a_target_for_runs_that_measured_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "run", is_measured=False)
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "report"), "--target", "0.9"]) == 2
    assert "`--target`: no run measured how good its model is. Leave --target out" in capsys.readouterr().err


def test_where_all_runs_are_damaged_the_error_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("- 1")
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 2
    left_out, said = capsys.readouterr().err.splitlines()
    assert "holds no settings" in left_out
    assert "all that were found are left out, for the reasons above. Correct these, or name other folders" in said


def test_one_run_says_first_what_its_audit_tells_and_needs_no_random_choice(program: Path) -> None:
    study = study_of(program)
    last = read_run(program).history[-1].audit
    low, high = f"{100 * last['low']:.0f}", f"{100 * last['high']:.0f}"
    (said, rests), *others = headlines(study)
    assert (
        said
        == f"The last model is right on {last['right']:.0f} of {last['labels']:.0f} audit points ({low} to {high} %)."
    )
    assert "95 % interval" in rests
    assert len(others) == 1
    assert caveats(study) == []


def test_runs_to_compare_have_their_audit_in_the_table_alone(tmp_path: Path) -> None:
    audit = {
        "answers": 6,
        "paid": 6,
        "labels": 6,
        "right": 5,
        "acc": 5 / 6,
        "low": 0.436,
        "high": 0.970,
        "set_aside": 0,
    }
    record(tmp_path / "a", audit=audit)
    assert headlines(study_of(tmp_path))[0][0] == "The last model is right on 5 of 6 audit points (44 to 97 %)."
    record(tmp_path / "b", audit=audit, seed=1)
    assert not any("audit" in said for said, _ in headlines(study_of(tmp_path)))
    assert "There is no run of random choice to compare with." in caveats(study_of(tmp_path))


def test_the_accuracy_on_audit_points_stands_for_that_on_test_data_that_were_not_there(program: Path) -> None:
    (program / "config.yaml").write_text(yaml.safe_dump(config("bald", "BALD", 0, metric="test_acc")))
    try:
        assert study_of(program).metric == "audit_acc"
    finally:
        (program / "config.yaml").unlink()


@pytest.mark.long
def test_the_people_who_labelled_are_named_with_their_answers_and_time(program: Path, report_on_program: Path) -> None:
    shown = tables.people(study_of(program))
    assert shown is not None
    assert list(shown.headings) == ["method", "seed", "person", "answers", "time"]
    labels = recorded_labels(Journal.read(program))
    counts = Counter(one.effort.who for one in labels)
    assert set(counts) == {"anna", "ben"}
    assert [row[2:] for row in shown.rows] == [
        [who, str(count), tables.duration(2.0 * count)] for who, count in counts.most_common()
    ]
    written = pd.read_csv(report_on_program / "people.csv")
    assert dict(zip(written["person"], written["answers"], strict=True)) == counts
    assert written["seconds"].sum() == 2.0 * len(labels)
    assert ">anna</td>" in (report_on_program / "index.html").read_text()


def test_answers_without_a_name_stand_beside_those_with_one() -> None:
    efforts = [Effort(3.0, "=1+1"), Effort(2.0), Effort(who="\x1b[2J"), Effort(1.0, "=1+1"), Effort()]
    labels = [RecordedLabel(index, 0, 0, effort=effort) for index, effort in enumerate(efforts)]
    its_own = RecordedLabel(9, None, None)  # the dataset's label, which nobody gave
    assert people_of([*labels, its_own]) == [
        Person("=1+1", 2, 4.0), Person("", 2, 2.0), Person(r"\x1b[2J", 1, None)
    ]  # fmt: skip
    assert people_of([labels[1], labels[4], its_own]) == []


@pytest.mark.long
def test_where_nobody_is_named_there_is_no_table_of_people(report: Path) -> None:
    assert tables.people(study_of(report.parent / "runs")) is None
    assert not (report / "people.csv").exists()
    assert "person" not in (report / "index.html").read_text()


@pytest.mark.long
def test_a_query_that_was_skipped_as_a_whole_leaves_a_run_that_has_a_report(tmp_path: Path) -> None:
    X, Y = points(60).tensors

    class Skips:
        def label(self, query: Query) -> dict[int, Any]:
            return {index: Skip() if query.round == 1 else int(Y[index]) for index in query}

    data = ActiveDataModule(X, classes=["a", "b", "c", "d"], initial_size=6, audit=4, batch_size=8, seed=0)
    active = ActiveLearning("bald", query_size=3, budget=15, oracle=Skips(), folder=tmp_path / "run", seed=0)
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    spent = [round.spent for round in active.history]
    assert len(set(spent)) == len(spent) - 1
    found = read_run(tmp_path / "run").on("audit_acc")
    assert found.labels == sorted(set(spent))
    again = [round for round in active.history if spent.count(round.spent) == 2][1]
    assert found.values[found.labels.index(again.spent)] == again.metrics["audit_acc"]
    frame = frames.rounds([study_of(tmp_path / "run")])
    counts = frames.queried_by_class(frame, frames.classes_of(frame), up_to=15)
    assert list(counts.index) == found.labels[1:]
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0


@pytest.mark.long
def test_labels_are_those_paid_for_and_where_fewer_were_trained_on_that_is_shown(
    program: Path, report: Path, report_on_program: Path
) -> None:
    last = read_run(program).history[-1]
    assert last.labelled < last.spent
    shown = tables.runs(study_of(program))
    [row] = [dict(zip(shown.headings, cells, strict=True)) for cells in shown.rows]
    assert (row["labels"].split(" to ")[1], row["trained on"]) == (str(last.spent), str(last.labelled))
    assert "trained on" not in tables.runs(study_of(report.parent / "runs")).headings
    assert f"{last.spent} labels, of which {last.labelled} are trained on" in line_of_round(last, "audit_acc")
    assert "trained on" not in line_of_round(Round(0, 10, [], []), "test_acc")
    for history, has in ((History([last]), True), (History([Round(0, 10, [], [])]), False)):
        assert ("trained on" in [column.header for column in rounds_table(history, None).columns]) is has
    curves = pd.read_csv(report_on_program / "curves.csv")
    assert list(curves.iloc[-1][["labels_paid", "labels_trained_on"]]) == [last.spent, last.labelled]
    pages = [path for path in report_on_program.iterdir() if path.suffix in (".html", ".svg", ".csv")]
    assert [path.name for path in pages if "training labels" in path.read_text()] == []
