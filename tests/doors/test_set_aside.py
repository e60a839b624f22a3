"""Answers that are no label: skipped points, unusable ones, and classes that nobody listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Other, Pool, Query, Skip, Unusable
from lightning_al.cli.journal import main as journal_main
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.run.journal import Journal
from lightning_al.run.labels import kind_of_aside
from lightning_al.run.recorded_labels import recorded_labels
from lightning_al.testing import check_oracle
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(48).tensors
NAMES = ["ant", "bee", "cat", "dog"]


def answer_of(index: int) -> Any:
    """Every eighth point is skipped, every ninth is unusable, every eleventh is of a class that nobody listed."""
    if index % 8 == 0:
        return Skip()
    if index % 9 == 0:
        return Unusable("blurred")
    return Other("a fox") if index % 11 == 0 else NAMES[int(Y[index])]


ASIDE = {index: answer_of(index) for index in range(len(X)) if not isinstance(answer_of(index), str)}
PAID = {index for index, answer in ASIDE.items() if answer != Skip()}


class Knows:
    """Answers at most some points of a query, and remembers what it was asked."""

    def __init__(self, most: int | None = None, **options: Any) -> None:
        self.most = most
        self.asked: list[list[int]] = []
        vars(self).update(options)

    def label(self, query: Query) -> dict[int, Any]:
        self.asked.append(list(query))
        return {index: answer_of(index) for index in query[: self.most]}


def run(root: Path, oracle: Any, folder: Path | None = None, calls: int = 1, **arguments: Any) -> Any:
    """Call `trainer.fit` several times, each as a program of its own where there is a folder."""
    made: Any = None
    for _ in range(calls):
        if made is None or folder is not None:
            torch.manual_seed(0)
            data = ActiveDataModule(X, initial_size=8, classes=NAMES, batch_size=8, seed=0)
            options = {"budget": 26, "posterior": MCDropout(2), **arguments}
            active = ActiveLearning("bald", query_size=6, oracle=oracle, folder=folder, seed=0, **options)
            made = active, data, LitMLP(), trainer(root, max_epochs=1, callbacks=[active])
        active, data, module, fitter = made
        fitter.fit(module, datamodule=data)
    return active, data, module


def told(active: ActiveLearning, data: ActiveDataModule, module: LitMLP) -> tuple[Any, ...]:
    rounds = [(r.indices, r.scores, r.labelled, r.class_counts, r.skipped, r.unusable) for r in active.history]
    weights = {name: value.tolist() for name, value in module.state_dict().items()}
    return rounds, weights, data.pool.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    oracle = Knows()
    return *run(tmp_path_factory.mktemp("whole"), oracle), oracle


def test_points_without_a_label_are_not_trained_on_nor_asked_again(whole: Any) -> None:
    active, data, _, oracle = whole
    asked = [index for query in oracle.asked for index in query]
    assert len(set(asked)) == len(asked)
    assert set(data.pool.labelled) == set(asked) - set(ASIDE)
    assert set(data.pool.aside) == set(asked) & set(ASIDE)
    assert set(asked) & PAID
    assert not set(data.pool.unlabelled) & set(asked)
    assert active.history[-1].labelled == len(data.pool.labelled)


def test_a_skip_costs_nothing_and_the_others_a_label(whole: Any) -> None:
    active, data, _, oracle = whole
    asked = {index for query in oracle.asked for index in query}
    assert active.history[-1].spent == 26 == data.pool.num_spent
    assert data.pool.num_spent == len(data.pool.labelled) + len(asked & PAID)
    assert set(active.history[-1].skipped) == asked & (set(ASIDE) - PAID)
    assert set(active.history[-1].unusable) == asked & PAID


def test_the_rounds_say_what_was_set_aside_before_their_fit(whole: Any) -> None:
    active, _, _, oracle = whole
    for number, round in enumerate(active.history):
        before = {index for query in oracle.asked[: number + 1] for index in query} & set(ASIDE)
        assert {*round.skipped, *round.unusable} == before
        assert round.labelled == sum(map(len, oracle.asked[: number + 1])) - len(before)
    assert f"{len(active.history[-1].unusable)} unusable so far" in repr(active.history)


@pytest.mark.long
@pytest.mark.parametrize("folder", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["a folder", "one program"])
def test_answers_that_come_one_by_one_change_nothing(tmp_path: Path, whole: Any, folder: bool) -> None:
    calls = sum(map(len, whole[3].asked))
    found = run(tmp_path, Knows(most=1), tmp_path / "run" if folder else None, calls=calls)
    assert told(*found) == told(*whole[:3])
    if folder:
        history = Journal.read_history(tmp_path / "run")
        assert [round.unusable for round in history] == [round.unusable for round in whole[0].history]


def test_an_oracle_that_is_asked_again_after_some_time_needs_one_call(tmp_path: Path, whole: Any) -> None:
    oracle = Knows(most=2, wait=0.01)
    assert told(*run(tmp_path, oracle)) == told(*whole[:3])
    assert len(oracle.asked) > len(whole[3].asked)


@pytest.mark.parametrize("folder", [True, False], ids=["a folder", "one program"])
def test_enough_answers_begin_the_next_fit_and_the_rest_returns_to_the_pool(tmp_path: Path, folder: bool) -> None:
    class Some(Knows):
        def label(self, query: Query) -> dict[int, Any]:
            self.most = None if query.round < 0 else 2
            return super().label(query)

    oracle = Some(accept_partial=4)
    path = tmp_path / "run" if folder else None
    active, data, _ = run(tmp_path, oracle, path, calls=6, max_rounds=3)
    assert active.done
    assert [len(round.indices) for round in active.history] == [4, 4, 0]
    for round in active.history[:-1]:
        assert len(round.scores) == 4
    unasked = {index for query in oracle.asked for index in query} - {i for r in active.history for i in r.indices}
    assert unasked - set(data.pool.initial) <= set(data.pool.unlabelled)


def test_every_initial_point_has_to_be_answered(tmp_path: Path) -> None:
    oracle = Knows(most=2, accept_partial=1)
    active, _, _ = run(tmp_path, oracle)
    assert active.pending is not None
    assert active.pending.round == -1
    assert len(active.history) == 0


def test_nothing_to_train_on(tmp_path: Path) -> None:
    def skips(query: Query) -> dict[int, Skip]:
        return {index: Skip() for index in query}

    for _ in range(2):
        with pytest.raises(ValueError, match="All 8 points were set aside by their answers"):
            run(tmp_path, skips, tmp_path / "run")
    first = Journal.read(tmp_path / "run").header["initial"][0]
    correct(tmp_path / "run", first, "bee")
    active, data, _ = run(tmp_path, skips, tmp_path / "run", max_rounds=2)
    assert data.pool.labelled == [first]
    assert active.history[-1].spent == 1


@pytest.mark.parametrize("options", [{"wait": 0}, {"wait": "never"}, {"wait": float("nan")}, {"accept_partial": 0}])
def test_an_oracle_with_impossible_patience_is_refused(options: dict[str, Any]) -> None:
    oracle = Knows(**options)
    with pytest.raises(ValueError, match=r"is no time\. Pass|accept_partial"):
        ActiveLearning("bald", query_size=4, oracle=oracle)


def test_another_class_may_mean_something_else_by_these_names(tmp_path: Path) -> None:
    class Tool(Knows):
        def wait(self) -> None:
            raise AssertionError

    assert run(tmp_path, Tool(accept_partial=["a"]), max_rounds=2)[0].done


class TestAfterwards:
    """What a finished run's folder tells of such points, and what can be changed."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        run(tmp_path, Knows(), tmp_path / "run")
        return tmp_path / "run"

    def test_the_journal_has_what_was_said(self, folder: Path) -> None:
        found = {one.index: one for one in recorded_labels(Journal.read(folder))}
        for index, one in found.items():
            expected = ASIDE.get(index)
            assert one.is_there == (expected is None)
            if expected is not None:
                assert one.state == kind_of_aside(expected.to_plain())
                assert one.label == expected.to_plain()

    def test_the_export_has_the_reason_and_no_label(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import io

        import pandas as pd

        assert journal_main(["export", str(folder)]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("index")
        for index, row in table.iterrows():
            expected = ASIDE.get(int(index))
            assert (expected is None) == (row["label"] == row["label"])
            notes = {Unusable("blurred"): "blurred", Other("a fox"): "a fox"}
            assert expected not in notes or row["note"] == notes[expected]

    def test_show_says_it_in_words(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert journal_main(["show", str(folder)]) == 0
        said = capsys.readouterr().out
        assert "(unusable: blurred)" in said
        assert "set aside" not in said

    def test_a_label_may_come_later(self, folder: Path, tmp_path: Path) -> None:
        index = next(one.index for one in recorded_labels(Journal.read(folder)) if one.state == "unusable")
        correct(folder, index, "cat")
        active, data, _ = run(tmp_path, Knows(), folder)
        assert index in data.pool.labelled
        assert data.pool.labels[index] == 2
        assert index not in active.history[-1].unusable
        assert active.history[-1].spent == 26
        again = run(tmp_path, Knows(), folder)
        assert again[1].pool.state_dict() == data.pool.state_dict()

    def test_there_is_nothing_to_give_back(self, folder: Path) -> None:
        index = next(one.index for one in recorded_labels(Journal.read(folder)) if one.state == "skip")
        with pytest.raises(ValueError, match="so there is no label to give back"):
            give_back(folder, index)


def test_a_pool_keeps_them_in_its_state() -> None:
    pool = Pool(12, initial=[0, 1])
    pool.label([5, 6, 7], {5: 1, 6: Skip().to_plain(), 7: Unusable("x").to_plain()})
    assert (pool.rounds, pool.skipped, pool.unusable, pool.num_spent) == ([[0, 1], [5]], [6], [7], 4)
    other = Pool(12, initial=[0, 1])
    other.load_state_dict(json_copy(pool.state_dict()))
    assert other.state_dict() == pool.state_dict()
    with pytest.raises(ValueError, match="twice or after they were labelled"):
        other.label([6])


def json_copy(state: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(state))
    return {
        **plain,
        **{name: {int(i): v for i, v in plain[name].items()} for name in ("labels", "aside")},
    }


def test_what_looks_like_such_an_answer_is_no_label(tmp_path: Path) -> None:
    def forges(query: Query) -> dict[int, Any]:
        return {index: {"set aside": "skip"} for index in query}

    with pytest.raises(ValueError, match="is of type dict, which is not plain data"):
        run(tmp_path, forges)


@pytest.mark.parametrize("answer", [Skip(), Unusable("dark"), Other("a wolf")])
def test_the_public_check_takes_them(answer: Any) -> None:
    answers: Callable[[Query], dict[int, Any]] = lambda query: dict.fromkeys(query, answer)  # noqa: E731
    check_oracle(answers, classes=NAMES)
