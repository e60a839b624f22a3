"""Labels that are corrected and points given back: by the next fit, the history, the journal and the command."""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, Correction, MCDropout, Other, Query, Unusable
from lightning_al.cli.journal import main
from lightning_al.data.pool import Pool
from lightning_al.host.namespace import pl
from lightning_al.oracle.corrections import correct, give_back, give_back_all
from lightning_al.oracle.telling import tell
from lightning_al.report.runs import read_run
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change
from lightning_al.run.recorded_labels import recorded_labels
from tests.support.combinations import one_in
from tests.support.named import shown
from tests.support.tasks import CLASSES, LitMLP, points, trainer

NAMES = ["ash", "beech", "cedar", "date"]


def right(indices: Sequence[int]) -> dict[int, int]:
    return {index: index % CLASSES for index in indices}


class Watching(LitMLP):
    """Remember the label that each point was last trained on."""

    def __init__(self) -> None:
        super().__init__(hidden=4)
        self.trained: dict[bytes, int] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        self.trained.update({one.numpy().tobytes(): int(label) for one, label in zip(x, y, strict=True)})
        return super().training_step(batch, batch_idx)

    def on_fit_start(self) -> None:
        self.trained.clear()

    def label_of(self, index: int) -> int | None:
        return self.trained.get(points(40)[index][0].numpy().tobytes())


class Program:
    """A program that may be started again on its folder."""

    def __init__(self, root: Path, *, folder: bool = True, oracle: Any = right, **arguments: Any) -> None:
        torch.manual_seed(7)
        dataset = points(40)
        dataset.classes = NAMES  # type: ignore[attr-defined]
        self.data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
        self.module = Watching()
        self.active = ActiveLearning(
            "bald",
            **{
                "query_size": 4,
                "budget": 16,
                "oracle": oracle,
                "posterior": MCDropout(2),
                "folder": root / "run" if folder else None,
                **arguments,
            },
        )
        self.trainer = trainer(root, callbacks=[self.active], max_epochs=1)

    def fit(self, **arguments: Any) -> Program:
        self.trainer.fit(self.module, datamodule=self.data, **arguments)
        return self


def asked(program: Program) -> list[list[int]]:
    return [round.indices for round in program.active.history]


@pytest.mark.parametrize("index", [2, None], ids=["initial", "asked"])
def test_the_next_fit_of_the_folder_has_the_corrected_label_and_the_history_says_so(
    tmp_path: Path, index: int | None
) -> None:
    before = Program(tmp_path, rounds_per_fit=1).fit()
    index = before.active.history[0].indices[1] if index is None else index
    wrong = (index + 1) % CLASSES
    was = correct(tmp_path / "run", index, NAMES[wrong])
    assert (was.index, was.label) == (index, None if index == 2 else index % CLASSES)
    after = Program(tmp_path, rounds_per_fit=1).fit()
    assert after.module.label_of(index) == wrong
    assert after.active.history[0] == before.active.history[0]
    assert (after.active.history[1].corrected, after.active.history[1].given_back) == ([index], [])
    assert "1 corrected so far" in repr(after.active.history)
    journal = Journal(tmp_path / "run")
    assert journal.labels[0] == right(before.active.history[0].indices), "the label before stays"
    journal.close()


def test_a_point_given_back_may_be_queried_again_and_its_label_stays_spent(tmp_path: Path) -> None:
    sizes = {"query_size": 14, "budget": 36}
    before = Program(tmp_path, rounds_per_fit=1, **sizes).fit()
    back = before.active.history[0].indices
    for index in back[:3]:
        give_back(tmp_path / "run", index)
    seen: list[int] = []

    def oracle(indices: list[int]) -> dict[int, int]:
        seen.extend(indices)
        return right(indices)

    after = Program(tmp_path, oracle=oracle, **sizes).fit()
    second, last = after.active.history[1:]
    assert (second.labelled, second.given_back, second.spent) == (8 + 14 - 3, back[:3], 22)
    assert set(back[:3]) & set(seen), "of 21 points, 14 were asked for"
    assert (last.labelled, last.spent) == (33, 36)
    assert Program(tmp_path, **sizes).fit().data.pool.state_dict() == after.data.pool.state_dict()
    budget = Program(tmp_path / "small", rounds_per_fit=1).fit()
    give_back(tmp_path / "small" / "run", budget.active.history[0].indices[0])
    ended = Program(tmp_path / "small").fit()
    assert [round.spent for round in ended.active.history] == [8, 12, 16]
    assert ended.data.pool.num_labelled == 15
    report = read_run(tmp_path / "small" / "run")
    assert (report.state, len(report.history)) == ("finished", 3)


