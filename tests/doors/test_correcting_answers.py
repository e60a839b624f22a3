"""Answers that correct earlier ones: of an initial point, of this query, or of one before."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, Answer, Correction, MCDropout, Other, Query, Skip, Unusable
from lightning_al.oracle.corrections import correct
from lightning_al.oracle.telling import tell
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change
from lightning_al.testing import check_oracle
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]
KEYS = [f"{number:02}.png" for number in range(len(X))]


def right(index: int) -> str:
    return NAMES[int(Y[index])]


def other(index: int) -> int:
    return (int(Y[index]) + 1) % len(NAMES)


def make(root: Path, folder: Path | None, oracle: Any, **arguments: Any) -> Any:
    torch.manual_seed(0)
    data = ActiveDataModule(X, initial_size=6, classes=NAMES, keys=KEYS, batch_size=8, seed=0)
    options = {"max_rounds": 3, "posterior": MCDropout(2), **arguments}
    active = ActiveLearning("bald", query_size=4, oracle=oracle, folder=folder, seed=0, **options)
    return active, data, LitMLP(), trainer(root, max_epochs=1, callbacks=[active])


def fit(made: Any) -> Any:
    active, data, module, fitter = made
    fitter.fit(module, datamodule=data)
    return active, data, module


def state(active: ActiveLearning, data: ActiveDataModule, module: LitMLP) -> Any:
    rounds = [(r.indices, r.scores, r.labelled, r.corrected, r.skipped, r.metrics) for r in active.history]
    return rounds, data.pool.state_dict(), {name: value.tolist() for name, value in module.state_dict().items()}


class Person:
    """Answers rightly, and in a query of a later round also corrects points of earlier ones."""

    def __init__(self, corrects: Callable[[list[int]], dict[int, Any]], answers: Any = None, one_by_one: bool = False):
        self.corrects = corrects
        self.answers = answers or (lambda index: right(index))
        self.one_by_one = one_by_one
        self.seen: list[int] = []
        self.corrected: dict[int, Any] = {}

    def label(self, query: Query) -> Any:
        given: dict[int, Any] = {index: self.answers(index) for index in query}
        if query.round == 1:
            self.corrected = self.corrects(self.seen)
        extra = self.corrected if query.round == 1 else {}
        self.seen += query
        if self.one_by_one:
            return iter([*extra.items(), *given.items()])
        return {**given, **extra}


def of_two_queries(seen: list[int]) -> dict[int, Any]:
    """Correct an initial point and one of round 0."""
    return {index: Correction(NAMES[other(index)]) for index in (seen[1], seen[-1])}


def without_after(found: Any) -> Any:
    """A state without the number of queries before each change: in the pool, the correction comes a query later."""
    rounds, pool, weights = found
    return rounds, {**pool, "changes": [{**change, "after": 0} for change in pool["changes"]]}, weights


@pytest.mark.parametrize(("folder", "one_by_one"), [(True, True), (False, False)], ids=["a folder", "no folder"])
def test_an_answer_corrects_earlier_ones_as_the_pool_does(tmp_path: Path, folder: bool, one_by_one: bool) -> None:
    place = tmp_path / "run" if folder else None
    person = Person(of_two_queries, one_by_one=one_by_one)
    found = fit(make(tmp_path, place, person))
    # Slowly: a run of single rounds, between which labels are corrected in the pool.
    slow = make(tmp_path, None, Person(lambda seen: {}), rounds_per_fit=1)
    for number in range(3):
        fit(slow)
        if number == 1:
            for index in person.corrected:
                slow[1].pool.correct(index, other(index))
    assert without_after(state(*found)) == without_after(state(*slow[:3]))
    assert [len(round.corrected) for round in found[0].history] == [0, 0, 2]
    if place is not None:
        changes = [Change(index, other(index), after=1) for index in person.corrected]
        assert Journal.read(place).changes == changes


def test_telling_a_correction_is_durable_and_resumes(tmp_path: Path) -> None:
    person = Person(of_two_queries)
    whole = fit(make(tmp_path, None, person))
    made = make(tmp_path, tmp_path / "run", "ask")
    while not made[0].done:
        fit(made)
        query = made[0].pending
        if query is None:
            break
        if query.round == 1:
            made[0].tell({KEYS[index]: label for index, label in person.corrected.items()}, by="key")
            assert [change.index for change in Journal.read(tmp_path / "run").changes] == list(person.corrected)
            made = make(tmp_path, tmp_path / "run", "ask")  # as another process
        made[0].tell({index: right(index) for index in query})
    assert state(*made[:3]) == state(*whole)


def test_an_answer_of_the_open_query_is_replaced(tmp_path: Path) -> None:
    made = make(tmp_path, tmp_path / "run", "ask")
    fit(made)
    a, b, c, d, *rest = made[0].pending
    made[0].tell(dict.fromkeys((a, b, c), "ant"))
    made[0].tell({a: Correction("dog"), b: Correction(Unusable("dark"))})
    made[0].tell([(d, "bee"), (d, Correction("cat"))])
    records = Journal.read(tmp_path / "run")
    assert records.changes == []
    assert records.query.answers == {a: 3, b: Unusable("dark").to_plain(), c: 0, d: 2}
    made[0].tell(dict.fromkeys(rest, "ant"))
    fit(made)
    assert made[1].pool.labels == {a: 3, c: 0, d: 2, **dict.fromkeys(rest, 0)}
    assert made[1].pool.unusable == [b]


def test_a_point_that_was_skipped_is_labelled_from_then_on(tmp_path: Path) -> None:
    skipped: list[int] = []

    def skips_one(index: int) -> Any:
        if not skipped and len(person.seen) >= 6:
            skipped.append(index)
        return Skip() if index in skipped else right(index)

    person = Person(lambda seen: {skipped[0]: Correction(2)}, answers=skips_one)
    active, data, _ = found = fit(make(tmp_path, tmp_path / "run", person, budget=16, max_rounds=None))
    assert data.pool.labels[skipped[0]] == 2
    assert skipped[0] in data.pool.labelled
    assert data.pool.skipped == []
    assert active.history[-1].spent == data.pool.num_labelled == 16
    assert [skipped[0] in round.skipped for round in active.history[:3]] == [False, True, False]
    again = fit(make(tmp_path, tmp_path / "run", person, budget=16, max_rounds=None))
    assert again[1].pool.state_dict() == found[1].pool.state_dict()


def test_a_correction_outlives_the_process_that_is_killed_after_it(tmp_path: Path) -> None:
    class Dies(Person):
        def label(self, query: Query) -> Iterator[tuple[int, Any]]:
            if query.round == 1:
                self.corrected = self.corrects(self.seen)
                yield from self.corrected.items()
                raise KeyboardInterrupt
            self.seen += query
            yield from {index: right(index) for index in query}.items()

    dies = Dies(of_two_queries)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(make(tmp_path, tmp_path / "run", dies))
    assert [change.index for change in Journal.read(tmp_path / "run").changes] == list(dies.corrected)
    resumed = fit(make(tmp_path, tmp_path / "run", Person(lambda seen: {})))
    assert state(*resumed) == state(*fit(make(tmp_path, None, Person(of_two_queries))))


def test_what_is_corrected_again_to_the_same_is_no_change(tmp_path: Path) -> None:
    person = Person(lambda seen: {seen[0]: Correction(right(seen[0]))})
    fit(make(tmp_path, tmp_path / "run", person))
    assert Journal.read(tmp_path / "run").changes == []


def test_a_finished_run_is_corrected_too(tmp_path: Path) -> None:
    active, data, _ = fit(make(tmp_path, tmp_path / "run", Person(lambda seen: {}), max_rounds=2))
    assert active.done
    first = data.pool.initial[0]
    tell(tmp_path / "run", {KEYS[first]: Answer(Correction(NAMES[other(first)]), who="anna")}, by="key")
    active, data, _ = fit(make(tmp_path, tmp_path / "run", Person(lambda seen: {}), max_rounds=2))
    assert active.done
    assert data.pool.labels[first] == other(first)
    assert active.history[-1].corrected == [first]


def test_without_keys_an_item_is_told_by_its_index(tmp_path: Path) -> None:
    data = ActiveDataModule(points(40), initial=[3, 5, 9, 11], batch_size=8)
    active = ActiveLearning("bald", query_size=4, max_rounds=1, folder=tmp_path / "run", posterior=MCDropout(2))
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    tell(tmp_path / "run", {5: Correction(0)}, by="key")
    tell(tmp_path / "run", {3: Correction(None)})
    assert [(one.index, one.label) for one in Journal.read(tmp_path / "run").changes] == [(5, 0), (3, None)]


class TestRefused:
    """Mistyped indices and labels change nothing."""

    @pytest.fixture
    def pending(self, tmp_path: Path) -> Any:
        made = make(tmp_path, tmp_path / "run", "ask")
        fit(made)
        made[0].tell({index: right(index) for index in made[0].pending})
        fit(made)
        return made

    def refused(self, made: Any, answers: dict[Any, Any], match: str, by: Any = "index") -> None:
        before = Journal.read(made[0].folder)
        with pytest.raises(ValueError, match=match):
            made[0].tell(answers, by=by)
        after = Journal.read(made[0].folder)
        assert (after.changes, after.query) == (before.changes, before.query)

    def test_a_point_that_was_never_labelled(self, pending: Any) -> None:
        never = next(index for index in pending[1].pool.unlabelled if index not in pending[0].pending)
        match = rf"it has no answer that could be corrected \(index {never}\)"
        self.refused(pending, {never: Correction("ant")}, match)
        self.refused(pending, {KEYS[never]: Correction("ant")}, match, by="key")
        self.refused(pending, {pending[0].pending[0]: Correction("ant")}, "it has no answer that could be corrected")
        self.refused(pending, {"no.png": Correction("ant")}, "the keys 'no.png' were not queried", by="key")

    def test_a_bare_label_for_an_earlier_point(self, pending: Any) -> None:
        first = pending[1].pool.initial[0]
        match = rf"it is answered, which only `Correction\(label\)` changes \(index {first}\)"
        self.refused(pending, {first: "ant"}, match)

    def test_what_is_no_label(self, pending: Any) -> None:
        first = pending[1].pool.initial[0]
        self.refused(pending, {first: Correction("cow")}, "the label 'cow' is not the name of a class")
        self.refused(pending, {first: Correction(Skip())}, "cannot be skipped any more, but given back")
        with pytest.raises(ValueError, match=r"was given a correction\. Pass it a label"):
            Correction(Correction(1))

    def test_a_label_where_nothing_is_asked(self, pending: Any) -> None:
        active, data, *_ = pending
        active.tell({index: right(index) for index in active.pending})
        first = data.pool.initial[0]
        match = r"Only a `Correction` of an earlier answer can be told at any time"
        self.refused(pending, {first: "ant"}, match)
        active.tell({first: Correction(other(first))})
        fit(pending)
        assert data.pool.labels[first] == other(first)

    def test_in_process_the_good_answers_are_kept(self, tmp_path: Path) -> None:
        person = Person(lambda seen: {**of_two_queries(seen), 99: Correction(1)})
        with pytest.raises(ValueError, match=r"it has no answer that could be corrected \(index 99\)"):
            fit(make(tmp_path, tmp_path / "run", person))
        records = Journal.read(tmp_path / "run")
        assert records.query.rest == []
        assert {change.index for change in records.changes} == set(person.corrected) - {99}


def test_an_earlier_answer_is_corrected_to_one_that_is_no_label(tmp_path: Path) -> None:
    """Its points are not trained on any more and cost what they did, in one process or in two."""

    def asides(seen: list[int]) -> dict[int, Any]:
        return {seen[1]: Correction(Unusable("dark")), seen[-1]: Correction(Other("a fox"))}

    folder = tmp_path / "run"
    person = Person(asides)
    active, data, module = fit(make(tmp_path, folder, person))
    first, second = person.corrected
    assert data.pool.unusable == [first, second]
    assert not {first, second} & {*data.pool.labelled, *data.pool.unlabelled}
    last = active.history[-1]
    assert (last.labelled, last.unusable, last.corrected, last.spent) == (12, [first, second], [first, second], 14)
    rows = {row["index"]: row for row in csv.DictReader((folder / "labels.csv").read_text().splitlines())}
    assert [(rows[str(index)]["state"], rows[str(index)]["note"]) for index in (first, second)] == [
        ("unusable", "dark"),
        ("other", "a fox"),
    ]
    two = Person(asides)
    fit(make(tmp_path, tmp_path / "two", two, rounds_per_fit=2))
    assert state(*fit(make(tmp_path, tmp_path / "two", two))) == state(active, data, module)
    correct(folder, first, Unusable("blurred"))
    correct(folder, second, "bee")
    with pytest.raises(ValueError, match="a label that was used cannot be skipped, but given back"):
        correct(folder, second, Skip())
    active, data, _ = fit(make(tmp_path, folder, person))
    assert data.pool.aside == {first: {"set aside": "unusable", "reason": "blurred"}}
    assert data.pool.labels[second] == 1
    assert (active.history[-1].labelled, active.history[-1].spent) == (13, 14)


def test_the_public_check_takes_corrections() -> None:
    query = Query(1, [4, 7], answers={9: 0}, classes=dict(enumerate(NAMES)))
    check_oracle(lambda asked: {9: Correction("bee"), **dict.fromkeys(asked, "ant")}, query=query, classes=NAMES)
    with pytest.raises(AssertionError, match="an answer that is refused"):
        check_oracle(lambda asked: {9: Correction("cow"), **dict.fromkeys(asked, "ant")}, query=query, classes=NAMES)
