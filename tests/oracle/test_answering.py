"""Oracles that answer wrongly, in part, one by one or not at all: what was answered well is never asked for again."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle
from lightning_al.oracle.answers import plain_label
from lightning_al.oracle.asking import ask
from lightning_al.oracle.label_rules import rules_for
from lightning_al.rounds import accepted_labels
from lightning_al.run.journal import Journal
from lightning_al.run.records import OpenQuery
from lightning_al.task.class_names import Classes
from tests.support.tasks import CLASSES, LitMLP, points, trainer

Answer = Callable[[list[int]], Any]


class Asked(Oracle):
    """Answer by a function the first time and rightly from then on, and remember what was asked."""

    def __init__(self, first: Answer | None = None) -> None:
        self.first = first
        self.queries: list[list[int]] = []

    def label(self, indices: Sequence[int]) -> Any:
        self.queries.append(list(indices))
        if self.first is not None and len(self.queries) == 1:
            return self.first(list(indices))
        return right(list(indices))


def right(indices: list[int]) -> dict[int, int]:
    return {index: index % CLASSES for index in indices}


def hidden() -> Any:
    """The points, of which only the first eight have their own labels."""
    dataset = points(40)
    dataset.tensors[1][8:] = 0
    return dataset


def fit(
    root: Path, oracle: Any, acquisition: str = "bald", dataset: Any = None, module: Any = None, **arguments: Any
) -> tuple[ActiveLearning, ActiveDataModule]:
    torch.manual_seed(7)
    dataset = hidden() if dataset is None else dataset
    data = ActiveDataModule(dataset, initial=range(8), batch_size=8, **arguments)
    active = ActiveLearning(
        acquisition, query_size=4, budget=16, oracle=oracle, folder=root / "run", posterior=MCDropout(2)
    )
    trainer(root, callbacks=[active], max_epochs=1).fit(module or LitMLP(hidden=4), datamodule=data)
    return active, data


def rounds(active: ActiveLearning) -> list[tuple[list[int], list[float], Any]]:
    return [(round.indices, round.scores, round.class_counts) for round in active.history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The rounds of a run whose oracle answers rightly."""
    active, data = fit(tmp_path_factory.mktemp("whole"), Asked())
    assert data.pool.labels == right(data.pool.labelled[8:])
    return rounds(active)


# The first answers, how many of the four are good, and why the others are refused.
WRONG: dict[str, tuple[Answer, int, str]] = {
    "a number too high": (
        lambda i: {**right(i), i[1]: 99},
        3,
        r"Refused: the label 99 is not one of the class numbers",
    ),
    "below 0": (
        lambda i: {**right(i), i[0]: -1},
        3,
        r"the label -1 is not one of the class numbers from 0 to 3 \(index",
    ),
    "NaN": (lambda i: {**right(i), i[3]: float("nan")}, 3, "is not a finite number"),
    "a name of nothing": (lambda i: {**right(i), i[2]: "cat"}, 3, "is text, but labels are class numbers"),
    "a list": (lambda i: {**right(i), i[2]: [1]}, 3, "is a list"),
    "too many": (lambda i: right([*i, 39, 1000]), 4, r"it was not queried \(index 39, 1000\)"),
    "no index": (lambda i: {**right(i[1:]), "first": 1}, 3, "it is for 'first', which is not an index"),
    "twice": (lambda i: [*right(i).items(), (i[0], 3)], 3, r"it was answered twice \(index"),
    "labels alone": (lambda i: list(right(i).values()), 0, "it came as int and not as a pair of index and label"),
    "texts of two signs": (lambda i: [f"{index:02}" for index in i], 0, "it came as str and not as a pair of index"),
    "nothing": (lambda i: None, 0, "they came as NoneType and not as a dict of labels by index"),
    "a type of nothing": (lambda i: {**right(i), i[1]: object()}, 3, "is of type object, which is not plain data"),
    "a number too large for a float": (lambda i: {**right(i), i[1]: 10**400}, 3, "larger than any number"),
    "an index too large for a float": (lambda i: {"9" * 400: 1, **right(i)}, 4, "is for .* which is not an index"),
    "a tensor of no data": (
        lambda i: {**right(i), i[2]: torch.empty((), device="meta")},
        3,
        "label tensor.* could not be read",
    ),
    "none of four": (lambda i: dict.fromkeys(i, CLASSES), 0, r"0 of 4 answers are kept"),
}