def test_a_finished_run_fits_its_last_round_again(tmp_path: Path) -> None:
    before = Program(tmp_path).fit()
    assert before.active.done
    index = before.active.history[0].indices[0]
    correct(tmp_path / "run", index, 1 + (index + 1) % 2)
    assert len(Journal.read_history(tmp_path / "run")) == 2
    assert read_run(tmp_path / "run").state == "stopped"
    after = Program(tmp_path).fit()
    assert asked(after) == asked(before)
    assert after.module.label_of(index) == 1 + (index + 1) % 2
    assert after.active.history[-1].corrected == [index]
    again = Program(tmp_path).fit()
    assert list(again.active.history) == list(after.active.history)


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "no folder"])
def test_in_a_program_the_pool_is_changed(tmp_path: Path, folder: bool) -> None:
    program = Program(tmp_path, folder=folder).fit()
    index, other = program.active.history[0].indices[:2]
    program.data.pool.correct(index, torch.tensor((index + 2) % CLASSES))
    program.data.pool.give_back(other)
    program.fit()
    assert program.module.label_of(index) == (index + 2) % CLASSES
    assert program.module.label_of(other) is None
    last = program.active.history[-1]
    assert (last.number, last.corrected, last.given_back, last.labelled) == (2, [index], [other], 15)
    if folder:
        assert [(change.index, change.label) for change in Journal.read(tmp_path / "run").changes] == [
            (index, (index + 2) % CLASSES),
            (other, None),
        ]
        resumed = Program(tmp_path).fit()
        assert resumed.data.pool.state_dict() == program.data.pool.state_dict()
        correct(tmp_path / "run", index, index % CLASSES)  # beside the program, which sees it at its next fit
        program.fit()
        assert program.module.label_of(index) == index % CLASSES
        program.data.pool.correct(index, 0)
        correct(tmp_path / "run", index, 1)
        with pytest.raises(ValueError, match=r"were changed both in .* in different ways. Start a new process"):
            program.fit()


@pytest.mark.parametrize(("label", "folder"), one_in(2, [float("nan"), object(), 99, "oak"], [False, True]), ids=shown)
def test_a_refused_correction_in_a_program_leaves_nothing_behind(tmp_path: Path, label: Any, folder: bool) -> None:
    program = Program(tmp_path, folder=folder, rounds_per_fit=1).fit()
    index = program.active.history[0].indices[0]
    program.data.pool.correct(index, label)
    with pytest.raises(ValueError, match=f"The label of index {index} was corrected to an invalid one"):
        program.fit()
    program.data.pool.correct(index, NAMES[1])
    program.fit()
    assert program.module.label_of(index) == 1
    assert program.active.history[-1].corrected == [index]
    program.fit()  # whatever is in the folder agrees with the pool
    if folder:
        assert Program(tmp_path).fit().data.pool.labels[index] == 1


def test_labels_may_be_changed_in_the_pool_before_the_first_fit(tmp_path: Path) -> None:
    program = Program(tmp_path, rounds_per_fit=1)
    program.data.setup("fit")
    program.data.pool.correct(3, 1)
    program.fit()
    assert program.active.history[0].corrected == [3]
    assert program.module.label_of(3) == 1
    assert Journal.read(tmp_path / "run").changes == [Change(3, 1)]
    resumed = Program(tmp_path).fit()
    assert resumed.module.label_of(3) == 1
    late = Program(tmp_path)
    late.data.setup("fit")
    late.data.pool.correct(3, 2)
    with pytest.raises(ValueError, match=r"before the run in the folder was resumed. Resume it with a new"):
        late.fit()


