"""What a run leaves in its folder: the trained model, and a table of all labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Query, Skip, Unusable
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.run.journal import Journal
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bée", "cat", "=dog"]
KEYS = [f"{number:02}.png" for number in range(len(X))]


def answers(query: Query) -> dict[int, Any]:
    found: dict[int, Any] = {index: NAMES[int(Y[index])] for index in query}
    if query.round == 0:
        found |= {query[0]: Skip(), query[1]: Unusable("dark")}
    return found


def run(folder: Path, data: Any = X, oracle: Any = answers, module: Any = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    options = {"keys": KEYS, "classes": NAMES} if data is X else {}
    pool = ActiveDataModule(data, initial_size=6, batch_size=8, seed=0, **options)
    limits = {"max_rounds": 3, **arguments}
    active = ActiveLearning(
        "bald", query_size=4, oracle=oracle, folder=folder, posterior=MCDropout(2), seed=0, **limits
    )
    module = LitMLP(hidden=12) if module is None else module
    trainer(folder.parent, max_epochs=1, callbacks=[active]).fit(module, datamodule=pool)
    return active, pool, module


def test_the_model_is_made_by_its_class_as_training_left_it(tmp_path: Path) -> None:
    active, _, module = run(tmp_path / "run")
    assert active.done
    loaded = LitMLP.load_from_checkpoint(tmp_path / "run" / "model.ckpt")
    assert loaded.hparams == module.hparams
    assert loaded.hparams["hidden"] == 12
    for name, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_an_unfinished_run_has_labels_and_no_model(tmp_path: Path) -> None:
    run(tmp_path / "run", oracle=lambda query: answers(query) if query.round < 1 else {})
    assert not (tmp_path / "run" / "model.ckpt").exists()
    assert len(pd.read_csv(tmp_path / "run" / "labels.csv")) == 10


def test_a_larger_budget_replaces_the_model(tmp_path: Path) -> None:
    run(tmp_path / "run", max_rounds=2)
    before = LitMLP.load_from_checkpoint(tmp_path / "run" / "model.ckpt").state_dict()
    _, _, module = run(tmp_path / "run")
    after = LitMLP.load_from_checkpoint(tmp_path / "run" / "model.ckpt").state_dict()
    assert all(torch.equal(after[name], value) for name, value in module.state_dict().items())
    assert not all(torch.equal(before[name], value) for name, value in after.items())


def test_a_run_that_died_when_its_last_round_was_recorded_left_model_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def append(self: Journal, *arguments: Any) -> None:
        recorded(self, *arguments)
        raise Died

    recorded = Journal.append
    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(Died):
        run(tmp_path / "run", max_rounds=1)
    monkeypatch.undo()
    active, _, _ = run(tmp_path / "run", max_rounds=1)
    assert active.done
    assert (tmp_path / "run" / "model.ckpt").exists()
    assert len(pd.read_csv(tmp_path / "run" / "labels.csv")) == 6


def test_what_cannot_be_pickled_costs_the_model_and_not_the_run(tmp_path: Path) -> None:
    class Unpicklable(LitMLP):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = lambda: None

    with pytest.warns(UserWarning, match="wrote no model.ckpt, since it cannot be pickled"):
        active, _, _ = run(tmp_path / "run", module=Unpicklable())
    assert active.done
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"labels.csv", "journal.sqlite"}
    assert not (tmp_path / "run" / "model.ckpt").exists()


def test_the_table_has_every_answer_in_order(tmp_path: Path) -> None:
    active, pool, _ = run(tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "labels.csv", keep_default_na=False)
    assert (tmp_path / "run" / "labels.csv").read_bytes().startswith(b"\xef\xbb\xbfkey,")  # for Excel
    assert list(table.columns) == [
        "key",
        "index",
        "label",
        "class",
        "state",
        "round",
        "note",
        "audit",
        "who",
        "seconds",
    ]
    asked = [*pool.pool.initial, *(index for round in active.history for index in round.indices)]
    assert list(table["index"]) == asked
    assert list(table["key"]) == [KEYS[index] for index in asked]
    for row in table.itertuples():
        if row.index in pool.pool.aside:
            assert (row.label, row.state in ("skip", "unusable")) == ("", True)
            assert row.note == ("dark" if row.state == "unusable" else "")
        else:
            assert int(row.label) == int(Y[row.index])
            assert row._4 == NAMES[int(Y[row.index])].replace("=", "'=")
            assert row.state == "given"


def test_line_ends_within_a_key_are_read_back(tmp_path: Path) -> None:
    """As in macOS' files `Icon\\r`; Python 3.11 writes one without quotes where lines end otherwise."""
    keys = [f"{number}\r" if number % 2 else f"{number}\n" for number in range(len(X))]
    data = ActiveDataModule(X, initial_size=6, batch_size=8, seed=0, keys=keys, classes=NAMES)
    active = ActiveLearning("random", query_size=4, oracle=answers, folder=tmp_path / "run", max_rounds=1)
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    with (tmp_path / "run" / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [keys[int(row["index"])] for row in rows]


def test_labels_that_the_dataset_revealed_are_there_too(tmp_path: Path) -> None:
    run(tmp_path / "run", data=points(40), oracle="revealed")
    table = pd.read_csv(tmp_path / "run" / "labels.csv")
    assert list(table["label"]) == [int(Y[index]) for index in table["index"]]
    assert list(table["key"]) == list(table["index"])


def test_corrections_are_in_the_next_table(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, max_rounds=2)
    first, second = Journal.read(folder).header["initial"][:2]
    correct(folder, first, NAMES[1])
    give_back(folder, second)
    run(folder)
    table = pd.read_csv(folder / "labels.csv").set_index("index")
    assert (table.loc[first, "label"], table.loc[first, "state"]) == (1, "corrected")
    assert "given back" in set(table.loc[[second], "state"])