WRONG_ONE_BY_ONE: dict[str, tuple[Answer, int, str]] = {
    "masked": (lambda i: {**right(i), i[2]: np.ma.masked}, 3, "is masked"),
    "a masked index": (lambda i: [*right(i[1:]).items(), (np.ma.masked, 1)], 3, "which is not an index"),
    "a dict of two as a pair": (lambda i: [*right(i[:2]).items(), right(i[2:])], 2, "it came as dict and not as a"),
    "a set as a pair": (lambda i: [*right(i[1:]).items(), {i[0], 1}], 3, "it came as set and not as a pair"),
    "no data": (lambda i: [*right(i[1:]).items(), torch.empty((2, 1), device="meta")], 3, "which is not an index"),
    "without end": (lambda i: itertools.cycle(right(i).items()), 4, "it was answered twice"),
    "yielded twice": (lambda i: (pair for pair in [*right(i).items(), (i[0], 3)]), 4, "it was answered twice"),
    "yielded for others": (lambda i: iter([(1000, 1), *right(i).items()]), 4, "it was not queried .index 1000"),
}


@pytest.mark.parametrize("name", [*WRONG, *WRONG_ONE_BY_ONE])
def test_wrong_answers_in_any_form_are_refused_and_the_others_recorded(name: str) -> None:
    answer, num_good, reason = {**WRONG, **WRONG_ONE_BY_ONE}[name]
    query = OpenQuery(0, [14, 3, 8, 22], [0.0] * 4)
    recorded: dict[int, Any] = {}
    wrong = asked(answer, query, recorded)
    assert re.search(reason, str(wrong))
    assert recorded == query.answers == right(list(recorded))
    assert len(recorded) == num_good


RIGHT: dict[str, Answer] = {
    "the query used up": lambda i: {i.pop(): index % CLASSES for index in reversed(list(i))},
    "the query used up by a generator": lambda i: ((index := i.pop(0), index % CLASSES)[-2:] for _ in range(len(i))),
    "dicts one by one": lambda i: ({index: index % CLASSES} for index in i),
    "a dict of two at a time": lambda i: iter([right(i[:2]), right(i[2:])]),
    "tensors": lambda i: iter(torch.tensor([[index, index % CLASSES] for index in i])),
    "texts": lambda i: {str(index): str(index % CLASSES) for index in i},
    "floats of 64 bits": lambda i: {torch.tensor(float(n), dtype=torch.float64): np.float64(n % CLASSES) for n in i},
    "a thread that changes its answers": lambda i: Changing(right(i)),
}


class Changing(dict[int, int]):
    """A dict whose values are others when they are read again."""

    def items(self) -> Any:
        pairs = list(super().items())
        self.update(dict.fromkeys(self, 3))
        return pairs


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_in_any_form_are_recorded_as_what_they_are(name: str) -> None:
    query = OpenQuery(0, [14, 3, 8, 22], [0.0] * 4)
    recorded: dict[int, Any] = {}
    wrong = asked(RIGHT[name], query, recorded)
    assert wrong is None
    assert recorded == query.answers == right([14, 3, 8, 22])


def asked(answer: Answer, query: OpenQuery, recorded: dict[int, Any]) -> ValueError | None:
    rules = rules_for([0, 1, 2, 3], Classes(), CLASSES)
    accept = lambda _, label: plain_label(label, rules)  # noqa: E731
    return ask(
        lambda: answer(query.rest),
        query,
        name="x",
        accept=accept,
        record=lambda answers, _: recorded.update(answers),
        kept="there",
    )


