"""The journal: what it wrote is there again, whole, or refused."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.journal_database import TABLE
from lightning_al.run.records import replay
from lightning_al.run.sqlite_errors import explained
from lightning_al.run.weights_file import load_weights
from tests.support import programs

HEADER = {"seed": 3, "initial": [5, 1]}
ROUNDS = [
    Round(0, 2, [7, 4], [0.5, 0.25], {0: 1, 1: 1}, {"acc": 0.1 + 0.2}, {"fit": 1.5}, 20, 16),
    Round(1, 4, [9], [1e-9], None, {"acc": 0.75}, {"fit": 2.5}, 20, 16, "posterior"),
    Round(2, 5, [], [], {0: 3, 1: 2}),
]
LABELS = [{7: 1, 4: None}, {9: [0.5, 0.5]}, {}]


def write(folder: Path, rounds: int = 3) -> None:
    journal = Journal(folder)
    journal.begin(HEADER)
    for round, labels in zip(ROUNDS[:rounds], LABELS[:rounds], strict=True):
        journal.append(round, labels)
    journal.close()


def execute(folder: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(folder / "journal.sqlite")
    with database:
        database.execute(statement, values)
    database.close()


def test_what_was_written_is_there_when_opened_again(tmp_path: Path) -> None:
    write(tmp_path)
    journal = Journal(tmp_path)
    assert journal.header == {"schema": 2, **HEADER}
    assert list(journal.history) == ROUNDS
    assert journal.labels == LABELS
    journal.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    write(tmp_path, rounds=1)
    journal = Journal(tmp_path)
    journal.append(ROUNDS[1], LABELS[1])
    assert list(journal.history) == ROUNDS[:2]
    journal.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:2]


def test_a_new_folder_holds_nothing_yet(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "b")
    assert journal.header is None
    assert len(journal.history) == 0
    assert journal.labels == []
    journal.close()


def test_rounds_come_in_order_after_one_beginning(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(RuntimeError, match=r"has not begun. Call `Journal.begin` first"):
        journal.append(ROUNDS[0], {})
    journal.begin(HEADER)
    with pytest.raises(RuntimeError, match="has begun already"):
        journal.begin(HEADER)
    with pytest.raises(RuntimeError, match=r"expected round 0 of the run in .* but got round 1"):
        journal.append(ROUNDS[1], {})
    journal.append(ROUNDS[0], {})
    with pytest.raises(RuntimeError, match=r"expected round 1 of the run in .* but got round 0"):
        journal.append(ROUNDS[0], {})
    journal.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:1]


def test_what_cannot_be_written_leaves_the_rows_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(HEADER)
    with pytest.raises(TypeError, match="not JSON serializable"):
        journal.append(ROUNDS[0], {7: object()})
    journal.append(ROUNDS[0], LABELS[0])
    journal.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:1]


@pytest.mark.parametrize(
    ("row", "last_good"),
    [
        (0, "no round is good"),
        (1, "no round is good"),
        (2, "the last good round is 0"),
        (3, "the last good round is 1"),
    ],
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda folder, row: execute(folder, "UPDATE rows SET body = replace(body, ':', ': ') WHERE number = ?", row),
        lambda folder, row: execute(
            folder, "UPDATE rows SET body = substr(body, 1, length(body) / 2) WHERE number = ?", row
        ),
        lambda folder, row: execute(folder, "UPDATE rows SET hash = 'ab' || substr(hash, 3) WHERE number = ?", row),
        lambda folder, row: execute(folder, "UPDATE rows SET number = number + 100 WHERE number = ?", row),
    ],
    ids=["altered", "cut", "other hash", "other number"],
)
def test_a_damaged_row_is_refused_naming_the_last_good_round(
    tmp_path: Path, damage: Callable[[Path, int], None], row: int, last_good: str
) -> None:
    write(tmp_path)
    damage(tmp_path, row)
    for read in (Journal, Journal.read_history):
        with pytest.raises(RuntimeError, match=f"is damaged at row {row}; {last_good}. (To resume|Put back)"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("row", "last_good"),
    [
        (0, "no round is good"),
        (1, "no round is good"),
        (2, "the last good round is 0"),
        (3, "the last good round is 1"),
    ],
)
def test_a_missing_row_is_refused_naming_the_last_good_round(tmp_path: Path, row: int, last_good: str) -> None:
    write(tmp_path)
    execute(tmp_path, "DELETE FROM rows WHERE number = ?", row)
    with pytest.raises(RuntimeError, match=f"is damaged at row {row}; {last_good}"):
        Journal(tmp_path)


def test_a_database_with_more_in_it_than_the_rows_is_refused_and_salvaged(tmp_path: Path) -> None:
    write(tmp_path)
    execute(tmp_path, "CREATE TRIGGER other AFTER INSERT ON rows BEGIN DELETE FROM rows WHERE number = 0; END")
    with pytest.raises(RuntimeError, match="is damaged at row 4; the last good round is 2"):
        Journal(tmp_path)
    assert Journal.salvage(tmp_path) == 3
    assert list(Journal.read_history(tmp_path)) == ROUNDS


def test_rows_of_another_run_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "one")
    journal = Journal(tmp_path / "other")
    journal.begin({"seed": 4})
    journal.append(ROUNDS[0], LABELS[0])
    journal.close()
    execute(tmp_path / "one", "DELETE FROM rows WHERE number = 1")
    database = sqlite3.connect(tmp_path / "one" / "journal.sqlite")
    database.execute("ATTACH ? AS other", [str(tmp_path / "other" / "journal.sqlite")])
    with database:
        database.execute("INSERT INTO rows SELECT * FROM other.rows WHERE number = 1")
    database.close()
    with pytest.raises(RuntimeError, match="is damaged at row 1; no round is good"):
        Journal(tmp_path / "one")


@pytest.mark.parametrize("keep", [0.5, 0.0], ids=["cut in half", "not a database"])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: float) -> None:
    write(tmp_path)
    path = tmp_path / "journal.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if keep else b"no database " * 1000)
    for read in (Journal, Journal.read_history):
        with pytest.raises(RuntimeError, match=r"is damaged.*Put back a copy of journal.sqlite"):
            read(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin({"schema": 99})
    journal.close()
    with pytest.raises(RuntimeError, match="has schema 99, but this version of lightning_al reads schemas up to 2"):
        Journal(tmp_path)


def test_any_number_may_read_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM rows").fetchone()
    assert list(Journal.read_history(tmp_path)) == ROUNDS
    reader.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_a_run_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no run in .* it has no journal.sqlite"):
        Journal.read_history(tmp_path)
    assert list(tmp_path.iterdir()) == []


def lines(folder: Path) -> list[Round]:
    return [Round.from_dict(json.loads(line)) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_the_lines_for_people_equal_the_rows_after_each_round(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(HEADER)
    for number, (round, labels) in enumerate(zip(ROUNDS, LABELS, strict=True)):
        journal.append(round, labels)
        assert lines(tmp_path) == ROUNDS[: number + 1] == list(journal.history)
    journal.close()


def test_the_lines_for_people_are_made_good_when_the_folder_is_opened(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "history.jsonl").write_text("not what was written")
    Journal(tmp_path).close()
    assert lines(tmp_path) == ROUNDS


def test_weights_are_saved_and_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    weights = {"a": torch.tensor([1.5, -0.25]), "b": torch.tensor(3)}
    journal.save_weights("initial", weights)
    loaded = load_weights(tmp_path, "initial")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    journal.remove_weights("initial")
    journal.remove_weights("initial")
    assert not (tmp_path / "initial.pt").exists()
    (tmp_path / "initial.pt").mkdir()
    with pytest.raises(RuntimeError, match=rf"The run folder {tmp_path} could not be written: .*Is a directory"):
        journal.remove_weights("initial")
    journal.close()


def test_a_round_can_be_taken_back_and_no_more_than_there_are(tmp_path: Path) -> None:
    write(tmp_path, rounds=2)
    journal = Journal(tmp_path)
    journal.take_back()
    assert list(journal.history) == lines(tmp_path) == ROUNDS[:1]
    journal.append(ROUNDS[1], LABELS[1])
    journal.take_back()
    journal.take_back()
    with pytest.raises(RuntimeError, match=r"`Journal.take_back`: the run in .* has no round to take back"):
        journal.take_back()
    assert (journal.header, list(journal.history), lines(tmp_path)) == ({"schema": 2, **HEADER}, [], [])
    journal.close()
    assert list(Journal.read_history(tmp_path)) == []


def test_an_empty_database_is_refused_where_a_run_had_begun(tmp_path: Path) -> None:
    write(tmp_path, rounds=0)
    (tmp_path / "journal.sqlite").write_bytes(b"")
    for read in (Journal, Journal.read_history):
        with pytest.raises(RuntimeError, match=r"is damaged at row 0; no round is good. Put back"):
            read(tmp_path)


@pytest.mark.parametrize(("place", "num_good"), [(18, 3), (19, None)], ids=["to write", "to read"])
def test_a_header_that_forbids_is_damage_and_not_a_folder_to_make_writable(
    tmp_path: Path, place: int, num_good: int | None
) -> None:
    write(tmp_path)
    path = tmp_path / "journal.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:place] + b"\3" + content[place + 1 :])
    with pytest.raises(RuntimeError, match=r"is damaged at row \d; "):
        Journal(tmp_path)
    if num_good is None:
        with pytest.raises(RuntimeError, match="No row of the journal"):
            Journal.salvage(tmp_path)
    else:
        assert Journal.salvage(tmp_path) == num_good
        assert list(Journal.read_history(tmp_path)) == ROUNDS[:num_good]


def test_salvage_keeps_the_good_rounds_and_the_damaged_file(tmp_path: Path) -> None:
    write(tmp_path)
    for number in range(2):
        execute(tmp_path, "UPDATE rows SET hash = 'ab' WHERE number = 2")
        damaged = (tmp_path / "journal.sqlite").read_bytes()
        assert Journal.salvage(tmp_path) == 1
        assert (tmp_path / f"damaged-{number}.sqlite").read_bytes() == damaged
        journal = Journal(tmp_path)
        assert (journal.header, list(journal.history), journal.labels) == (
            {"schema": 2, **HEADER},
            ROUNDS[:1],
            LABELS[:1],
        )
        journal.append(ROUNDS[1], LABELS[1])
        journal.append(ROUNDS[2], LABELS[2])
        journal.close()
        assert list(Journal.read_history(tmp_path)) == ROUNDS


def test_salvage_leaves_a_whole_journal_alone(tmp_path: Path) -> None:
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert Journal.salvage(tmp_path) == 3
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_salvage_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no run in .* it has no journal.sqlite"):
        Journal.salvage(tmp_path)
    journal = Journal(tmp_path)
    with pytest.raises(RuntimeError, match=rf"writing to the run folder {tmp_path}: process {os.getpid()} on "):
        Journal.salvage(tmp_path)
    journal.close()
    (tmp_path / "journal.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(RuntimeError, match=r"No row of the journal in .* can be read. Put back a copy"):
        Journal.salvage(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite"]


def test_the_command_that_a_refusal_names_salvages(tmp_path: Path) -> None:
    write(tmp_path)
    execute(tmp_path, "UPDATE rows SET hash = 'ab' WHERE number = 3")
    with pytest.raises(RuntimeError) as refusal:
        Journal(tmp_path)
    command = str(refusal.value).split("`")[1].split()
    assert command == ["lightning-al-journal", "repair", str(tmp_path)]
    done = programs.run("-m", "lightning_al.cli.journal", *command[1:])
    assert done.stdout == f"{tmp_path}: the journal is good up to round 1. Start the run again on it.\n"
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:2]


def test_after_a_write_that_failed_the_journal_takes_no_more(tmp_path: Path) -> None:
    write(tmp_path, rounds=1)
    journal = Journal(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    (tmp_path / "history.jsonl").mkdir()  # which a file cannot take the place of
    with pytest.raises(RuntimeError, match=rf"{tmp_path} could not be written: .*Is a directory.* Make room there, or"):
        journal.append(ROUNDS[1], LABELS[1])
    (tmp_path / "history.jsonl").rmdir()
    for change in (lambda: journal.append(ROUNDS[1], LABELS[1]), journal.take_back):
        with pytest.raises(RuntimeError, match=r"failed before.* Start the run again on the folder"):
            change()
    journal.close()
    again = Journal(tmp_path)
    assert list(again.history) == lines(tmp_path) == ROUNDS[:2]
    again.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run' cannot be a run's folder: .*file is no folder\. Choose another folder"):
        Journal(tmp_path / "file" / "run")


def test_damage_that_is_found_late_is_named(tmp_path: Path) -> None:
    words = rf"in {tmp_path} is damaged: malformed. To see how much of it is good"
    with pytest.raises(RuntimeError, match=words), explained(tmp_path):
        raise sqlite3.DatabaseError("malformed")
    cut = sqlite3.OperationalError("disk I/O error")
    cut.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHORT_READ
    with pytest.raises(RuntimeError, match="is damaged: disk I/O error"), explained(tmp_path):
        raise cut


def test_weights_that_are_missing_or_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"needs initial.pt, which is not there. Put back a copy of"):
        load_weights(tmp_path, "initial")
    (tmp_path / "initial.pt").mkdir()
    with pytest.raises(
        RuntimeError, match=r"initial.pt could not be read: .* a folder, .* Make it readable\. Put back"
    ):
        load_weights(tmp_path, "initial")


def test_what_a_killed_writer_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    ours = [".journal.sqlite.part", ".journal.sqlite.part-journal", ".history.jsonl.part", ".writer.json.part"]
    for name in (*ours, ".warm-3.pt.part", ".initial.pt.0123456789abcdef.part", ".mine.pt.part"):
        (tmp_path / name).write_text("half")
    Journal(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.pt.part", "history.jsonl", "journal.sqlite"]


def test_what_was_left_behind_and_cannot_be_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / ".warm-3.pt.part").mkdir()
    with pytest.raises(RuntimeError, match=rf"The run folder {tmp_path} could not be written: .*\.warm-3\.pt\.part"):
        Journal(tmp_path)


@pytest.mark.parametrize(
    "content", ["", *(pytest.param(text, marks=pytest.mark.long) for text in ("[]", "{}", "no json"))]
)
def test_a_writer_that_is_not_known_is_not_named(tmp_path: Path, content: str) -> None:
    journal = Journal(tmp_path)
    (tmp_path / "writer.json").write_text(content)
    with pytest.raises(RuntimeError, match=rf"to the run folder {tmp_path}. Wait until it ends"):
        Journal.read_history(tmp_path)
    journal.close()


class OnAFullDisk(sqlite3.Connection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA max_page_count = 2")


def test_a_full_disk_is_named_and_what_was_there_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, rounds=1)
    journal = Journal(tmp_path)
    long = Round(1, 4, list(range(5000)), [0.5] * 5000)
    words = rf"{tmp_path} could not be written: database or disk is full. .*Make room"
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=OnAFullDisk))
        with pytest.raises(RuntimeError, match=words):
            journal.append(long, {})
    journal.close()
    again = Journal(tmp_path)
    assert list(again.history) == ROUNDS[:1]
    again.append(long, {})
    again.close()
    assert list(Journal.read_history(tmp_path)) == [ROUNDS[0], long]


# Folders of schema 1.


def write_schema_1(folder: Path, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a journal as version 0.1.0 did, with two rounds and what is said to come after."""
    rounds = [
        {"round": round.to_dict(), "labels": {str(index): label for index, label in labels.items()}}
        for round, labels in zip(ROUNDS[:2], LABELS[:2], strict=True)
    ]
    bodies = [{"schema": 1, **HEADER}, *rounds, *more]
    folder.mkdir(exist_ok=True)
    previous = ""
    database = sqlite3.connect(folder / "journal.sqlite")
    with database:
        database.execute(TABLE)
        for number, body in enumerate(bodies):
            text = json.dumps(body)
            previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
            database.execute("INSERT INTO rows VALUES (?, ?, ?)", (number, text, previous))
        database.execute(f"PRAGMA user_version = {len(bodies)}")
    database.close()
    return bodies