def test_a_label_that_can_be_none_is_refused_wherever_it_is_corrected(tmp_path: Path) -> None:
    program = Program(tmp_path, rounds_per_fit=1).fit()
    program.data.pool.correct(2, 99)
    with pytest.raises(ValueError, match=r"was corrected to an invalid one: the label 99 .*journal correct "):
        program.fit()
    program.data.pool.correct(2, 1)
    program.fit()
    assert program.module.label_of(2) == 1
    for label in (99, "oak", float("nan"), [1]):
        with pytest.raises(ValueError, match=r"of index 2 in .* cannot be corrected: the label .* Give a label"):
            correct(tmp_path / "run", 2, label)
    with pytest.raises(ValueError, match=r"Index 39 in .* has no label. Name one of the 16 that have"):
        correct(tmp_path / "run", 39, 1)
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        correct(tmp_path / "nothing", 2, 1)
    assert not (tmp_path / "nothing").exists()
    assert Journal.read(tmp_path / "run").changes[-1].label == 1


def test_the_datasets_own_label_is_refused_where_it_has_none(tmp_path: Path) -> None:
    class Placeholders(Dataset[Any]):
        classes = NAMES

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            return points(40)[index][0], -1

    folder = tmp_path / "run"
    data = ActiveDataModule(Placeholders(), initial_size=4, batch_size=8)
    active = ActiveLearning("random", query_size=2, budget=8, oracle=right, folder=folder, posterior="deterministic")
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    index = data.pool.labelled[0]
    with pytest.raises(ValueError, match=r"own label, but the dataset seems to have none\. Give a label"):
        correct(folder, index, None)
    with pytest.raises(ValueError, match="own label, but the dataset seems to have none"):
        tell(folder, {index: Correction(None)})
    assert Journal.read(folder).changes == []


def test_text_that_no_file_can_hold_is_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def oracle(query: Query) -> dict[int, Any]:
        return {index: Other("fo\ud800x") if place == 0 else index % CLASSES for place, index in enumerate(query)}

    program = Program(tmp_path, oracle=oracle, budget=12)
    program.fit()
    [other] = program.data.pool.aside
    correct(tmp_path / "run", other, Unusable("\udcff.png"))
    assert main(["export", str(tmp_path / "run")]) == 0
    assert "\\udcff.png" in capsys.readouterr().out
    assert "fo\\ud800x" in (tmp_path / "run" / "labels.csv").read_text()


def test_an_index_of_another_type_is_a_plain_number_in_the_journal_or_refused(tmp_path: Path) -> None:
    before = Program(tmp_path, rounds_per_fit=1).fit()
    folder, indices = tmp_path / "run", before.active.history[0].indices
    assert correct(folder, float(indices[0]), NAMES[0]).index == indices[0]  # type: ignore[arg-type]
    correct(folder, np.int64(indices[0]), NAMES[1])  # type: ignore[arg-type]
    assert correct(folder, 2, None).label is None
    give_back(folder, torch.tensor(indices[1]))  # type: ignore[arg-type]
    for wrong in (True, "2", 2.5, None):
        with pytest.raises((TypeError, ValueError), match="needs `index` to be a whole number"):
            correct(folder, wrong, 0)  # type: ignore[arg-type]
        with pytest.raises((TypeError, ValueError), match="needs `index` to be a whole number"):
            give_back(folder, wrong)  # type: ignore[arg-type]
    after = Program(tmp_path).fit()
    assert (after.data.pool.labels[indices[0]], after.active.history[1].given_back) == (1, [indices[1]])
    for refused in (2.5, "2"):
        with pytest.raises((TypeError, ValueError), match="needs `index` to be a whole number"):
            after.data.pool.correct(refused, 0)  # type: ignore[arg-type]