class Lazy(Mapping[int, int]):
    """A mapping that asks people when it is read, and fails at the third."""

    def __init__(self, indices: list[int], fail: Callable[[], object]) -> None:
        self.indices = indices
        self.fail = fail

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __getitem__(self, index: int) -> int:
        if index == self.indices[2]:
            self.fail()
        return index % CLASSES


class LazyList(list[Any]):
    def __init__(self, mapping: Lazy) -> None:
        self.mapping = mapping

    def __iter__(self) -> Iterator[Any]:
        return iter(self.mapping.items())


@pytest.mark.parametrize("wrap", [lambda lazy: lazy, LazyList, lambda lazy: iter(lazy.items())])
@pytest.mark.parametrize("error", [OSError("down"), KeyboardInterrupt()], ids=repr)
def test_what_was_read_before_an_error_is_recorded(wrap: Callable[[Lazy], Any], error: BaseException) -> None:
    def fail() -> None:
        raise error

    query = OpenQuery(0, [14, 3, 8, 22], [0.0] * 4)
    recorded: dict[int, Any] = {}
    with pytest.raises(type(error)):
        asked(lambda indices: wrap(Lazy(indices, fail)), query, recorded)
    assert recorded == query.answers == {14: 2, 3: 3}


def test_a_generator_that_goes_on_after_it_is_closed_loses_nothing() -> None:
    def stubborn(indices: list[int]) -> Iterator[tuple[int, int]]:
        with suppress(GeneratorExit):
            for index in itertools.cycle(indices):
                yield index, index % CLASSES
        yield 3, 1

    query = OpenQuery(0, [14, 3], [0.0] * 2)
    recorded: dict[int, Any] = {}
    wrong = asked(stubborn, query, recorded)
    assert recorded == {14: 2, 3: 3}
    with pytest.raises(ValueError, match=r"was asked to label the indices \[14, 3.*it was answered twice \(index 14"):
        raise wrong or AssertionError


@pytest.mark.slow  # it measures time, which a busy machine stretches
def test_many_answers_take_time_in_proportion() -> None:
    def seconds(size: int) -> float:
        query = OpenQuery(0, list(range(size)), [0.0] * size)
        began = time.perf_counter()
        assert asked(right, query, {}) is None
        return time.perf_counter() - began

    assert seconds(40_000) < 30 * max(seconds(4_000), 0.01)


# All of them are refused above; in a run, it counts how many are good, and whether the query came back whole.
OF_A_RUN = ("a number too high", "too many", "no index", "twice", "nothing", "none of four")


@pytest.mark.parametrize(
    "name", [name if name in OF_A_RUN else pytest.param(name, marks=pytest.mark.slow) for name in WRONG]
)
def test_what_was_answered_well_is_recorded_and_the_next_start_asks_for_the_rest(
    tmp_path: Path, whole: list[Any], name: str
) -> None:
    answer, num_good, reason = WRONG[name]
    oracle = Asked(answer)
    with pytest.raises(ValueError, match=rf"`Asked` was asked to label the indices .* but answered for .*{reason}"):
        fit(tmp_path, oracle)
    query = Journal.read(tmp_path / "run").query
    kept = {} if query is None else query.answers
    assert len(kept) == num_good
    assert right(list(kept)) == kept
    active, data = fit(tmp_path, oracle)
    asked = [index for index in oracle.queries[0] if index not in kept]
    assert oracle.queries[1:] == ([asked] if asked else []) + [whole[1][0]]
    assert rounds(active) == whole
    assert data.pool.labels == right(data.pool.labelled[8:])


def test_without_a_folder_the_next_fit_of_the_program_asks_for_the_rest(tmp_path: Path, whole: list[Any]) -> None:
    oracle = Asked(lambda indices: {**right(indices), indices[1]: 99})
    torch.manual_seed(7)
    data = ActiveDataModule(hidden(), initial=range(8), batch_size=8)
    active = ActiveLearning("bald", query_size=4, budget=16, oracle=oracle, posterior=MCDropout(2))
    fitting, module = trainer(tmp_path, callbacks=[active], max_epochs=1), LitMLP(hidden=4)
    with pytest.raises(ValueError, match="3 of 4 answers are kept for the next fit of this program"):
        fitting.fit(module, datamodule=data)
    fitting.fit(module, datamodule=data)
    assert oracle.queries[1:] == [oracle.queries[0][1:2], whole[1][0]]
    assert rounds(active) == whole


