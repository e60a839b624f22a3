"""Oracles that answer wrongly, in part, one by one or not at all: what was answered well is never asked for again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, Oracle, accepted_labels
from lightning_al.journal import Journal
from tests.tasks import CLASSES, LitMLP, points, trainer

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
    active = ActiveLearning(acquisition, query_size=4, budget=16, oracle=oracle, folder=root / "run")
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
    "a number too high": (lambda i: {**right(i), i[1]: 99}, 3, r"Refused: the label 99 is none of the class numbers"),
    "below 0": (lambda i: {**right(i), i[0]: -1}, 3, r"the label -1 is none of the class numbers from 0 to 3 \(index"),
    "NaN": (lambda i: {**right(i), i[3]: float("nan")}, 3, "is no finite number"),
    "a name of nothing": (lambda i: {**right(i), i[2]: "cat"}, 3, "is text, but labels are class numbers"),
    "a list": (lambda i: {**right(i), i[2]: [1]}, 3, "is a list"),
    "too few": (lambda i: right(i[1:]), 3, r"3 of 4 answers are kept in .* it asks for the rest alone"),
    "too many": (lambda i: right([*i, 39, 1000]), 4, r"it was not asked for \(index 39, 1000\)"),
    "no index": (lambda i: {**right(i[1:]), "first": 1}, 3, 'it is for "first", which is no index'),
    "twice": (lambda i: [*right(i).items(), (i[0], 3)], 3, r"it was answered twice \(index"),
    "labels alone": (lambda i: list(right(i).values()), 0, "it came as int and not as a pair of index and label"),
    "texts of two signs": (lambda i: [f"{index:02}" for index in i], 0, "it came as str and not as a pair of index"),
    "nothing": (lambda i: None, 0, "they came as NoneType and not as a dict of labels by index"),
    "a type of nothing": (lambda i: {**right(i), i[1]: object()}, 3, "is of type object, and no plain data"),
    "a number too large for a float": (lambda i: {**right(i), i[1]: 10**400}, 3, "larger than any number"),
    "an index too large for a float": (lambda i: {"9" * 400: 1, **right(i)}, 4, "is for .* which is no index"),
    "a tensor of no data": (
        lambda i: {**right(i), i[2]: torch.empty((), device="meta")},
        3,
        "label tensor.* could not be read",
    ),
    "none of four": (lambda i: dict.fromkeys(i, CLASSES), 0, r"0 of 4 answers are kept"),
}


@pytest.mark.parametrize("name", WRONG)
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
    active = ActiveLearning("bald", query_size=4, budget=16, oracle=oracle)
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
    with pytest.raises(ValueError, match="2 of 4 answers are kept"):
        fit(tmp_path, oracle)
    first = oracle.queries[0]
    torch.manual_seed(7)
    data = ActiveDataModule(hidden(), initial=range(8), batch_size=8)
    active = ActiveLearning("random", query_size=2, budget=9, oracle=oracle, folder=tmp_path / "run", force=True)
    with pytest.warns(UserWarning, match="goes on with another run"):
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
    with pytest.raises(ValueError, match="the label 3 is none of the class numbers 0, 1, 2"):
        fit(tmp_path / "fewer", Asked(), classes=[0, 1, 2])


def test_none_stands_for_the_dataset_s_own_label_where_it_has_one(tmp_path: Path) -> None:
    own = lambda indices: dict.fromkeys(indices)  # noqa: E731
    _, data = fit(tmp_path, own, dataset=points(40))
    assert data.pool.labels == {}
    with pytest.raises(ValueError, match="None stands for the dataset's own label, but the label -1 is none of"):
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
        before.setattr(accepted_labels, "_check_batch", lambda *_: None)
        with pytest.raises(TypeError):
            fit(tmp_path, oracle, dataset=ByNumber())
    with pytest.raises(TypeError) as error:
        fit(tmp_path, oracle, dataset=ByNumber())
    index = oracle.queries[0][1]
    (note,) = error.value.__notes__
    assert f"index {index}, asked in round 0: the label [0.25" in note
    assert f"lightning-al-journal correct {tmp_path / 'run'} {index} LABEL" in note


def test_indices_of_earlier_versions_that_are_no_whole_numbers_are_read(tmp_path: Path, whole: list[Any]) -> None:
    with pytest.raises(ValueError, match="asked to label"):
        fit(tmp_path, Asked(lambda indices: {}))
    indices, scores, _ = whole[0]
    journal = Journal(tmp_path / "run")
    answers = {f"tensor({indices[0]})": indices[0] % CLASSES}
    answers |= {f"{index}.0": index % CLASSES for index in indices[1:]}
    active, _ = fit(tmp_path / "other", Asked())
    journal._append({"round": active.history[0].to_dict(), "labels": answers})
    journal.close()
    assert scores == active.history[0].scores
    resumed, _ = fit(tmp_path, Asked())
    assert rounds(resumed) == whole


def test_a_row_of_a_later_version_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin({"seed": 0})
    with pytest.raises(ValueError, match=r"holds an unknown kind of row, 'opinion'. Use the version of"):
        journal._append({"opinion": 1})
    journal.close()