def rows_in(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM rows ORDER BY number").fetchall()


OPEN = {
    "answers": {"3": 1},
    "query": {"number": 2, "indices": [3, 12], "scores": [0.25, 0.125], "num_outputs": 3},
}


def test_a_folder_of_schema_1_is_read_as_it_is_and_rewritten_where_it_is_written_to(tmp_path: Path) -> None:
    write_schema_1(tmp_path, OPEN, {"answers": {"12": 0}})
    before = rows_in(tmp_path / "journal.sqlite")
    read = Journal.read(tmp_path)
    assert rows_in(tmp_path / "journal.sqlite") == before
    assert not list(tmp_path.glob("schema-1-*"))

    journal = Journal(tmp_path)
    assert rows_in(tmp_path / "schema-1-0.sqlite") == before
    run_id = hashlib.sha256(f"\n{json.dumps({'schema': 1, **HEADER})}".encode()).hexdigest()
    assert journal.header == {"schema": 2, **HEADER, "id": run_id}
    assert journal.run_id == run_id, "its checkpoints are known by it"
    assert list(journal.history) == ROUNDS[:2]
    assert journal.labels == LABELS[:2]
    assert journal.records == replace(read, header=journal.header)
    assert read.query is not None
    assert read.query.answers == {3: 1, 12: 0}
    assert not read.query.is_of_a_fit, "its fit is repeated"
    journal.append(Round(2, labelled=9, indices=[3, 12], scores=[0.25, 0.125]), {3: 1, 12: 0})
    journal.close()
    assert len(Journal.read_history(tmp_path)) == 3
    Journal(tmp_path).close()
    assert [path.name for path in tmp_path.glob("schema-1-*")] == ["schema-1-0.sqlite"], "once"


@pytest.mark.parametrize("point", ["link", "replace"])
def test_a_folder_whose_rewriting_was_cut_off_is_rewritten_by_the_next_start(tmp_path: Path, point: str) -> None:
    write_schema_1(tmp_path)
    before = rows_in(tmp_path / "journal.sqlite")
    script = (
        "import os, pathlib, signal, sys\n"
        "from lightning_al.run.journal import Journal\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{'os.link' if point == 'link' else 'pathlib.Path.replace'} = die\n"
        f"Journal({str(tmp_path)!r})\n"
    )
    killed = programs.run("-c", script, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows_in(tmp_path / "journal.sqlite") == before
    journal = Journal(tmp_path)
    assert list(journal.history) == ROUNDS[:2]
    journal.close()
    assert all(rows_in(path) == before for path in tmp_path.glob("schema-1-*.sqlite"))
    assert list(tmp_path.glob("schema-1-*.sqlite"))
    assert not list(tmp_path.glob(".*.part"))


def test_each_answer_to_a_large_query_is_read_in_the_same_time() -> None:
    points = list(range(8000))
    query = {"number": -1, "indices": points, "scores": []}
    bodies = [{"initial": points}, {"query": query}, *({"answers": {str(index): 1}} for index in points)]
    began = time.process_time()
    assert replay(bodies).initial == dict.fromkeys(points, 1)
    assert time.process_time() - began < 1.5, "a tenth of it is enough, but not if each reads all points again"


def test_an_answer_needs_a_query(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin(HEADER)
    with pytest.raises(RuntimeError, match=r"has no open query. Call `Journal.ask` first"):
        journal.answer({3: 1})
    journal.close()