def one_by_one(indices: list[int], stop: Callable[[], object]) -> Iterator[tuple[int, int]]:
    for number, pair in enumerate(right(indices).items()):
        if number == 3:
            stop()
        yield pair


def fail() -> None:
    raise OSError("the labelling service is down")


def interrupt() -> None:
    # Lightning lets SIGINT be ignored from the first that a process got, which may have been in another test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("stop", "error"), [(fail, pytest.raises(OSError, match="down")), (interrupt, pytest.raises(SystemExit))]
)
def test_answers_that_come_one_by_one_are_recorded_as_they_come(
    tmp_path: Path, whole: list[Any], stop: Callable[[], object], error: Any
) -> None:
    oracle = Asked(lambda indices: one_by_one(indices, stop))
    with error as raised:
        fit(tmp_path, oracle)
    if stop is fail:
        assert f"3 of 4 answers are kept in {tmp_path / 'run'}." in raised.value.__notes__
    active, _ = fit(tmp_path, oracle)
    assert oracle.queries[1:] == [oracle.queries[0][3:], whole[1][0]]
    assert rounds(active) == whole


def test_an_answer_is_on_disk_before_the_next_one_is_made(tmp_path: Path) -> None:
    """A copy of the folder, as a machine that dies leaves it, has all answers but the one that is made."""
    seen: list[int] = []

    def look() -> None:
        copy = tmp_path / "copy"
        copy.mkdir()
        for path in (tmp_path / "run").glob("journal.sqlite*"):
            (copy / path.name).write_bytes(path.read_bytes())
        query = Journal.read(copy).query
        seen.append(0 if query is None else len(query.answers))

    fit(tmp_path, Asked(lambda indices: one_by_one(indices, look)))
    assert seen == [3]


def test_a_query_that_was_answered_in_part_is_not_selected_anew(tmp_path: Path) -> None:
    oracle = Asked(lambda indices: right(indices[:2]))
    fit(tmp_path, oracle)
    first = oracle.queries[0]
    torch.manual_seed(7)
    data = ActiveDataModule(hidden(), initial=range(8), batch_size=8)
    active = ActiveLearning("random", query_size=2, budget=9, oracle=oracle, folder=tmp_path / "run", force=True)
    with pytest.warns(UserWarning, match="resumes a run that began with other arguments"):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(hidden=4), datamodule=data)
    assert active.history[0].indices == first
    assert oracle.queries[1:] == [first[2:]]


class SingleLogit(LitMLP):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return torch.nn.functional.binary_cross_entropy_with_logits(self(x)[:, 0], y)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, :1]


class FromOne(LitMLP):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return super().training_step((x, y - 1), batch_idx)


def changed(change: Callable[[Tensor], Tensor]) -> Any:
    dataset = points(40)
    dataset.tensors = dataset.tensors[0], change(dataset.tensors[1])
    return dataset


