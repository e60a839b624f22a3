"""How long answers took and who gave them: kept with each answer, summed, and a budget of their seconds."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, Answer, MCDropout, Pool, Query, Skip, Unusable
from lightning_al.cli.journal import main as journal_main
from lightning_al.data.label_table import COLUMNS
from lightning_al.oracle.answer import opened
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.oracle.telling import tell
from lightning_al.rounds.found_run import FoundRun
from lightning_al.run.effort import Effort
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal
from lightning_al.run.records import replay
from tests.support.named import shown
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]
KEYS = [f"{number:02}.png" for number in range(len(X))]
ASIDE = {3: Skip(), 11: Unusable("dark"), 19: Skip(), 26: Unusable("")}
ROUNDS = 4


def effort(index: int) -> Effort:
    return Effort(None if index % 5 == 0 else 0.1 + index / 7, ["anna", "=ben", None][index % 3])


def answer(index: int) -> Answer:
    known = effort(index)
    return Answer(ASIDE.get(index, NAMES[int(Y[index])]), known.seconds, known.who)


def people(query: Query) -> dict[int, Any]:
    return {index: answer(index) for index in query}


def make(folder: Path | None, root: Path, oracle: Any = people, **arguments: Any) -> Any:
    torch.manual_seed(0)
    options = {"max_rounds": ROUNDS, "posterior": MCDropout(2), **arguments}
    of_data = {name: options.pop(name) for name in ("labels", "audit") if name in options}
    data = ActiveDataModule(X, initial_size=6, classes=NAMES, keys=KEYS, batch_size=8, seed=0, **of_data)
    active = ActiveLearning("bald", query_size=4, oracle=oracle, folder=folder, seed=0, **options)
    return active, data, LitMLP(), trainer(root, max_epochs=1, callbacks=[active])


def run(folder: Path | None, root: Path, oracle: Any = people, **arguments: Any) -> Any:
    active, data, module, fitter = make(folder, root, oracle, **arguments)
    fitter.fit(module, datamodule=data)
    return active, data


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def told(history: History) -> list[Any]:
    return [(round.indices, round.label_seconds, round.metrics) for round in history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("whole")
    return root / "run", *run(root / "run", root)


def test_the_table_says_of_each_answer_what_it_said(whole: Any) -> None:
    rows = table(whole[0])
    assert len(rows) == 6 + 4 * (ROUNDS - 1)
    for row in rows:
        known = effort(int(row["index"]))
        assert row["seconds"] == ("" if known.seconds is None else repr(known.seconds))
        assert row["who"] == {None: "", "=ben": "'=ben"}.get(known.who, known.who)


def test_the_export_has_the_same_columns_first(whole: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert journal_main(["export", str(whole[0])]) == 0
    exported = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(exported[0]) == [*COLUMNS, "score", "first_label"]
    assert [{name: row[name] for name in COLUMNS} for row in exported] == table(whole[0])


def test_each_round_knows_the_seconds_of_all_answers_before_its_fit(whole: Any) -> None:
    _, active, data = whole
    rows = table(whole[0])
    for round in active.history:
        before = [row for row in rows if row["round"] == "" or int(row["round"]) < round.number]
        assert round.label_seconds == math.fsum(float(row["seconds"] or 0) for row in before)
    assert data.pool.label_seconds == active.history[-1].label_seconds > active.history[0].label_seconds > 0
    assert list(active.history.to_frame()["label_seconds"]) == [round.label_seconds for round in active.history]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("number", [0, 1])
def test_a_run_killed_between_answers_and_round_keeps_both(
    number: int, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    def dying(journal: Journal, round: Round, *arguments: Any) -> None:
        if round.number == number:
            raise KilledError
        append(journal, round, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", dying)
        with pytest.raises(KilledError):
            run(tmp_path / "run", tmp_path)
    records = Journal.read(tmp_path / "run")
    assert records.query is not None
    assert records.query.rest == []
    assert records.query.efforts == {index: effort(index) for index in records.query.indices if effort(index).is_known}
    active, data = run(tmp_path / "run", tmp_path, lambda query: people(query) if query.round > number else 1 / 0)
    assert table(tmp_path / "run") == table(whole[0])
    assert told(active.history) == told(whole[1].history)
    assert data.pool.state_dict() == whole[2].pool.state_dict()


def test_answers_that_come_one_by_one_are_kept_as_they_come(whole: Any, tmp_path: Path) -> None:
    asked: list[int] = []

    def tired(query: Query) -> Iterator[tuple[int, Answer]]:
        for place, index in enumerate(query):
            if place == 3:
                raise KilledError
            asked.append(index)
            yield index, answer(index)

    for _ in range(9):
        try:
            active, data = run(tmp_path / "run", tmp_path, tired)
        except KilledError:
            continue
        break
    assert sorted(asked) == sorted(int(row["index"]) for row in table(whole[0]))
    assert table(tmp_path / "run") == table(whole[0])
    assert told(active.history) == told(whole[1].history)
    assert data.pool.state_dict() == whole[2].pool.state_dict()


def test_a_run_without_a_folder_counts_the_same(whole: Any, tmp_path: Path) -> None:
    active, data = run(None, tmp_path)
    assert told(active.history) == told(whole[1].history)
    assert data.pool.state_dict() == whole[2].pool.state_dict()


def test_told_answers_are_of_who_told_them_unless_they_say_it(tmp_path: Path) -> None:
    made = make(tmp_path / "run", tmp_path, "ask", max_rounds=2)
    made[3].fit(made[2], datamodule=made[1])
    first, second, *rest = made[0].pending
    made[0].tell({first: Answer("ant", seconds=2), second: Answer("bee", who="ben")}, who=" anna ")
    tell(tmp_path / "run", dict.fromkeys(rest, "cat"), who="carl")
    made[3].fit(made[2], datamodule=made[1])
    known = Journal.read(tmp_path / "run").initial_efforts
    expected = {first: Effort(2.0, "anna"), second: Effort(None, "ben"), **dict.fromkeys(rest, Effort(None, "carl"))}
    assert known == expected
    assert made[1].pool.label_seconds == 2.0


def test_a_name_that_is_none_is_refused_before_anything_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name of a person"):
        tell(tmp_path / "none", {}, who=["anna"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "seconds", [-1, math.inf, 1e12, "soon", True, [1, 2], np.array([1.0, 2.0]), 1j, 10**400, object()], ids=shown
)
def test_seconds_that_cannot_be_are_named_and_left_out(seconds: Any) -> None:
    label, known, (unusable,) = opened(Answer("ant", seconds=seconds, who="anna"))
    assert (label, known) == ("ant", Effort(None, "anna"))
    assert unusable.startswith("the seconds ")


@pytest.mark.parametrize("who", [["anna"], "x" * 201, "a\x1b[31m", 2.5, True, object()], ids=shown)
def test_names_that_cannot_be_are_named_and_left_out(who: Any) -> None:
    label, known, (unusable,) = opened(Answer("ant", seconds=2, who=who))
    assert (label, known) == ("ant", Effort(2.0))
    assert unusable.startswith("the name ")


@pytest.mark.parametrize("seconds", [None, math.nan, np.float32("nan"), torch.tensor(math.nan)], ids=shown)
def test_what_is_not_known_is_no_fault(seconds: Any) -> None:
    assert opened(Answer("ant", seconds, "")) == ("ant", Effort(), [])


@pytest.mark.parametrize("seconds", [np.float32(2.5), torch.tensor(2.5), np.array(2.5)], ids=shown)
def test_numbers_of_numpy_and_torch_are_taken(seconds: Any) -> None:
    assert opened(Answer("ant", seconds, np.int64(7))) == ("ant", Effort(2.5, "7"), [])


def test_no_answer_is_lost_for_its_seconds_or_its_name(tmp_path: Path) -> None:
    made = make(tmp_path / "run", tmp_path, "ask", max_rounds=2)
    made[3].fit(made[2], datamodule=made[1])
    first, second, *_ = made[0].pending
    with pytest.warns(
        UserWarning, match=f"The answer for index {first} is kept, but not the seconds -1 and the name 2.5"
    ):
        tell(tmp_path / "run", {first: Answer("ant", -1, 2.5), second: Answer("bee", 1.5, "anna")})
    query = Journal.read(tmp_path / "run").query
    assert query is not None
    assert (query.answers, query.efforts) == ({first: 0, second: 1}, {second: Effort(1.5, "anna")})


# Changes


def test_what_was_corrected_or_given_back_still_took_its_time(whole: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole[0], tmp_path / "run"))
    records = Journal.read(folder)
    labelled = [index for index in records.queries[0] if index not in ASIDE and effort(index).seconds]
    correct(folder, labelled[0], "dog")
    give_back(folder, labelled[1])
    active, data = run(folder, tmp_path, max_rounds=12)
    found = [row for row in table(folder) if row["index"] == str(labelled[1])]
    assert [row["state"] for row in found] == ["given back", "given"]
    assert len({row["seconds"] for row in found}) == 1
    assert data.pool.label_seconds == math.fsum(float(row["seconds"] or 0) for row in table(folder))
    (row,) = [row for row in table(folder) if row["index"] == str(labelled[0])]
    assert (row["class"], row["state"], row["seconds"]) == ("dog", "corrected", repr(effort(labelled[0]).seconds))
    assert active.done


# A budget of seconds


def ends(history: History, budget: float) -> int:
    """How many rounds a run with a budget has, by the seconds of one without: no query begins once it is reached."""
    return next((round.number + 1 for round in history if round.label_seconds >= budget), len(history))


@pytest.mark.parametrize("share", [0.01, 0.55, 1.0])
def test_no_query_begins_once_the_seconds_are_spent(share: float, whole: Any, tmp_path: Path) -> None:
    history = whole[1].history
    budget = share * history[-1].label_seconds
    active, _ = run(tmp_path / "run", tmp_path, budget_seconds=budget)
    assert active.done
    assert len(active.history) == ends(history, budget)
    assert told(active.history)[:-1] == told(history)[: len(active.history) - 1]
    if share < 1:
        again, _ = run(tmp_path / "run", tmp_path, budget_seconds=3 * history[-1].label_seconds)
        assert told(again.history) == told(history)
        assert table(tmp_path / "run") == table(whole[0])


def test_seconds_are_said_to_be_unknown_once(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="does not end this run as long as `.*` does not say how long an answer took: it may"
    ):
        active, _ = run(None, tmp_path, lambda query: {i: NAMES[Y[i]] for i in query}, budget_seconds=1, max_rounds=3)
    assert len(active.history) == 3
    torch.manual_seed(0)
    data = ActiveDataModule(points(40), initial_size=6, batch_size=8, seed=0)
    active = ActiveLearning("random", query_size=4, budget_seconds=1, max_rounds=2, posterior="deterministic")
    with pytest.warns(UserWarning, match="say how long an answer took: it reveals labels") as warned:
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    assert len([one for one in warned if "budget_seconds" in str(one.message)]) == 1


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, "1h", True])
def test_a_budget_that_is_no_time(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is no time that answers may take"):
        ActiveLearning("bald", query_size=4, budget_seconds=wrong)


# Another run, and other homes


@pytest.mark.parametrize("source", ["run", "run/labels.csv"])
def test_the_next_run_has_them_too(source: str, whole: Any, tmp_path: Path) -> None:
    _, before, data = whole
    _, after = run(tmp_path / "next", tmp_path, labels=whole[0].parent / source, max_rounds=1)
    answered = [int(row["index"]) for row in table(whole[0])]
    assert Journal.read(tmp_path / "next").initial_efforts == {i: effort(i) for i in answered if effort(i).is_known}
    assert after.pool.label_seconds == pytest.approx(data.pool.label_seconds, rel=1e-12)
    rows = {row["key"]: (row["who"], row["seconds"], row["class"]) for row in table(tmp_path / "next")}
    assert rows == {row["key"]: (row["who"], row["seconds"], row["class"]) for row in table(whole[0])}
    spent, _ = run(tmp_path / "third", tmp_path, labels=whole[0].parent / source, budget_seconds=1.0)
    assert (len(spent.history), spent.done, before.done) == (1, True, True)


def test_a_table_of_an_earlier_version_is_read(whole: Any, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in COLUMNS if name not in ("who", "seconds")} for row in table(whole[0])]
    with (tmp_path / "old.csv").open("w", newline="") as file:
        written = csv.DictWriter(file, list(rows[0]))
        written.writeheader()
        written.writerows(rows)
    _, data = run(tmp_path / "next", tmp_path, labels=tmp_path / "old.csv", max_rounds=1)
    assert data.pool.label_seconds == 0.0
    assert data.pool.num_labelled > 6


def test_a_pool_keeps_its_seconds() -> None:
    pool = Pool(9, initial=[0])
    pool.label_initial({0: 1}, seconds=1.5)
    pool.label([4, 2], seconds=2.0)
    pool.label([3])
    again = Pool(9)
    again.load_state_dict(pool.state_dict())
    assert again.seconds == pool.seconds == [1.5, 2.0, 0.0]
    assert "seconds" not in Pool(9, initial=[0]).state_dict()


def test_a_checkpoint_that_is_a_query_ahead_has_the_seconds_of_its_rounds() -> None:
    data = ActiveDataModule(points(40), initial=[1, 2], batch_size=8, seed=0)
    data.setup("fit")
    history = History([Round(0, 2, [7, 3], [0.5, 0.2])])
    found = FoundRun("here", None, history, {7: 1, 3: 0}, [], None, {}, seconds=[1.5, 2.0, 4.0])
    found.label(data)
    assert (data.pool.seconds, data.pool.rounds) == ([1.5, 2.0], [[1, 2], [7, 3]])


@pytest.mark.parametrize(
    "by",
    [
        {"7": {"seconds": -1}},
        {"7": {"seconds": True}},
        {"7": {"seconds": math.nan}},
        {"7": {"seconds": 1e12}},
        {"7": {"who": 3}},
        {"7": {"who": "x" * 201}},
        {"7": {"what": 1}},
        {"7": [1.0]},
        {"3": {"seconds": 1.0}},
    ],
    ids=shown,
)
def test_a_journal_with_what_no_run_writes_is_refused(by: Any) -> None:
    query = {"number": 0, "indices": [7, 3], "scores": [0.5, 0.5]}
    rows: list[Any] = [{"schema": 2}, {"query": query}, {"answers": {"7": 2}, "by": by}]
    with pytest.raises(ValueError, match=r"a row contradicts those before: .*(for its `by`|says who answered)"):
        replay(rows)
    good = {"7": {"seconds": 2, "who": "anna"}}
    known = replay([*rows[:2], {"answers": {"7": 2}, "by": good}]).query
    assert known is not None
    assert known.efforts == {7: Effort(2, "anna")}


def test_answers_for_the_audit_are_of_somebody_and_take_time_too(tmp_path: Path) -> None:
    active, data = run(tmp_path / "run", tmp_path, audit=0.3, budget=24, max_rounds=12)
    rows = table(tmp_path / "run")
    assert {"yes", ""} == {row["audit"] for row in rows}
    for row in rows:
        known = effort(int(row["index"]))
        assert row["seconds"] == ("" if known.seconds is None else repr(known.seconds))
    assert active.done
    assert data.pool.label_seconds == pytest.approx(math.fsum(float(row["seconds"] or 0) for row in rows), rel=1e-12)
    _, resumed = run(tmp_path / "run", tmp_path, audit=0.3, budget=24, max_rounds=12)
    assert resumed.pool.label_seconds == data.pool.label_seconds
    assert table(tmp_path / "run") == rows