def test_a_checkpoint_from_before_a_correction_is_refused(tmp_path: Path) -> None:
    Program(tmp_path, rounds_per_fit=1).fit()
    second = Program(tmp_path, rounds_per_fit=1)
    second.trainer.callbacks.append(pl.callbacks.ModelCheckpoint(tmp_path / "checkpoints"))
    second.fit()
    [path] = (tmp_path / "checkpoints" / "round-1").glob("*.ckpt")
    correct(tmp_path / "run", 2, 1)
    third = Program(tmp_path)
    with pytest.raises(ValueError, match=r"saved pool has other labels than this one, 1 of .* Leave out `ckpt_path`"):
        third.fit(ckpt_path=path)


@pytest.mark.parametrize("label", [99, float("nan"), "cat"])
def test_an_error_of_a_fit_by_a_label_names_the_round_and_the_command(tmp_path: Path, label: Any) -> None:
    Program(tmp_path, rounds_per_fit=1).fit()
    folder = tmp_path / "run"
    journal = Journal(folder)
    round = journal.history[0]
    labels = {**journal.labels[0], round.indices[2]: label}
    journal.take_back()
    journal.append(round, labels)
    journal.close()
    index = round.indices[2]
    with pytest.raises(Exception, match=rf"index {index}, asked in round 0: the label .*") as raised:
        Program(tmp_path).fit()
    [note] = raised.value.__notes__
    remedy = (
        f"`lightning-al-journal correct {folder} {index} LABEL` or `lightning-al-journal give-back {folder} {index}`"
    )
    assert remedy in note
    assert main(["correct", str(folder), str(index), str(index % CLASSES)]) == 0
    assert Program(tmp_path).fit().active.done


def test_an_error_that_comes_from_no_label_says_nothing_of_labels(tmp_path: Path) -> None:
    def broken(indices: list[int]) -> dict[int, int]:
        if len(seen) == 1:
            raise OSError("the service is down")
        seen.append(1)
        return right(indices)

    seen: list[int] = []
    with pytest.raises(OSError, match="service is down") as raised:
        Program(tmp_path, oracle=broken).fit()
    assert getattr(raised.value, "__notes__", []) == []


def test_an_answer_of_an_open_query_is_corrected_and_not_given_back(tmp_path: Path) -> None:
    Program(tmp_path, oracle=lambda indices: right(indices[1:])).fit()
    index = next(iter(Journal.read(tmp_path / "run").query.answers))  # type: ignore[union-attr]
    correct(tmp_path / "run", index, (index + 1) % CLASSES)
    with pytest.raises(ValueError, match="belongs to a query that is not fully answered, so it cannot be given back"):
        give_back(tmp_path / "run", index)
    program = Program(tmp_path).fit()
    assert program.data.pool.labels[index] == (index + 1) % CLASSES


def test_the_last_labelled_point_is_not_given_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin({"seed": 0, "initial": [4]})
    journal.close()
    with pytest.raises(ValueError, match="is the only labelled point, so there would be nothing to train on"):
        give_back(tmp_path, 4)
    with pytest.raises(ValueError, match=r"`Pool.give_back` got index 4, the only labelled point.*Label another"):
        Pool(5, [4]).give_back(4)


# The pool by itself.


def test_the_pool_remembers_what_was_changed() -> None:
    pool = Pool(6, [0, 1])
    pool.label([5, 3], {5: 2})
    pool.correct(5, 1)
    pool.give_back(1)
    pool.give_back(3)
    assert (pool.initial, pool.rounds, pool.labelled) == ([0, 1], [[0], [5]], [0, 5])
    assert (pool.unlabelled, pool.labels, pool.num_given_back) == ([1, 2, 3, 4], {5: 1}, 2)
    pool.label([3], {3: 0})
    pool.correct(5, None)
    assert (pool.rounds, pool.labels) == ([[0], [5], [3]], {3: 0})
    fresh = Pool(6, [0, 1])
    fresh.load_state_dict(pool.state_dict())
    assert fresh.state_dict() == pool.state_dict()
    assert [change.after for change in fresh.changes] == [1, 1, 1, 2]
    for index in (1, 4, -1, 6):
        for change in (lambda index: pool.correct(index, 1), pool.give_back):
            with pytest.raises(
                ValueError, match=rf"only change the labels of labelled points, but got index {index}. Pass"
            ):
                change(index)
    old = Pool(6, [0, 1])
    old.label([5, 3], {5: 2})
    with pytest.raises(ValueError, match="saved pool has other labels than this one, 4 of which were corrected"):
        pool.load_state_dict(old.state_dict())


