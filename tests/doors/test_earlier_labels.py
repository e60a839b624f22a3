"""Labels outlive the run: another network, task or method starts from the labels of an earlier run."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Other, Query, Skip, Unusable
from lightning_al.data.earlier_labels import read_labels
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.run.journal import Journal
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(48).tensors
NAMES = ["ant", "bee", "cat", "dog"]
KEYS = [f"{number:02}.png" for number in range(len(X))]
ASIDE = {3: Skip(), 11: Unusable("dark"), 17: Other("fox"), 26: Unusable(""), 30: Skip()}


class Person:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def label(self, query: Query) -> dict[int, Any]:
        self.asked += query
        return {index: ASIDE.get(index, NAMES[int(Y[index])]) for index in query}


def run(root: Path, name: str, data: Any = X, oracle: Any = None, hidden: int = 16, **arguments: Any) -> Any:
    torch.manual_seed(0)
    options: dict[str, Any] = {"initial_size": 8, "seed": 0, **arguments}
    active_options = {key: options.pop(key) for key in ("budget", "acquisition") if key in options}
    if data is X:
        options = {"keys": KEYS, "classes": NAMES, **options}
    pool = ActiveDataModule(data, batch_size=8, **options)
    oracle = Person() if oracle is None else oracle
    active = ActiveLearning(
        active_options.pop("acquisition", "bald"),
        query_size=5,
        oracle=oracle,
        folder=root / name,
        posterior=MCDropout(2),
        seed=0,
        **{"budget": 20, **active_options},
    )
    trainer(root, max_epochs=1, callbacks=[active]).fit(LitMLP(hidden), datamodule=pool)
    return active, pool, oracle


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("first")
    return root, *run(root, "run")


@pytest.fixture(params=["run", "run/labels.csv"])
def source(request: pytest.FixtureRequest, first: Any) -> Path:
    path: Path = first[0] / request.param
    return path


def test_another_network_and_method_start_from_the_labels(tmp_path: Path, first: Any, source: Path) -> None:
    _, before, _ = first[1:]
    active, pool, person = run(tmp_path, "next", hidden=8, acquisition="entropy", labels=source, budget=26)
    state = pool.pool.state_dict()
    assert pool.pool.rounds[0] == before.pool.labelled
    assert {index: state["labels"][index] for index in before.pool.labels} == before.pool.labels
    assert {index: pool.pool.aside[index] for index in before.pool.aside} == before.pool.aside
    assert not set(person.asked) & ({*before.pool.labelled} | {*before.pool.aside})
    assert active.history[0].spent == before.pool.num_spent == 20
    assert active.history[-1].spent == 26


@pytest.mark.parametrize("file", ["", "labels.csv"])
def test_labels_that_the_data_have_themselves_are_among_them(tmp_path: Path, file: str) -> None:
    data = points(48)
    _, before, _ = run(tmp_path, "run", data=data, oracle="revealed")
    _, pool, _ = run(tmp_path, "next", data=data, oracle="revealed", labels=tmp_path / "run" / file, initial_size=None)
    assert set(pool.pool.rounds[0]) == set(before.pool.labelled)
    assert pool.pool.num_spent == 20


@pytest.mark.parametrize("initial", [None, "max_herding"])
def test_all_points_that_have_a_label_come_first(tmp_path: Path, first: Any, initial: str | None) -> None:
    class Part(TensorDataset):
        def __init__(self) -> None:
            super().__init__(X)
            self.targets = [int(y) if index < 10 else None for index, y in enumerate(Y)]
            self.classes, self.keys = NAMES, KEYS

        def __getitem__(self, index: int) -> Any:
            return X[index], self.targets[index]

    given = {"labels": first[0] / "run", "initial_size": 25, "initial": initial}
    data = ActiveDataModule(Part(), seed=0, features=X.numpy() if initial else None, **given)
    data.setup("fit")
    answered = {*first[2].pool.labelled, *first[2].pool.aside}
    assert {*range(10), *answered} <= set(data.pool.rounds[0])
    assert len(data.pool.rounds[0]) == max(25, len({*range(10), *answered}))


@pytest.mark.parametrize(
    ("of_first", "of_next"),
    [
        ([*range(100, 148)], [*range(147, 99, -1)]),
        ([*map(str, range(48))], [*map(str, range(48))]),
        ([*map(str, range(47, -1, -1))], [*map(str, range(48))]),
    ],
    ids=["numbers", "texts of their places", "texts of other places"],
)
def test_keys_that_are_numbers_are_found_in_a_table(tmp_path: Path, of_first: list[Any], of_next: list[Any]) -> None:
    def knows(query: Query) -> dict[int, int]:
        return {index: int(Y[places[key]]) for index, key in zip(query, query.keys, strict=True)}

    places = {key: place for place, key in enumerate(of_first)}
    _, before, _ = run(tmp_path, "run", data=X, oracle=knows, keys=of_first)
    asked = [before.key_of(index) for index in before.pool.labelled]
    order = [places[key] for key in of_next]
    table = tmp_path / "run" / "labels.csv"
    _, pool, _ = run(tmp_path, "next", data=X[order], oracle=knows, keys=of_next, classes=NAMES, labels=table)
    assert {pool.key_of(index) for index in pool.pool.rounds[0]} == set(asked)
    assert all(label == int(Y[places[of_next[index]]]) for index, label in pool.pool.labels.items())


def test_numbers_of_a_run_without_keys_are_not_taken_for_keys_of_other_places(tmp_path: Path) -> None:
    data = ActiveDataModule(X, initial_size=4, classes=NAMES, batch_size=8)
    active = ActiveLearning(
        "random", query_size=1, budget=4, folder=tmp_path / "run", oracle=lambda query: dict.fromkeys(query, 1)
    )
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    table = tmp_path / "run" / "labels.csv"
    other = ActiveDataModule(X, classes=NAMES, keys=[*map(str, range(47, -1, -1))], labels=table)
    with pytest.raises(ValueError, match=r"4 labels of .*labels\.csv are of items that the data do not have"):
        other.setup("fit")


def test_the_order_of_the_items_may_be_another(tmp_path: Path, first: Any, source: Path) -> None:
    order = list(reversed(range(len(X))))
    _, pool, _ = run_in_order(tmp_path, order, source)
    for index, label in pool.pool.labels.items():
        assert label == int(Y[order[index]])
    assert {pool.key_of(index) for index in pool.pool.rounds[0]} == {KEYS[index] for index in first[2].pool.labelled}


def run_in_order(root: Path, order: list[int], source: Path) -> Any:
    def knows(query: Query) -> dict[int, str]:
        return {index: NAMES[int(Y[order[index]])] for index in query}

    keys = [KEYS[number] for number in order]
    return run(root, "next", data=X[order], oracle=knows, keys=keys, classes=NAMES, labels=source)


def test_classes_keep_their_names_where_numbers_change(tmp_path: Path, source: Path) -> None:
    names = ["dog", "ant", "cat", "bee"]
    _, pool, _ = run(tmp_path, "next", classes=names, labels=source)
    for index in pool.pool.rounds[0]:
        assert names[pool.pool.labels[index]] == NAMES[int(Y[index])]


def test_they_are_recorded_and_the_earlier_run_is_not_needed_again(tmp_path: Path, first: Any) -> None:
    copy = Path(shutil.copytree(first[0] / "run", tmp_path / "copy"))
    oracle = Person()
    _, pool, _ = run(tmp_path, "next", labels=copy, oracle=oracle, budget=24)
    assert Journal.read(tmp_path / "next").initial == {**first[2].pool.labels, **first[2].pool.aside}
    (copy / "journal.sqlite").write_bytes(b"")
    shutil.copyfile(first[0] / "run" / "labels.csv", tmp_path / "labels.csv")
    again, resumed, _ = run(tmp_path, "next", labels=tmp_path / "labels.csv", budget=30)
    assert resumed.pool.rounds[0] == pool.pool.rounds[0]
    assert again.history[-1].spent == 30


def test_more_initial_points_are_drawn_and_asked_for(tmp_path: Path, first: Any, source: Path) -> None:
    answered = {*first[2].pool.labelled, *first[2].pool.aside}
    _, pool, person = run(tmp_path, "next", labels=source, initial_size=len(answered) + 3, budget=40)
    assert len(pool.pool.initial) == len(answered) + 3
    assert set(person.asked[:3]) == set(pool.pool.initial) - answered


def test_what_was_given_back_is_no_label(tmp_path: Path, first: Any) -> None:
    folder = Path(shutil.copytree(first[0] / "run", tmp_path / "run"))
    a, b, *_ = first[2].pool.labelled
    give_back(folder, a)
    correct(folder, b, "dog")
    _, pool, _ = run(tmp_path, "next", labels=folder, budget=24)
    assert a not in pool.pool.rounds[0]
    assert pool.pool.labels[b] == 3


def changed(source: Path, target: Path, change: Any) -> Path:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows)
    with target.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [{**rows[0], "key": "no.png"}, *rows[1:]], "are of items that the data do not have: 'no.png'"),
        (lambda rows: [*rows, {**rows[0], "class": "cow"}], "has two labels for '.*': .* Remove one of them"),
        (lambda rows: [{**rows[0], "class": "cow"}, *rows[1:]], "has labels of the classes 'cow', which are not in"),
        (lambda rows: [{"key": row["key"], "label": row["label"]} for row in rows], "lacks the columns index, class"),
    ],
    ids=["a strange key", "two labels", "a strange class", "other columns"],
)
def test_conflicts_are_named(tmp_path: Path, first: Any, change: Any, said: str) -> None:
    table = changed(first[0] / "run" / "labels.csv", tmp_path / "table.csv", change)
    with pytest.raises(ValueError, match=said):
        run(tmp_path, "next", labels=table)


@pytest.mark.parametrize("classes", [["Ant", "bee", "cat", "hog"], [0, 1, 2]])
def test_classes_that_the_data_lack_are_all_named_before_there_is_a_folder(
    tmp_path: Path, first: Any, source: Path, classes: Any
) -> None:
    if classes == [0, 1, 2]:  # numbers without names
        table = first[0] / "run" / "labels.csv"
        source = changed(table, tmp_path / "table.csv", lambda rows: [{**row, "class": ""} for row in rows])
    strange = "number 3, which" if classes == [0, 1, 2] else r"'(dog', 'ant|ant', 'dog)', which"
    with pytest.raises(ValueError, match=rf"has labels of the classes {strange} are not in `classes`"):
        run(tmp_path, "next", classes=classes, labels=source)
    assert not (tmp_path / "next").exists()


TABLE = [
    ["key", "index", "label", "class", "state", "note", "seconds"],
    ["Käfer, klein.png", "0", "1", "Bär", "given", "", "2,5"],
    ["b.png", "1", "", "", "other", "Füchsin; rot", ""],
    ["2", "2", "0", "cat", "corrected", "", ""],
]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_is_read_whichever_program_saved_it(
    tmp_path: Path, separator: str, encoding: str, quoting: Any
) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows(TABLE)
    read = read_labels(path)
    expected = {"Käfer, klein.png": "Bär", "b.png": Other("Füchsin; rot").to_plain(), "2": "cat"}
    assert (read.by_key, read.efforts["Käfer, klein.png"].seconds) == (expected, 2.5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'key,index,label,class,state,note\na,0,1,cat,given,"', "at line 2: unexpected end of data"),
        (b"key,index,label,class,state,note\na,0,1,cat,given,a, b\n", "at line 2: it has more cells than the header"),
        (b"key,index,label,class,state,note,who;\na,0,1,cat,given,,;dog\n", "at line 1: its columns are in one cell"),
        (b"\xff\xfe\x00\xd8", "lacks the columns key, index"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} .*{said}.* (Write each label into|Pass the)"):
        read_labels(path)


def test_labels_that_the_dataset_contradicts_are_named(tmp_path: Path) -> None:
    data = points(48)
    run(tmp_path, "run", data=data, oracle=lambda query: {index: (int(Y[index]) + 1) % 4 for index in query}, budget=13)
    with pytest.raises(ValueError, match=r"in the earlier run, but class \d in the data"):
        run(tmp_path, "next", data=data, labels=tmp_path / "run", oracle="revealed", initial_size=8)


def test_a_path_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is neither a run's folder nor a file"):
        ActiveDataModule(X, initial_size=2, classes=NAMES, labels=tmp_path / "nothing")
