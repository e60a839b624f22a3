"""The truth about a run on disk: what it is, and what each of its rounds did."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import secrets
import shlex
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lightning_al.run.files import (
    LARGEST_JOURNAL,
    LARGEST_ROW,
    LARGEST_WEIGHTS,
    check_plain,
    open_plain,
    parse_json,
    parts_in,
    replacing,
    sync,
)
from lightning_al.run.folder import OF_COMMAND, OF_JOURNAL, OF_LOCK, check_files, check_is_a_run, member_name
from lightning_al.run.folder_name import check_can_be_folder
from lightning_al.run.hard_links import break_link
from lightning_al.run.history import History, Round
from lightning_al.run.hostile_database import check_database, has_program
from lightning_al.run.inert import is_in_usual_form
from lightning_al.run.journal_rows import check_types
from lightning_al.run.labels import Change, Label
from lightning_al.run.lock import WRITER, InUseError, RunLock, holding, reading
from lightning_al.run.records import OpenQuery, Records, replay, upgraded
from lightning_al.run.stopping import held_back

SCHEMA = 2

READ = (1, 2)
"""The schemas that are read. A folder of an earlier one is rewritten as a whole when it is opened for writing."""

NAME = "journal.sqlite"

TABLE = "CREATE TABLE rows (number INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL)"

DURABLE = "PRAGMA synchronous=EXTRA"
"""What is committed is on disk, and so is that SQLite's rollback journal is removed."""

DIGEST_BYTES = 32

UNWRITABLE = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_TOOBIG,
}
"""What SQLite reports where the file system does not let it write."""

PATIENCE = 30.0
"""How many seconds a run waits for programs other than this library that read its database."""

LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises: the second where a message of its own quotes damaged bytes."""

UNWRITTEN = (ValueError, LookupError, TypeError, AttributeError)
"""What rows raise that no run writes."""

COMMAND = "lightning-al-journal"

PUT_BACK = f"Put back a copy of {NAME} and the files beside it from before, or begin again in another folder."


def command(action: str, folder: str | os.PathLike[str], *arguments: object) -> str:
    """Return the command line that does something to the journal of a folder.

    >>> command("correct", "my runs/1", 14, 2)
    "lightning-al-journal correct 'my runs/1' 14 2"
    """
    return shlex.join([COMMAND, action, os.fspath(folder), *map(str, arguments)])


class Journal:
    """Keep a run's rows in a folder, each written whole or not at all.

    The rows lie in ``journal.sqlite`` (SQLite's rollback journal, synchronous=EXTRA): first the header, then one row a
    round, and between these each query before people are asked, what they answered so far, what was changed of labels
    and which fits were done of a round that takes several (see `lightning_al.run.records`).
    No row is ever altered or removed. Each carries a hash of itself and the row before, and the database's
    `user_version` is their number, so that a row that is altered, missing or left out is noticed. Weights lie beside
    it, each file with a hash of its own. ``history.jsonl`` holds the same rounds for people to read, and is written
    anew from the rows; ``writer.json`` says who wrote last. While the journal is open, ``writer.lock`` is locked (see
    `RunLock`). Network file systems are not supported, since locks are not reliable there.

    Before each change the database is held against the rows that this journal wrote. Where the folder was moved, or
    the database deleted, replaced or damaged, the run is written to a new folder beside its own, the change too, and
    then an error says so: nothing is written into what is not this run's, and no label is lost.

    Args:
        folder: The run's folder, made where it is missing. A relative one is that of the current directory now.

    Attributes:
        folder: The run's folder, absolute: the new one where the run lost its own.
        records: All that the rows say.
        weights_at_hand: Returns the weights, by name, that the run needs in a new folder where it loses its own.

    Raises:
        InUseError: If another process writes to the folder: a `RuntimeError`.
        RuntimeError: If a row is damaged, or if the folder cannot be written.
        ValueError: If there can be no such folder, if a link, a pipe or the like lies where the journal keeps a file,
            if a file is absurdly large, or if the folder has files that a run would overwrite but no journal.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(folder)
    ...     journal.begin({"seed": 0})
    ...     journal.append(Round(0, labelled=20, indices=[7], scores=[0.5]), labels={})
    ...     journal.close()
    ...     Journal.read_history(folder)[0].indices
    [7]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        self.weights_at_hand: Callable[[], Mapping[str, Mapping[str, Tensor]]] = dict
        self._is_sure = True
        self._lost: str | None = None
        self._told: list[dict[str, Any]] | None = None
        self._lock = RunLock(self.folder)
        try:
            with held_back():
                check_can_be_folder(self.folder)
                with _explained(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    _check_folder(self.folder, writes=True)
                    self._lock.acquire()
                    _break_links(self.folder)
                    self._rows = self._open()
                self.records = _records(self._rows)
                self._write_writer()
                self._remove_parts()
                if self._rows:
                    self._write_for_people(self.records)
        except BaseException:
            self.close()
            raise

    def _open(self) -> list[_Row]:
        """Return the rows, where they are whole, of a database that is made where there is none."""
        with closing(_connected(self.folder, 1.0)) as database:
            rows = _checked(self.folder, *_locked_rows(database, self.folder))
            if _is_new(database):
                database.execute(TABLE)
            # A write, even of the same, makes SQLite remove the rollback journal that a killed process left.
            database.execute(f"PRAGMA user_version = {len(rows)}")
            database.execute("COMMIT")
        return self._upgraded(rows)

    def _upgraded(self, rows: list[_Row]) -> list[_Row]:
        """Return the rows in this schema. Those of an earlier one are rewritten, and the old file is kept."""
        if not rows or rows[0].body.get("schema") == SCHEMA:
            return rows
        path = self.folder / NAME
        fresh = _chained(upgraded([row.body for row in rows], rows[0].hash))
        kept = (path.with_name(f"schema-1-{number}.sqlite") for number in itertools.count())
        with held_back(), replacing(path) as temporary:
            _write_rows(fresh, temporary)
            os.link(path, next(other for other in kept if not os.path.lexists(other)))
        return fresh

    @property
    def header(self) -> dict[str, Any] | None:
        """What the run is, as `begin` was told, or None in a new folder."""
        return dict(self._rows[0].body) if self._rows else None

    @property
    def run_id(self) -> str | None:
        """By what the run is known among others: its own id, or in 0.1.0 the hash of its first row; None if new."""
        return str(self._rows[0].body.get("id", self._rows[0].hash)) if self._rows else None

    @property
    def history(self) -> History:
        """The rounds recorded so far."""
        return self.records.history

    @property
    def labels(self) -> list[dict[int, Label]]:
        """The labels that an oracle gave after each round, by index."""
        return self.records.labels

    def begin(self, header: Mapping[str, Any]) -> None:
        """Write the first row: what the run is."""
        if self._rows:
            raise RuntimeError(f"`Journal.begin`: the run in {self.folder} has begun already.")
        self._append({"schema": SCHEMA, **header})

    def append(self, round: Round, labels: Mapping[int, Any]) -> None:
        """Write what a round did, with the labels that were given to the points it asked for.

        Raises:
            RuntimeError: If it is not the next round.
        """
        if not self._rows:
            raise RuntimeError(f"`Journal.append`: the run in {self.folder} has not begun. Call `Journal.begin` first.")
        number = len(self.records.rounds)
        if round.number != number:
            raise RuntimeError(
                f"`Journal.append` expected round {number} of the run in {self.folder}, but got round {round.number}."
            )
        self._append({"round": round.to_dict(), "labels": {str(index): label for index, label in labels.items()}})

    def ask(self, query: OpenQuery) -> None:
        """Write a query, before anybody is asked. A query that is open already may be written again."""
        self._append({"query": query.to_dict()})

    def answer(self, answers: Mapping[int, Label]) -> None:
        """Write answers to the open query, so that they are never asked for again.

        Raises:
            RuntimeError: If no query is open.
        """
        if self.records.query is None:
            raise RuntimeError(
                f"`Journal.answer`: the run in {self.folder} has no open query. Call `Journal.ask` first."
            )
        self._append({"answers": {str(index): label for index, label in answers.items()}})

    def append_member(self, plain: Mapping[str, Any]) -> None:
        """Write what a fit of the next round did, where a round takes several; its weights lie in the folder."""
        self._append({"member": dict(plain)})

    def change(self, *changes: Change) -> None:
        """Write what was changed of labels, all or nothing; the labels before stay in their rows."""
        answers = {} if self.records.query is None else self.records.query.answers
        bodies: list[dict[str, Any]] = []
        for change in changes:
            if change.index in answers and not change.given_back:
                bodies.append({"answers": {str(change.index): change.label}})
            else:
                plain = {"index": change.index, "label": change.label, "given_back": change.given_back}
                bodies.append({"change": plain})
        self._append(*bodies)

    def take_back(self) -> None:
        """Take the last round back, which is to be run again with more to ask for.

        Raises:
            RuntimeError: If there is no round.
        """
        if not self.records.rounds:
            raise RuntimeError(
                f"`Journal.take_back`: the run in {self.folder} has no round to take back. Append one first."
            )
        self._append({"taken_back": len(self.records.rounds) - 1})

    @property
    def members(self) -> list[dict[str, Any]]:
        """The fits of the next round that were done and whose weights lie in the folder, as plain data."""

        def is_there(plain: dict[str, Any]) -> bool:
            return (self.folder / f"{member_name(plain['round'], plain['number'])}.pt").exists()

        return list(itertools.takewhile(is_there, self.records.members))

    @property
    def is_lost(self) -> bool:
        """Whether the run lost its folder, so that it is in a new one."""
        return self._lost is not None

    def save_weights(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Save weights under a name, in one step, with a hash by which they are known to be whole."""
        content = _weights_file(weights)
        self._is_moved_out(self._rows)
        self._write(f"{name}.pt", content)

    def remove_weights(self, name: str) -> None:
        """Remove weights that are needed no longer, where there are any of that name."""
        with _explained(self.folder):
            (self.folder / f"{name}.pt").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock.is_held:
            with suppress(OSError):
                (self.folder / WRITER).unlink(missing_ok=True)
        self._lock.release()

    @staticmethod
    def read_history(folder: str | os.PathLike[str]) -> History:
        """Read the rounds recorded in a folder, where no process writes to it, and write nothing there.

        Raises:
            FileNotFoundError: If the folder holds no run.
            RuntimeError: If a process writes to the folder, or if a row is damaged.
        """
        return Journal.read(folder).history

    @staticmethod
    def read(folder: str | os.PathLike[str]) -> Records:
        """Read all that is recorded in a folder, where no process writes to it, and write nothing there.

        Raises:
            FileNotFoundError: If the folder holds no run.
            RuntimeError: If a process writes to the folder, or if a row is damaged.
        """
        path = Path(folder) / NAME
        if not os.path.lexists(path):
            raise FileNotFoundError(f"There is no run in {folder}: it has no {NAME}.")
        _check_folder(path.parent)
        with _explained(path.parent), reading(path.parent):
            if any(os.path.lexists(path.with_name(f"{NAME}{end}")) for end in ("-journal", "-wal")):
                _break_links(path.parent)  # to read it, SQLite first brings it to the end of what was cut off
            with closing(_connected(path.parent, 1.0)) as database:
                return _records(_checked(path.parent, *_good_rows(database)))

    @staticmethod
    def salvage(folder: str | os.PathLike[str]) -> int:
        """Make a journal of the good rows at the beginning of a damaged one, which is kept beside it.

        A run started on the folder goes on from there, to the end that it would have had.

        Returns:
            How many rounds are good.

        Raises:
            FileNotFoundError: If the folder holds no run.
            RuntimeError: If no row is good, or if a process writes to the folder.
        """
        path = Path(folder) / NAME
        if not os.path.lexists(path):
            raise FileNotFoundError(f"There is no run in {folder}: it has no {NAME}.")
        _check_folder(path.parent)
        with _explained(path.parent), holding(path.parent), _own_database(path.parent) as database:
            rows, is_whole = _locked_rows(database, path.parent)
            if not rows:
                raise RuntimeError(f"No row of the journal in {folder} can be read. {PUT_BACK}")
            if not is_whole:
                kept = (path.with_name(f"damaged-{number}.sqlite") for number in itertools.count())
                with replacing(path) as temporary:
                    _write_rows(rows, temporary)
                    os.link(path, next(other for other in kept if not os.path.lexists(other)))
                    path.with_name(f"{NAME}-journal").unlink(missing_ok=True)
        return len(_records(rows).rounds)

    def _append(self, *bodies: dict[str, Any]) -> None:
        rows = _chained(bodies, self._rows)
        for row in rows[len(self._rows) :]:
            _ = row.body  # what cannot be read again is not written
        new = [(number, rows[number].text, rows[number].hash) for number in range(len(self._rows), len(rows))]
        self._change(rows, "INSERT INTO rows VALUES (?, ?, ?)", *new)

    def _change(self, rows: list[_Row], statement: str, *values: Sequence[object]) -> None:
        """Change the rows to these by a statement, once for each of its values, whole or not at all."""
        if not self._is_sure:
            raise RuntimeError(
                f"A write to the run folder {self.folder} failed before, so the journal cannot tell what it holds. "
                "Start the run again on the folder to go on from there."
            )
        with held_back():
            self._is_sure = False  # until all of it is done
            if not self._is_moved_out(rows):
                try:
                    self._execute(len(rows), statement, *values)
                except SQLITE_ERRORS as error:
                    with _explained(self.folder):
                        reason = self._why_lost_by(error)
                    self._move_out(rows, reason)
            records = _records(rows)
            self._write_for_people(records)
            self._rows, self.records = rows, records
            self._is_sure = True
        if self._lost is not None:
            raise RuntimeError(self._lost)

    def _execute(self, num_rows: int, statement: str, *values: Sequence[object]) -> None:
        with closing(_connected(self.folder, PATIENCE)) as database:
            try:
                database.execute(DURABLE)
                database.execute("BEGIN IMMEDIATE")
                database.executemany(statement, values)
                database.execute(f"PRAGMA user_version = {num_rows}")
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # it may have been rolled back by the error itself
                    database.execute("ROLLBACK")
                raise

    def _is_moved_out(self, rows: list[_Row]) -> bool:
        """Write the run with these rows to a new folder where its own is its own no longer."""
        with _explained(self.folder):
            reason = self._why_lost()
        if reason is not None:
            self._move_out(rows, reason)
        return reason is not None

    def _move_out(self, rows: list[_Row], reason: str) -> None:
        lost = self.folder
        self.close()
        try:
            self._write_beside(rows, lost)
        except (OSError, RuntimeError, sqlite3.Error) as error:
            last = rows[-1].body if rows else {}
            labels = last.get("answers", last.get("labels", {}))
            raise RuntimeError(
                f"The run in {lost} lost its journal: {reason}. A folder beside it could not be made either: "
                f"{error}. Put the folder back as it was, and start the run again; the labels given last were {labels}."
            ) from error
        self._lost = (
            f"The run in {lost} lost its journal: {reason}. All that it recorded, the labels too, is in {self.folder}. "
            "Start the run again on that folder, or put it in the place of the other."
        )

    def _write_beside(self, rows: list[_Row], lost: Path) -> None:
        """Write the run with these rows to a new folder beside another one, which appears when it is whole."""
        draft = lost.with_name(f".{lost.name}-rescued.{secrets.token_hex(8)}.part")
        try:
            draft.mkdir(parents=True)
            self.folder, self._lock = draft, RunLock(draft)
            self._lock.acquire()
            with suppress(RuntimeError, OSError):  # the labels matter more
                for name, weights in self.weights_at_hand().items():
                    self._write(f"{name}.pt", _weights_file(weights))
            with replacing(draft / NAME) as temporary:
                _write_rows(rows, temporary)
            self._write_writer()
            self._told = None
            self._write_for_people(_records(rows))
            self.folder = self._lock.folder = _put_beside(draft, lost)
        except BaseException:
            self._lock.drop()
            shutil.rmtree(draft, ignore_errors=True)
            self.folder = lost
            raise

    def _why_lost(self) -> str | None:
        """Return why the folder's database is not the one that this journal wrote, or None where it is."""
        if not (self.folder / NAME).exists():
            return f"{NAME} is not there any more, so it was deleted, or the folder moved"
        try:
            self._lock.acquire()
            _break_links(self.folder)  # a backup may have linked it while the run was running
            with closing(_connected(self.folder, PATIENCE)) as database:
                last = database.execute("SELECT hash FROM rows WHERE number = ?", [len(self._rows) - 1]).fetchone()
                is_same = _num_rows(database) == len(self._rows)
        except InUseError as error:
            return f"another process has taken over the folder ({error})"
        except SQLITE_ERRORS as error:
            return self._why_lost_by(error)
        except ValueError as error:
            return f"its lock is another one ({error})"
        if not is_same or last != ((self._rows[-1].hash,) if self._rows else None):
            return f"{NAME} holds other rows than this run wrote, so it was replaced, or another run wrote to it"
        return None

    def _why_lost_by(self, error: sqlite3.Error | UnicodeDecodeError) -> str:
        """Return why an error means that the database is lost, or raise it where it does not."""
        if _code(error) in LOCKED:
            return f"another program has kept {NAME} locked for {PATIENCE:.0f} seconds"
        if _is_damage(error, self.folder):
            return f"{NAME} is damaged ({error})"
        raise error

    def _remove_parts(self) -> None:
        """Remove what a process that was killed while it wrote a file left behind."""
        with _explained(self.folder):
            for names in (OF_JOURNAL, OF_LOCK, OF_COMMAND):
                for path in parts_in(self.folder, names):
                    path.unlink()

    def _write_writer(self) -> None:
        self._write(WRITER, json.dumps({"host": socket.gethostname(), "process": os.getpid()}))

    def _write_for_people(self, records: Records) -> None:
        # An answer or a change of a label leaves the rounds as they are, the very same objects.
        if records.rounds != self._told:
            self._write("history.jsonl", "".join(map(_line, records.rounds)))
            self._told = records.rounds

    def _write(self, name: str, content: str | bytes) -> None:
        with _explained(self.folder), replacing(self.folder / name) as path:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


def _weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """Return what a file of weights holds: what torch saves of them, and its hash."""
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def load_weights(folder: str | os.PathLike[str], name: str) -> dict[str, Tensor]:
    """Load weights that a journal saved under a name; any process may, while another writes the journal.

    Raises:
        RuntimeError: If they are missing or damaged.
    """
    path = Path(folder) / f"{name}.pt"
    try:
        with open_plain(path, LARGEST_WEIGHTS) as file:
            saved = _read_whole(file)
    except FileNotFoundError:
        raise RuntimeError(f"The run in {folder} needs {path.name}, which is not there. {PUT_BACK}") from None
    except (OSError, ValueError, MemoryError) as error:
        reason = str(error).rstrip(".") or "there is too little memory"
        raise RuntimeError(f"{path} could not be read: {reason}. Make it readable. {PUT_BACK}") from error
    if saved is None:
        raise RuntimeError(f"{path} is damaged: its bytes do not have the hash that it was saved with. {PUT_BACK}")
    weights: Any = None
    reason = "it is no zip file of `torch.save`"
    try:
        if is_in_usual_form(io.BytesIO(saved)):
            weights = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
            reason = f"it holds {type(weights).__name__}"
    except Exception as error:  # what torch raises depends on what is in the file
        # Not what torch says, which is how to run the code in it.
        reason = f"it is damaged, or holds more than tensors and plain data ({type(error).__name__})"
    if not isinstance(weights, dict):
        raise RuntimeError(f"{path} has no weights that a run wrote: {reason}. {PUT_BACK}")
    return weights


def _read_whole(file: BinaryIO) -> bytes | None:
    """Return what was saved in a file without the hash at its end, or None where that is of other bytes."""
    size = max(0, os.fstat(file.fileno()).st_size - DIGEST_BYTES)
    digest = hashlib.sha256()
    left = size
    while left > 0:  # before it takes memory, which a damaged file may ask for without end
        chunk = file.read(min(left, 2**20))
        if not chunk:
            return None
        digest.update(chunk)
        left -= len(chunk)
    if file.read(DIGEST_BYTES) != digest.digest():
        return None
    file.seek(0)
    return file.read(size)


def _check_folder(folder: Path, *, writes: bool = False) -> None:
    """Refuse a folder whose files are not what a run keeps there, before SQLite opens any.

    Raises:
        ValueError: If they are not.
    """
    check_files(folder, OF_JOURNAL, OF_LOCK)
    check_database(folder / NAME)
    path = folder / NAME
    if path.exists():
        # It is not opened: to close it would let go of the lock of a writer in this process.
        check_plain(path, LARGEST_JOURNAL)
    if writes:
        check_is_a_run(folder, OF_JOURNAL)


def _break_links(folder: Path) -> None:
    """Let SQLite write into no file that has another name elsewhere; the folder is held."""
    for end in ("", "-journal", "-wal", "-shm"):
        break_link(folder / f"{NAME}{end}")


@contextmanager
def _own_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open a folder's database that is to be changed."""
    _break_links(folder)
    with closing(_connected(folder, 1.0)) as database:
        yield database


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what an error of SQLite's or of the file system means for the run folder."""
    try:
        yield
    except SQLITE_ERRORS as error:
        if _code(error) in LOCKED:
            raise InUseError(folder) from error
        if _is_damage(error, folder):
            raise RuntimeError(
                f"The journal in {folder} is damaged: {error}. To learn how far it is good, start the run again on "
                f"the folder. {PUT_BACK}"
            ) from error
        raise RuntimeError(_not_written(folder, str(error))) from error
    except OSError as error:
        raise RuntimeError(_not_written(folder, str(error))) from error


def _code(error: sqlite3.Error | UnicodeDecodeError) -> int:
    """Return SQLite's number for what kind of error it is, or that for damage where it gives none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


def _is_damage(error: sqlite3.Error | UnicodeDecodeError, folder: Path) -> bool:
    if _code(error) == sqlite3.SQLITE_READONLY:
        # A damaged header forbids to write as well.
        with suppress(OSError), open_plain(folder / NAME, LARGEST_JOURNAL) as file:
            return file.read(20)[18:20] != b"\1\1"
    return _code(error) not in UNWRITABLE | LOCKED


def _not_written(folder: Path, reason: str) -> str:
    return (
        f"The run folder {folder} could not be written: {reason}. What was recorded before is whole. Make room "
        "there, or make it writable, and start the run again on the folder to go on."
    )


@dataclass(frozen=True)
class _Row:
    """A row as it is stored: a body in JSON, and the hash of it and of the row before."""

    text: str
    hash: str

    @cached_property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = parse_json(self.text)
        return body


def _chained(bodies: Iterable[Mapping[str, Any]], before: Sequence[_Row] = ()) -> list[_Row]:
    """Return rows with more after them, each with the hash of itself and the row before."""
    rows = list(before)
    for body in bodies:
        text = json.dumps(body)
        rows.append(_Row(text, _hash(rows[-1].hash if rows else "", text)))
    return rows


def _write_rows(rows: list[_Row], path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(TABLE)
        database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?)", [(number, row.text, row.hash) for number, row in enumerate(rows)]
        )
        database.execute(f"PRAGMA user_version = {len(rows)}")


def _records(rows: list[_Row]) -> Records:
    return replay(row.body for row in rows)


def _num_rounds(rows: list[_Row]) -> int:
    """Return how many rounds the good rows of a damaged journal hold, none where they contradict each other."""
    try:
        return len(_records(rows).rounds)
    except UNWRITTEN:
        return 0


def _line(round: dict[str, Any]) -> str:
    """Return a round for people to read."""
    return json.dumps(round) + "\n"


def _is_new(database: sqlite3.Connection) -> bool:
    (num_tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return num_tables == 0 and _num_rows(database) == 0


def _num_rows(database: sqlite3.Connection) -> int:
    (num_rows,) = database.execute("PRAGMA user_version").fetchone()
    return int(num_rows)


def _checked(folder: Path, rows: list[_Row], is_whole: bool) -> list[_Row]:
    """Return the rows where they are all, or say how far they are good."""
    if not rows and (folder / "history.jsonl").exists():
        is_whole = False  # an empty database, where there were rounds
    if not is_whole:
        last = _num_rounds(rows) - 1
        raise RuntimeError(
            f"The journal in {folder} is damaged at row {len(rows)}; "
            + (f"the last good round is {last}. " if last >= 0 else "no round is good. ")
            + (f"To go on from there, run `{command('repair', folder)}` and start again. " if rows else "")
            + PUT_BACK
        )
    try:
        for round in _records(rows).history:
            check_types(round)
    except UNWRITTEN as error:
        raise RuntimeError(
            f"The journal in {folder} has rows that no run writes: {type(error).__name__}: {error}. {PUT_BACK}"
        ) from error
    if rows and rows[0].body.get("schema") not in READ:
        raise RuntimeError(
            f"The journal in {folder} has schema {rows[0].body.get('schema')}, but this version of lightning_al reads "
            f"schemas up to {SCHEMA}. Use the version that wrote it."
        )
    return rows


def _connected(folder: Path, seconds: float) -> sqlite3.Connection:
    """Open a folder's database for one reading or one change, so that no forked process has a part in it.

    Args:
        folder: The run's folder.
        seconds: How long to wait for what another program does with the database.
    """
    return sqlite3.connect(folder / NAME, isolation_level=None, timeout=seconds)


def _put_beside(draft: Path, folder: Path) -> Path:
    """Give a folder a free name like that of another one beside it, which may not be there any more; return it."""
    names = (f"{folder.name}-rescued", *(f"{folder.name}-rescued-{number}" for number in range(2, 1000)))
    path = next(path for name in names if not os.path.lexists(path := folder.with_name(name)))
    draft.rename(path)
    sync(path.parent)
    return path


def _locked_rows(database: sqlite3.Connection, folder: Path) -> tuple[list[_Row], bool]:
    """Let nobody else write, and return the rows up to the first bad one, and whether the database is whole."""
    is_lockable = True
    try:
        database.execute(DURABLE)
        database.execute("BEGIN EXCLUSIVE")
        if not _is_new(database) and not has_program(database):
            # It changes nothing, but a database that its damaged header keeps from being locked refuses it.
            database.execute("DELETE FROM rows WHERE number < 0")
    except SQLITE_ERRORS as error:
        if not _is_damage(error, folder):
            raise
        is_lockable = False
    rows, is_whole = _good_rows(database)
    return rows, is_whole and is_lockable


def _good_rows(database: sqlite3.Connection) -> tuple[list[_Row], bool]:
    """Return the rows up to the first bad one, and whether these are all that were written."""
    rows, is_whole = _read_rows(database)
    if not is_whole:
        # SQLite reads nothing of a file that was cut, unless it is told to make the best of it.
        database.execute("PRAGMA writable_schema=ON")
        rows, _ = _read_rows(database)
    return rows, is_whole


def _read_rows(database: sqlite3.Connection) -> tuple[list[_Row], bool]:
    rows: list[_Row] = []
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ROW)
    try:
        if has_program(database, "view"):
            return rows, False
        if _is_new(database):
            return rows, True
        for number, text, row_hash in database.execute("SELECT number, body, hash FROM rows ORDER BY number"):
            previous = rows[-1].hash if rows else ""
            if number != len(rows) or not isinstance(text, str) or row_hash != _hash(previous, text):
                return rows, False
            rows.append(_Row(text, row_hash))
        return rows, len(rows) == _num_rows(database) and _is_sound(database)
    except SQLITE_ERRORS as error:
        if _code(error) in LOCKED | {sqlite3.SQLITE_IOERR}:
            raise
        return rows, False


def _is_sound(database: sqlite3.Connection) -> bool:
    """Tell whether the database is sound where the rows do not show it too, so that the next row can be written."""
    tables = database.execute("SELECT sql FROM sqlite_master").fetchall()
    return tables == [(TABLE,)] and database.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]


def _hash(previous: str, text: str) -> str:
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