# The command.


ROUNDS = [
    Round(0, 2, [7, 4], [0.5, 0.25]),
    Round(1, 4, [9], [0.125]),
    Round(2, 5, [], []),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my run"
    journal = Journal(folder)
    header = {"acquisition": "BALD()", "seed": 3, "initial": [5, 1], "data": {"labels": [0, 1, None]}}
    journal.begin({**header, "classes": {"numbers": {"ash": 0, "=beech": 1}, "allowed": [0, 1]}})
    for round, labels in zip(ROUNDS, [{7: 1, 4: None}, {9: 0}, {}], strict=True):
        journal.append(round, labels)
    journal.close()
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(list(map(str, arguments))) == 2
    found = capsys.readouterr()
    assert found.out == ""
    [line] = found.err.splitlines()
    return line.removeprefix("lightning-al-journal: ")


def test_the_command_corrects_and_gives_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the label of 7 was 1, and is ash. Start the run again" in said(capsys, "correct", folder, 7, "ash")
    assert "the label of 5 was the dataset's own, and is 1" in said(capsys, "correct", folder, 5, 1)
    assert "the label of 7 was 0, and is other: a yew" in said(capsys, "correct", folder, 7, "other: a yew")
    assert "the label of 7 was other: a yew, and is unusable" in said(capsys, "correct", folder, 7, "unusable")
    assert "the label of 7 was unusable, and is null" in said(capsys, "correct", folder, 7, "null")
    back = said(capsys, "give-back", folder, 4, 9).splitlines()
    assert [line.split(": ")[1].split(";")[0] for line in back] == ["4 is in the pool again", "9 is in the pool again"]
    found = [(one.index, one.label, one.given, one.state) for one in recorded_labels(Journal.read(folder))]
    assert found == [
        (5, 1, None, "corrected"),
        (1, None, None, "given"),
        (7, None, 1, "corrected"),
        (4, None, None, "given back"),
        (9, None, 0, "given back"),
    ]
    shown = said(capsys, "show", folder)
    assert "BALD(), seed 3, 2 rounds" in shown
    assert "before round 0: 5 (1 =beech, first the dataset's own), 1 (the dataset's own)" in shown
    assert "round 0, fitted with 2 labels: asked 7 (the dataset's own, first 1 =beech), 4 (given back" in shown
    assert "after 2 queries: 7 was corrected to 0 ash" in shown
    assert "after 2 queries: 9 was given back" in shown


def test_where_names_are_numbers_a_label_is_a_name_and_never_a_class_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path)
    journal.begin({"seed": 3, "initial": [5], "classes": {"numbers": {"1": 0, "2": 1, "3": 2}, "allowed": [0, 1, 2]}})
    journal.append(Round(0, 1, [7], [0.5]), {7: 2})
    journal.close()
    for text, number in {"1": 0, "1.0": 0, " 3 ": 2, "2,0": 1}.items():
        said(capsys, "correct", tmp_path, 7, text)
        assert recorded_labels(Journal.read(tmp_path))[-1].label == number
    for text in ("0", "0.0", "4", "1.5"):
        line = refused(capsys, "correct", tmp_path, 7, text)
        assert f"the label '{text}' is not the name of a class" in line
    assert recorded_labels(Journal.read(tmp_path))[-1].label == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([f"photos/{number}.png" for number in range(10)], ["photos/7.png", "9", "index:4"]),
        ([f"{number}" for number in range(100, 110)], ["107", "key:109", "4"]),
        ([*range(10)], ["7", "key:9", "index:4"]),
        (["5", "index:7", "key:1", *map(str, range(20, 24)), "4", "9", "7"], ["index:9", "4.5"]),
    ],
    ids=["paths", "numbers that are no index", "numbers that are their own index", "numbers of others"],
)
def test_a_point_is_named_by_its_key_too(
    folder: Path, capsys: pytest.CaptureFixture[str], keys: list[str | int], words: list[str]
) -> None:
    journal = Journal(folder)
    journal.save_keys(keys)
    journal.close()
    if "4.5" in words:  # a name that means two points, or none, changes nothing
        before = state(folder)
        for action in (["correct", "4", "ash"], ["give-back", "4"]):
            line = refused(capsys, action[0], folder, *action[1:])
            assert "4 is the index of one point of the run in" in line
            assert "the key of another. Write index:4 or key:4" in line
        assert "'4.5' came where an index or the key of an item" in refused(capsys, "give-back", folder, "4.5")
        assert "'key:5x'" in refused(capsys, "correct", folder, "key:5x", "ash")
        assert state(folder) == before
        assert "the label of 7 (4) was 1, and is ash" in said(capsys, "correct", folder, "key:4", "ash")
        assert "the label of 1 (index:7) was" in said(capsys, "correct", folder, "index:7", "ash")
        return
    told = said(capsys, "correct", folder, words[0], "ash", words[1], "=beech")
    assert f"the label of 7 ({keys[7]}) was 1, and is ash" in told
    assert f"the label of 9 ({keys[9]}) was 0, and is =beech" in told
    assert f"4 ({keys[4]}) is in the pool again" in said(capsys, "give-back", folder, words[2])
    assert [change.index for change in Journal.read(folder).changes] == [7, 9, 4]


