"""Pool and journal together, through any sequence of labels, kills and repairs, against plain lists."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lightning_al.data.pool import Pool, label_as_recorded
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change
from lightning_al.run.records import OpenQuery, Records
from lightning_al.run.schemas import SCHEMA

SIZE = 40

State = tuple[list[list[int]], list[dict[int, int]], list[Change], dict[int, int] | None]
"""What each round asked and was answered, what was changed, and the answers to an open query."""


def state_of(records: Records) -> State:
    queries = [round["indices"] for round in records.rounds]
    return queries, records.labels, records.changes, None if records.query is None else records.query.answers


class PoolAndJournal(RuleBasedStateMachine):
    """A run that labels and takes back, is dropped and opened again, and is damaged and repaired."""

    num_steps = 0

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.folder = self.root / "run"
        self.journal: Journal | None = None
        self.queries: list[list[int]] = []
        self.answers: list[dict[int, int]] = []
        self.changes: list[Change] = []
        self.open: dict[int, int] | None = None
        # What the journal said after each row: what of it is good after a damage, is one of these.
        self.past: list[State] = []

    @initialize(initial=st.lists(st.integers(0, SIZE - 1), unique=True, max_size=4))
    def begin(self, initial: list[int]) -> None:
        self.initial = initial
        self.journal = Journal(self.folder)
        self.journal.begin({"initial": initial})
        self.pool = Pool(SIZE, initial)
        self.note()

    def note(self) -> None:
        self.past.append(([*self.queries], [*self.answers], [*self.changes], self.open))

    @precondition(lambda self: self.journal is not None)
    @rule(data=st.data())
    def label(self, data: st.DataObject) -> None:
        assert self.journal is not None
        if self.queries and not self.queries[-1]:
            return  # which ended the run
        left = [index for index in range(SIZE) if index not in self.labelled()]
        query = data.draw(st.lists(st.sampled_from(left), unique=True, max_size=6)) if left else []
        if self.journal.records.query is not None:
            query = self.journal.records.query.indices
        answers = {index: data.draw(st.integers(0, 9)) for index in query[::2]}
        number = len(self.queries)
        self.journal.append(Round(number, self.pool.num_labelled, query, [0.5] * len(query)), answers)
        if query:  # a run that queries nothing leaves the pool as it is
            self.pool.label(query, answers)
        self.queries.append(query)
        self.answers.append(answers)
        self.open = None
        self.note()

    @precondition(lambda self: self.journal is not None)
    @rule(data=st.data())
    def answer_one(self, data: st.DataObject) -> None:
        assert self.journal is not None
        left = [index for index in range(SIZE) if index not in self.labelled()]
        if self.journal.records.query is None:
            if not left or (self.queries and not self.queries[-1]):
                return
            asked = data.draw(st.lists(st.sampled_from(left), unique=True, min_size=1, max_size=6))
            self.journal.ask(OpenQuery(len(self.queries), asked, [0.5] * len(asked)))
            self.open = {}
            self.note()
        query = self.journal.records.query
        assert query is not None
        if query.rest:
            answer = {data.draw(st.sampled_from(query.rest)): data.draw(st.integers(0, 9))}
            self.journal.answer(answer)
            self.open = {**(self.open or {}), **answer}
            self.note()

    @precondition(lambda self: self.journal is not None)
    @rule(data=st.data(), label=st.none() | st.integers(0, 9), back=st.booleans())
    def change(self, data: st.DataObject, label: int | None, back: bool) -> None:
        assert self.journal is not None
        labelled = self.labelled()
        if len(labelled) < 2:
            return
        index = data.draw(st.sampled_from(labelled))
        if self.queries and not self.queries[-1]:
            self.queries.pop()
            self.answers.pop()
        if back:
            self.pool.give_back(index)
        else:
            self.pool.correct(index, label)
        self.changes.append(self.pool.changes[-1])
        self.journal.change(self.changes[-1])
        self.resume_pool()
        self.note()

    @precondition(lambda self: self.journal is not None)
    @rule()
    def take_back(self) -> None:
        assert self.journal is not None
        if not self.queries:
            with pytest.raises(RuntimeError, match="has no round to take back"):
                self.journal.take_back()
            return
        if self.queries[-1]:
            return  # a run takes a round back that asked nothing
        self.journal.take_back()
        self.queries.pop()
        self.answers.pop()
        self.resume_pool()
        self.note()

    @precondition(lambda self: self.journal is not None)
    @rule(index=st.integers(-3, SIZE + 3))
    def label_wrongly(self, index: int) -> None:
        if 0 <= index < SIZE and index not in self.labelled():
            query, words = [index, index], "twice or after they were labelled"
        elif 0 <= index < SIZE:
            query, words = [index], "twice or after they were labelled"
        else:
            query, words = [index], f"the dataset has {SIZE} points"
        with pytest.raises(ValueError, match=words):
            self.pool.label(query)

    @precondition(lambda self: self.journal is not None)
    @rule(number=st.integers(0, 60))
    def append_wrongly(self, number: int) -> None:
        assert self.journal is not None
        if number != len(self.queries):
            with pytest.raises(RuntimeError, match=f"expected round {len(self.queries)} .* got round {number}"):
                self.journal.append(Round(number, 0, [], []), {})

    @precondition(lambda self: self.journal is not None)
    @rule()
    def close(self) -> None:
        assert self.journal is not None
        self.journal.close()
        self.journal = None

    @precondition(lambda self: self.journal is not None)
    @rule()
    def kill(self) -> None:
        """Drop the database in the middle of a change, as the system does with a process that is killed."""
        assert self.journal is not None
        database = sqlite3.connect(self.folder / "journal.sqlite", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM rows")
        database.close()
        (self.folder / ".history.jsonl.part").write_text("half")
        self.journal.drop()
        self.journal = None

    @precondition(lambda self: self.journal is None)
    @rule()
    def reopen(self) -> None:
        self.journal = Journal(self.folder)
        self.resume_pool()

    @precondition(lambda self: self.journal is None)
    @rule(share=st.floats(0, 1))
    def cut_and_salvage(self, share: float) -> None:
        path = self.folder / "journal.sqlite"
        self.read()
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        try:
            num_good = Journal.salvage(self.folder)
        except RuntimeError as error:
            refusal = str(error)
        else:
            refusal = ""
        if refusal:
            assert "No row of the journal" in refusal
            path.write_bytes(whole)
        else:
            records = Journal.read(self.folder)
            found = state_of(records)
            assert found in self.past, "what is left is what it said once"
            assert len(found[0]) == num_good
            del self.past[self.past.index(found) + 1 :]
            self.queries, self.answers, self.changes, self.open = ([*found[0]], [*found[1]], [*found[2]], found[3])
        self.read()

    @precondition(lambda self: self.journal is None)
    @rule()
    def salvage_what_is_whole(self) -> None:
        assert Journal.salvage(self.folder) == len(self.queries)

    @precondition(lambda self: self.journal is None)
    @rule()
    def read(self) -> None:
        assert [round.indices for round in Journal.read_history(self.folder)] == self.queries

    @invariant()
    def agrees(self) -> None:
        PoolAndJournal.num_steps += 1
        if self.journal is None:
            return
        assert self.journal.header == {"schema": SCHEMA, "initial": self.initial}
        assert [round.indices for round in self.journal.history] == self.queries
        assert self.journal.labels == self.answers
        assert state_of(self.journal.records) == (self.queries, self.answers, self.changes, self.open)
        assert self.pool.labelled == self.labelled()
        assert self.pool.num_labelled + self.pool.num_given_back == len(self.initial) + sum(map(len, self.queries))
        assert self.pool.unlabelled == [index for index in range(SIZE) if index not in self.labelled()]
        assert self.pool.labels == {i: label for i, label in self.by_hand().items() if label is not None}
        assert not list(self.folder.glob(".*.part*"))

    def by_hand(self) -> dict[int, int | None]:
        """The label of each labelled point, in the order in which they were labelled."""
        labels: dict[int, int | None] = dict.fromkeys(self.initial)
        for number in range(len(self.queries) + 1):
            for change in self.changes:
                if change.after == number and change.given_back:
                    del labels[change.index]
                elif change.after == number:
                    labels[change.index] = change.label
            for index in self.queries[number] if number < len(self.queries) else []:
                labels[index] = self.answers[number].get(index)
        return labels

    def labelled(self) -> list[int]:
        return list(self.by_hand())

    def resume_pool(self) -> None:
        assert self.journal is not None
        self.pool = Pool(SIZE, self.journal.header["initial"])
        label_as_recorded(self.pool, self.journal.records)

    def teardown(self) -> None:
        if self.journal is not None:
            self.journal.close()
        shutil.rmtree(self.root)


@pytest.mark.parametrize(
    ("runs", "steps", "least"),
    [(12, 25, 200), pytest.param(300, 50, 10_000, marks=pytest.mark.slow)],
    ids=["some", "10,000"],
)
def test_pool_and_journal_agree_with_plain_lists(runs: int, steps: int, least: int) -> None:
    chosen = settings(max_examples=runs, stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    PoolAndJournal.num_steps = 0
    run_state_machine_as_test(PoolAndJournal, settings=chosen)
    print(f"{PoolAndJournal.num_steps} steps")
    # Hypothesis ends some runs early, so that there are fewer steps than runs times steps.
    assert PoolAndJournal.num_steps >= least