NETWORKS: dict[str, tuple[Any, Any, Any, Any]] = {
    "classes, of which no method reads": (LitMLP, lambda y: y, CLASSES - 1, CLASSES),
    "labels from 1 on": (FromOne, lambda y: y + 1, CLASSES, -1),
    "one logit": (SingleLogit, lambda y: (y % 2).float(), True, 2),
    "labels of bytes": (LitMLP, lambda y: y.to(torch.uint8), np.uint8(3), 255),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_held_against_the_outputs_where_no_method_reads_them_too(tmp_path: Path, name: str) -> None:
    module, change, good, bad = NETWORKS[name]
    oracle = Asked(lambda indices: {**dict.fromkeys(indices, good), indices[0]: bad})
    with pytest.raises(ValueError, match=rf"Refused: the label {bad} .*3 of 4 answers are kept"):
        fit(tmp_path, oracle, "random", changed(change), module())
    query = Journal.read(tmp_path / "run").query
    assert query is not None
    assert set(query.answers.values()) == {int(good)}
    assert query.num_outputs == (1 if module is SingleLogit else CLASSES)


def test_names_of_classes_become_numbers_and_stand_in_the_folder(tmp_path: Path) -> None:
    names = ["ash", "beech", "cedar", "date"]

    def by_name(indices: list[int]) -> dict[int, str]:
        return {index: names[index % CLASSES] for index in indices}

    dataset = hidden()
    dataset.classes = names
    _, data = fit(tmp_path, by_name, dataset=dataset)
    assert data.pool.labels == right(data.pool.labelled[8:])
    header = Journal.read(tmp_path / "run").header
    assert header is not None
    assert list(header["classes"]["numbers"]) == names
    _, data = fit(tmp_path / "listed", by_name, classes=names)
    assert data.pool.labels == right(data.pool.labelled[8:])
    with pytest.raises(ValueError, match="the label 3 is not one of the class numbers 0, 1, 2"):
        fit(tmp_path / "fewer", Asked(), classes=[0, 1, 2])


def test_none_stands_for_the_dataset_s_own_label_where_it_has_one(tmp_path: Path) -> None:
    own = lambda indices: dict.fromkeys(indices)  # noqa: E731
    _, data = fit(tmp_path, own, dataset=points(40))
    assert data.pool.labels == {}
    with pytest.raises(ValueError, match="None stands for the dataset's own label, but the label -1 is not one of"):
        fit(tmp_path / "placeholders", own, dataset=changed(lambda y: torch.where(torch.arange(40) < 8, y, -1)))


def test_a_label_that_the_items_cannot_hold_is_refused(tmp_path: Path) -> None:
    soft = lambda indices: dict.fromkeys(indices, [0.25] * CLASSES)  # noqa: E731
    with pytest.raises(ValueError, match=r"does not fit the item: `ActiveDataModule` cannot put the label"):
        fit(tmp_path, soft)


class ByNumber(Dataset[Any]):
    """The points, with their labels as Python's numbers."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        inputs, label = points(40)[index]
        return inputs, int(label)


def test_a_soft_label_that_makes_no_batch_with_class_numbers_is_refused(tmp_path: Path) -> None:
    oracle = Asked(lambda indices: {**right(indices), indices[1]: [0.25] * CLASSES})
    with pytest.raises(ValueError, match=r"makes no batch with class numbers: .* 3 of 4 answers are kept"):
        fit(tmp_path, oracle, dataset=ByNumber())
    fit(tmp_path, oracle, dataset=ByNumber())
    assert oracle.queries[1] == oracle.queries[0][1:2]


def test_a_recorded_soft_label_that_makes_no_batch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = Asked(lambda indices: {**right(indices), indices[1]: [0.25] * CLASSES})
    with monkeypatch.context() as before:
        before.setattr(accepted_labels, "check_batch", lambda *_: None)
        with pytest.raises(TypeError):
            fit(tmp_path, oracle, dataset=ByNumber())
    with pytest.raises(TypeError) as error:
        fit(tmp_path, oracle, dataset=ByNumber())
    index = oracle.queries[0][1]
    (note,) = error.value.__notes__
    assert f"index {index}, asked in round 0: the label [0.25" in note
    assert f"lightning-al-journal correct {tmp_path / 'run'} {index} LABEL" in note


def test_indices_of_earlier_versions_that_are_no_whole_numbers_are_read(tmp_path: Path, whole: list[Any]) -> None:
    fit(tmp_path, Asked(lambda indices: {}))
    indices, scores, _ = whole[0]
    journal = Journal(tmp_path / "run")
    answers = {f"tensor({indices[0]})": indices[0] % CLASSES}
    answers |= {f"{index}.0": index % CLASSES for index in indices[1:]}
    active, _ = fit(tmp_path / "other", Asked())
    journal.write_rows({"round": active.history[0].to_dict(), "labels": answers})
    journal.close()
    assert scores == active.history[0].scores
    resumed, _ = fit(tmp_path, Asked())
    assert rounds(resumed) == whole


def test_a_row_of_a_later_version_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin({"seed": 0})
    with pytest.raises(ValueError, match=r"holds an unknown kind of row, 'opinion'. Use the version of"):
        journal.write_rows({"opinion": 1})
    journal.close()


class Fragile(Dataset[Any]):
    """Points that can be read until the dataset is broken; then some cannot."""

    def __init__(self, fails: Callable[[int], bool] = lambda index: True) -> None:
        self.fails = fails
        self.is_broken = False

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        if self.is_broken and self.fails(index):
            raise OSError("cut off")
        inputs, label = points(40)[index]
        return {"x": inputs, "y": int(label)}


class Keyed(LitMLP):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch["x"], batch["y"]), batch_idx)


class Breaks(Callback):
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.datamodule.wrapped.train_dataloader().dataset.is_broken = True

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.on_train_end(trainer, pl_module)


def test_a_point_that_cannot_be_read_is_an_error_before_people_are_asked(tmp_path: Path) -> None:
    dataset, oracle = Fragile(lambda index: index >= 8), Asked()
    data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
    active = ActiveLearning("random", query_size=4, budget=16, oracle=oracle)
    with pytest.raises(
        OSError, match=r"Item \d+ of the training data cannot be read: OSError: cut off\. Repair it: it"
    ):
        trainer(tmp_path, callbacks=[active, Breaks()], max_epochs=1).fit(Keyed(hidden=4), datamodule=data)
    assert oracle.queries == []


def test_an_item_without_a_place_for_a_label_is_an_error_before_people_are_asked(tmp_path: Path) -> None:
    dataset, oracle = Fragile(), Asked()
    data = ActiveDataModule(
        dataset, initial=range(8), batch_size=8, target=lambda item: int(item["y"]), pool_dataset=dataset
    )
    active = ActiveLearning("random", query_size=4, budget=16, oracle=oracle)
    with pytest.raises(ValueError, match="cannot put an oracle's label into an item of type dict"):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(Keyed(hidden=4), datamodule=data)
    assert oracle.queries == []


@pytest.mark.parametrize("error", [KeyError("y"), ValueError("no label here")], ids=repr)
def test_rules_that_cannot_be_found_are_an_error_before_people_are_asked(tmp_path: Path, error: Exception) -> None:
    class Failing(LitMLP):
        def on_train_end(self) -> None:
            def fail(index: int) -> int:
                raise error

            self.trainer.datamodule.class_of = fail  # type: ignore[attr-defined]

    oracle = Asked()
    with pytest.raises(type(error), match=str(error)):
        fit(tmp_path, oracle, "random", module=Failing(hidden=4))
    assert oracle.queries == []


def test_an_answer_is_not_lost_where_its_item_cannot_be_read_afterwards(tmp_path: Path) -> None:
    dataset = Fragile(lambda index: True)

    def breaking(indices: list[int]) -> dict[int, int]:
        dataset.is_broken = len(indices) == 4
        return {**right(indices[1:]), indices[0]: 99}

    with pytest.raises(ValueError, match=r"Refused: the label 99 is not one of .*3 of 4 answers are kept"):
        fit(tmp_path, Asked(breaking), "random", dataset, Keyed(hidden=4))
    dataset.is_broken = False
    query = Journal.read(tmp_path / "run").query
    assert query is not None
    assert query.answers == right(list(query.answers))


def test_the_dataset_s_own_label_is_not_taken_where_it_cannot_be_read(tmp_path: Path) -> None:
    dataset = Fragile(lambda index: True)

    def breaking(indices: list[int]) -> dict[int, None]:
        dataset.is_broken = True
        return dict.fromkeys(indices)

    with pytest.raises(ValueError, match=r"Refused: it could not be checked \(OSError: Item .*0 of 4 answers"):
        fit(tmp_path, Asked(breaking), "random", dataset, Keyed(hidden=4))