def state(folder: Path) -> list[Any]:
    return [Journal.read(folder).changes, [(one.index, one.state) for one in recorded_labels(Journal.read(folder))]]


WRONG_OF_SEVERAL: dict[str, tuple[list[Any], list[str]]] = {
    "no label": (
        ["give-back", 7, 12345, 9, 88],
        ["Index 12345 in", "Index 88 in", "12345, 88"],
    ),
    "twice": (
        ["give-back", 7, 9, 7],
        ["Index 7 in .* was named twice. Name it once", "None of the 3 labels"],
    ),
    "all of them": (["give-back", 5, 1, 7, 4, 9], ["Index 9 in .* is the only labelled point", "None of the 5 labels"]),
    "wrong labels": (
        ["correct", 7, "ash", 9, "oak", 4, 17],
        ["index 9 in .*oak", "index 4 in .*17"],
    ),
    "no points": (["correct", 7, "ash", 9, 0, 99, 1], ["Index 99 in .* has no label", "None of the 3 labels in"]),
    "no label given": (["correct", 7, "ash", 9], ["`correct` got the point 9 without a label. Give a label after"]),
    "no index": (
        ["correct", 7, "ash", "nine", 0],
        ["'nine' came where an index of the run in .* is expected"],
    ),
    "two labels": (["correct", 7, "ash", 7, 1], ["`correct` got two labels for the index 7. Give one for each"]),
}


@pytest.mark.parametrize("name", WRONG_OF_SEVERAL)
def test_of_several_changes_either_all_are_made_or_none(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (action, *words), reasons = WRONG_OF_SEVERAL[name]
    before = state(folder)
    line = refused(capsys, action, folder, *words)
    for reason in reasons:
        assert re.search(reason, line), line
    assert state(folder) == before


def test_several_labels_are_corrected_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "correct", folder, 7, "ash", 5, 1, 9, "null").splitlines()
    assert len(told) == 3
    assert "the label of 9 was 0, and is null" in told[2]
    changes = [(change.index, change.label) for change in Journal.read(folder).changes]
    assert changes == [(7, 0), (5, 1), (9, None)]
    assert give_back_all(folder, [7, 5])[1].label == 1


def test_several_changes_stand_in_the_journal_together_or_not_at_all(folder: Path) -> None:
    """Every write of the database ends before or after all of them."""
    journal = Journal(folder)
    with pytest.raises(TypeError):
        journal.change(Change(7, 0), Change(9, object()))  # type: ignore[arg-type]
    assert journal.records.changes == []
    journal.close()
    assert Journal.read(folder).changes == []
    journal = Journal(folder)
    journal.change(Change(7, 0), Change(9, 1))
    journal.close()
    assert len(Journal.read(folder).changes) == 2


