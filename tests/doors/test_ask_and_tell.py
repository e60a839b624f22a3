"""Ask and tell: queries that wait in the folder, and answers from any process at any time between two calls."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Query, Skip
from lightning_al.run.journal import Journal
from tests.support.combinations import one_in
from tests.support.programs import run as run_program
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]
KEYS = [f"{number:02}.png" for number in range(len(X))]


def make(root: Path, folder: Path | None, oracle: Any = "ask", **arguments: Any) -> Any:
    torch.manual_seed(0)
    data = ActiveDataModule(X, initial_size=6, classes=NAMES, keys=KEYS, batch_size=8, seed=0)
    options = {"max_rounds": 3, "posterior": MCDropout(2), **arguments}
    active = ActiveLearning("bald", query_size=4, oracle=oracle, folder=folder, seed=0, **options)
    return active, data, LitMLP(), trainer(root, max_epochs=1, callbacks=[active])


def truth(query: Query) -> dict[int, str]:
    return {index: NAMES[int(Y[index])] for index in query}


def by_key(query: Query) -> dict[str, str]:
    return {key: NAMES[int(Y[KEYS.index(key)])] for key in query.keys}


def state(active: ActiveLearning, data: ActiveDataModule, module: LitMLP) -> Any:
    rounds = [(round.indices, round.scores, round.labelled, round.metrics) for round in active.history]
    return rounds, data.pool.state_dict(), {name: value.tolist() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    active, data, module, fitter = make(tmp_path_factory.mktemp("whole"), None, oracle=truth)
    fitter.fit(module, datamodule=data)
    return state(active, data, module)


@pytest.mark.parametrize(("anew", "by"), one_in(2, [False, True], ["index", "key"]))
def test_telling_ends_as_answering_does(tmp_path: Path, whole: Any, anew: bool, by: Any) -> None:
    made = make(tmp_path, tmp_path / "run")
    rounds = []
    while not made[0].done:
        active, data, module, fitter = made
        fitter.fit(module, datamodule=data)
        if anew:
            made = make(tmp_path, tmp_path / "run")
        query = made[0].pending
        if query is None:
            break
        rounds.append(query.round)
        made[0].tell(truth(query) if by == "index" else by_key(query), by=by)
        assert made[0].pending is None
    assert rounds == [-1, 0, 1]
    assert state(active, data, module) == whole


def test_the_query_as_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    fitter.fit(module, datamodule=data)
    assert "Tell them by `ActiveLearning(...).tell`, then call `trainer.fit` again." in caplog.text
    first = active.pending.to_frame()
    assert list(first.columns) == ["round", "index", "key", "score", "predicted", "probability"]
    assert first["score"].isna().all()
    assert first["predicted"].isna().all()
    active.tell(truth(active.pending))
    fitter.fit(module, datamodule=data)
    query = active.pending
    table = query.to_frame()
    assert list(table["index"]) == query.indices
    assert list(table["key"]) == [KEYS[index] for index in query]
    assert list(table["score"]) == query.scores
    for place, row in table.iterrows():
        most = int(np.argmax(query.probs[place]))
        assert row["predicted"] == NAMES[most]
        assert math.isclose(row["probability"], query.probs[place][most])
    read = make(tmp_path, tmp_path / "run")[0].pending
    assert read.to_frame().equals(table)


def test_answers_are_on_disk_when_it_returns(tmp_path: Path) -> None:
    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    fitter.fit(module, datamodule=data)
    first, *rest = active.pending
    active.tell({first: "cat"})
    assert Journal.read(tmp_path / "run").query.answers == {first: 2}
    assert active.pending == rest
    # Another process tells the others, and this one takes them up.
    program = (
        "from lightning_al import ActiveLearning, Skip\n"
        f"active = ActiveLearning('bald', query_size=4, folder={str(tmp_path / 'run')!r}, oracle='ask')\n"
        "active.tell([(index, 'dog') for index in active.pending[:-1]])\n"
        "active.tell({active.pending.keys[0]: Skip()}, by='key')\n"
    )
    run_program("-c", program)
    fitter.fit(module, datamodule=data)
    assert data.pool.labels == {first: 2, **dict.fromkeys(rest[:-1], 3)}
    assert data.pool.skipped == rest[-1:]
    assert active.pending.round == 0


def test_valid_answers_are_kept_and_the_others_named(tmp_path: Path) -> None:
    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    fitter.fit(module, datamodule=data)
    a, b, c, *_ = active.pending
    with pytest.raises(ValueError, match=r"the label 'cow' is not the name of a class; .* \(index \d+\)"):
        active.tell({a: "ant", b: "cow", c: 3})
    assert Journal.read(tmp_path / "run").query.answers == {a: 0, c: 3}
    with pytest.raises(ValueError, match=r"the keys 'no.png' were not queried"):
        active.tell({"no.png": "ant", KEYS[b]: "bee"}, by="key")
    assert Journal.read(tmp_path / "run").query.answers == {a: 0, b: 1, c: 3}
    with pytest.raises(ValueError, match="it was not queried"):
        active.tell({99: "ant"})


@pytest.mark.parametrize("form", [dict, list])
@pytest.mark.parametrize("by", ["index", "key"])
def test_answers_that_are_told_together_are_recorded_in_one_row(tmp_path: Path, by: Any, form: Any) -> None:
    def num_rows() -> int:
        with closing(sqlite3.connect(tmp_path / "run" / "journal.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM rows").fetchone()[0])

    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    fitter.fit(module, datamodule=data)
    query, before = active.pending, num_rows()
    answers = truth(query) if by == "index" else by_key(query)
    active.tell(answers if form is dict else list(answers.items()), by=by)
    assert num_rows() == before + 1
    assert Journal.read(tmp_path / "run").initial == {index: int(Y[index]) for index in query}


def test_what_is_told_by_key_and_is_no_pair_costs_no_other_answer(tmp_path: Path) -> None:
    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    fitter.fit(module, datamodule=data)
    a, b, c, *_ = active.pending
    with pytest.raises(ValueError, match=r"it came as dict and not as a pair of index and label; the keys 'no\.png'"):
        active.tell([(KEYS[a], "ant"), {b: "bee"}, ("no.png", "bee"), (KEYS[c], "cat")], by="key")
    assert Journal.read(tmp_path / "run").query.answers == {a: 0, c: 2}
    with pytest.raises(ValueError, match="it was answered twice"):
        active.tell([(KEYS[b], "ant"), (KEYS[b], "bee")], by="key")
    assert active.pending[0] == b


def test_what_cannot_be_told(tmp_path: Path) -> None:
    active, data, module, fitter = make(tmp_path, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        active.tell({0: "ant"})
    fitter.fit(module, datamodule=data)
    with pytest.raises(ValueError, match="takes 'index' or 'key', but got 'name'"):
        active.tell({0: "ant"}, by="name")
    active.tell(truth(active.pending))
    with pytest.raises(ValueError, match="awaits no answers"):
        active.tell({0: "ant"})


def test_a_run_without_a_folder_is_refused_before_its_first_fit(tmp_path: Path) -> None:
    active, data, module, fitter = make(tmp_path, None)
    with pytest.raises(ValueError, match="is answered between two calls of"):
        fitter.fit(module, datamodule=data)
    with pytest.raises(ValueError, match="records answers in the run's folder"):
        active.tell({0: "ant"})


def test_enough_answers(tmp_path: Path) -> None:
    from lightning_al.oracle import Ask

    active, data, module, fitter = make(tmp_path, tmp_path / "run", oracle=Ask(accept_partial=2))
    fitter.fit(module, datamodule=data)
    active.tell(truth(active.pending))
    fitter.fit(module, datamodule=data)
    first, second, *rest = active.pending
    active.tell({first: "ant"})
    fitter.fit(module, datamodule=data)
    assert active.round == 0
    active.tell({second: Skip()})
    fitter.fit(module, datamodule=data)
    assert active.history[0].indices == [first, second]
    assert set(rest) <= set(data.pool.unlabelled)