def test_of_several_points_the_pool_gives_back_all_or_none() -> None:
    pool = Pool(9, initial=[3, 4, 5])
    for wrong in ([3, 8], [3, 3], [3, 4, 5], [3, 10**6, -1]):
        with pytest.raises(ValueError, match=r"`Pool.give_back` changed nothing: of \[3, .*leave one labelled"):
            pool.give_back(*wrong)
        assert (pool.labelled, pool.changes) == ([3, 4, 5], [])
    pool.give_back(3, 5)
    assert pool.labelled == [4]


def test_the_command_exports_csv(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "correct", folder, 9, "=beech")
    printed = said(capsys, "export", folder)
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["index"] for row in rows] == ["5", "1", "7", "4", "9"]
    assert rows[-1] == {
        "key": "9",
        "index": "9",
        "label": "1",
        "class": "'=beech",  # no formula
        "state": "corrected",
        "round": "1",
        "note": "",
        "audit": "",
        "who": "",
        "seconds": "",
        "score": "0.125",
        "first_label": "0",
    }
    assert f"5 labels of {folder}" in said(capsys, "export", folder, "--out", tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_bytes() == printed.encode()


def test_an_export_takes_the_place_of_no_file_of_a_run_and_of_no_device(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Journal.read(folder)
    assert "a file that a run keeps" in refused(capsys, "export", folder, "--out", folder / "journal.sqlite")
    assert Journal.read(folder) == before
    os.mkfifo(tmp_path / "pipe")  # as /dev/null is a device
    assert "pipe is a pipe. Name a file" in refused(capsys, "export", folder, "--out", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    assert "is a folder. Name a file" in refused(capsys, "export", folder, "--out", folder)


def test_the_command_refuses_in_a_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Journal.read(folder)
    assert "the label 2 is not one of the class numbers 0, 1. Give" in refused(capsys, "correct", folder, 7, 2)
    assert "is not the name of a class; the closest is 'ash'" in refused(capsys, "correct", folder, 7, "ask")
    assert "Index 8 in" in refused(capsys, "correct", folder, 8, 1)
    assert "Index -1 in" in refused(capsys, "give-back", folder, -1)
    for action in (["show"], ["export"], ["repair"], ["give-back", "7"], ["correct", "7", "1"]):
        name, *rest = action
        assert "There is no run in" in refused(capsys, name, tmp_path, *rest)
    journal = Journal(folder)
    for action in (["show"], ["correct", "7", "1"]):
        name, *rest = action
        assert "Another process is writing to the run folder" in refused(capsys, name, folder, *rest)
    journal.close()
    assert Journal.read(folder) == before
    database = sqlite3.connect(folder / "journal.sqlite")
    with database:
        database.execute("UPDATE rows SET hash = 'ab' WHERE number = 2")
    database.close()
    for action in (["show"], ["export"], ["give-back", "7"], ["correct", "7", "1"]):
        name, *rest = action
        assert f"run `lightning-al-journal repair '{folder}'`" in refused(capsys, name, folder, *rest)
    assert (
        said(capsys, "repair", folder) == f"{folder}: the journal is good up to round 0. Start the run again on it.\n"
    )
    assert Journal.read(folder).history[0] == ROUNDS[0]


def test_help_answers_before_torch_is_imported() -> None:
    code = (
        "import sys\nfrom lightning_al.cli.journal import main\n"
        "for action in ([], ['correct'], ['give-back']):\n"
        "    try:\n        main([*action, '--help'])\n    except SystemExit as ended:\n        assert not ended.code\n"
        "    print('end of the help')\n"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole, *of_actions, rest = found.stdout.split("end of the help\n")
    assert rest == ""
    for action in ("show", "correct", "give-back", "export", "repair"):
        assert re.search(rf"^    {action}\b", whole, re.MULTILINE)
    assert len(of_actions) == 2
    assert all("POINT" in said for said in of_actions)
