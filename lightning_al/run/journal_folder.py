"""The folder that a journal writes to: its lock, its database, the files beside it, and a new one where it is lost."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_al.run.files import parts_in, replacing, sync
from lightning_al.run.folder import JOURNAL, KEYS, OF_COMMAND, OF_JOURNAL, OF_LOCK
from lightning_al.run.folder_path import check_can_be_folder
from lightning_al.run.journal_database import (
    DURABLE,
    TABLE,
    Row,
    chained,
    connected,
    is_new,
    locked_rows,
    num_rows,
    write_rows,
)
from lightning_al.run.journal_reading import break_links, check_folder, checked, keep, records_of
from lightning_al.run.lock import WRITER, InUseError, RunLock
from lightning_al.run.records import Records
from lightning_al.run.schemas import SCHEMA, upgraded
from lightning_al.run.sqlite_errors import LOCKED, SQLITE_ERRORS, code_of, explained, is_damage
from lightning_al.run.stopping import held_back
from lightning_al.run.weights_file import weights_file

PATIENCE = 30.0
"""How many seconds a run waits for programs other than this library that read its database."""


class JournalFolder:
    """Hold a run's folder and write to it.

    Before each change the database is compared with the rows that were written to it. Where it is not the same one,
    the run is written to a new folder beside its own: nothing is written into another run's files, and no label is
    lost.

    Args:
        path: The folder, absolute.

    Attributes:
        path: The folder: the new one where the run lost its own.
        lost: What happened to the run's own folder, and what to do; None where nothing did.
        weights_at_hand: Returns the weights, by name, that the run needs in a new folder.
        keys: The content of the file of keys, which a new folder needs too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: str | None = None
        self.weights_at_hand: Callable[[], Mapping[str, Mapping[str, Tensor]]] = dict
        self.keys: str | None = None
        self._told: list[dict[str, Any]] | None = None
        self._lock = RunLock(path)

    def open(self) -> list[Row]:
        """Make the folder and its database where they are missing, lock the folder, and return the rows.

        Raises:
            InUseError: If another process writes to the folder.
            RuntimeError: If a row is damaged, or if the folder cannot be written.
            ValueError: If there can be no such folder, or if something else lies where the journal keeps a file.
        """
        check_can_be_folder(self.path)
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            check_folder(self.path, writes=True)
            self._lock.acquire()
            break_links(self.path)
            with closing(connected(self.path, 1.0)) as database:
                rows = checked(self.path, *locked_rows(database, self.path))
                if is_new(database):
                    database.execute(TABLE)
                # A write, even of the same, makes SQLite remove the rollback journal that a killed process left.
                database.execute(f"PRAGMA user_version = {len(rows)}")
                database.execute("COMMIT")
            return self._upgraded(rows)

    def _upgraded(self, rows: list[Row]) -> list[Row]:
        """Return the rows in the current schema. Those of an earlier one are rewritten, and the old file is kept."""
        if not rows or rows[0].body.get("schema") == SCHEMA:
            return rows
        path = self.path / JOURNAL
        fresh = chained(upgraded([row.body for row in rows], rows[0].hash))
        with held_back(), replacing(path) as temporary:
            write_rows(fresh, temporary)
            keep(path, "schema-1")
        return fresh

    def insert(self, before: list[Row], after: list[Row]) -> None:
        """Write rows to the database, all or nothing; where it is lost, write the run to a new folder.

        Args:
            before: The rows that the database has.
            after: These, and the new ones.
        """
        if self.is_moved_out(before, after):
            return
        try:
            self._insert(len(before), after)
        except SQLITE_ERRORS as error:
            with explained(self.path):
                reason = self._why_lost_by(error)
            self._move_out(after, reason)

    def _insert(self, known: int, rows: list[Row]) -> None:
        new = [(number, rows[number].text, rows[number].hash) for number in range(known, len(rows))]
        with closing(connected(self.path, PATIENCE)) as database:
            try:
                database.execute(DURABLE)
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT INTO rows VALUES (?, ?, ?)", new)
                database.execute(f"PRAGMA user_version = {len(rows)}")
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # it may have been rolled back by the error itself
                    database.execute("ROLLBACK")
                raise

    def is_moved_out(self, before: list[Row], after: list[Row]) -> bool:
        """Write the run to a new folder if its own is lost, and return whether it was.

        Args:
            before: The rows that the database has if it is the run's.
            after: The rows to write to a new folder.
        """
        with explained(self.path):
            reason = self._why_lost(before)
        if reason is not None:
            self._move_out(after, reason)
        return reason is not None

    def _move_out(self, rows: list[Row], reason: str) -> None:
        lost = self.path
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
        self.lost = (
            f"The run in {lost} lost its journal: {reason}. All that it recorded, the labels too, is in {self.path}. "
            "Start the run again on that folder, or put it in the place of the other."
        )

    def _write_beside(self, rows: list[Row], lost: Path) -> None:
        """Write the run with these rows to a new folder beside another one, which appears when it is whole."""
        draft = lost.with_name(f".{lost.name}-rescued.{secrets.token_hex(8)}.part")
        try:
            draft.mkdir(parents=True)
            self.path, self._lock = draft, RunLock(draft)
            self._lock.acquire()
            with suppress(RuntimeError, OSError):  # the labels matter more
                for name, weights in self.weights_at_hand().items():
                    self.write(f"{name}.pt", weights_file(weights))
            if self.keys is not None:
                self.write(KEYS, self.keys)
            with replacing(draft / JOURNAL) as temporary:
                write_rows(rows, temporary)
            self.write_writer()
            self._told = None
            self.write_for_people(records_of(rows))
            self.path = self._lock.folder = _put_beside(draft, lost)
        except BaseException:
            self._lock.drop()
            shutil.rmtree(draft, ignore_errors=True)
            self.path = lost
            raise

    def _why_lost(self, rows: list[Row]) -> str | None:
        """Return why the folder's database is not the one with these rows, or None where it is."""
        if not (self.path / JOURNAL).exists():
            return f"{JOURNAL} is not there any more, so it was deleted, or the folder moved"
        try:
            self._lock.acquire()
            break_links(self.path)  # a backup may have linked it while the run was running
            with closing(connected(self.path, PATIENCE)) as database:
                last = database.execute("SELECT hash FROM rows WHERE number = ?", [len(rows) - 1]).fetchone()
                is_same = num_rows(database) == len(rows)
        except InUseError as error:
            return f"another process has taken over the folder ({error})"
        except SQLITE_ERRORS as error:
            return self._why_lost_by(error)
        except ValueError as error:
            return f"its lock is another one ({error})"
        if not is_same or last != ((rows[-1].hash,) if rows else None):
            return f"{JOURNAL} holds other rows than this run wrote, so it was replaced, or another run wrote to it"
        return None

    def _why_lost_by(self, error: sqlite3.Error | UnicodeDecodeError) -> str:
        """Return why an error means that the database is lost, or raise it where it does not."""
        if code_of(error) in LOCKED:
            return f"another program has kept {JOURNAL} locked for {PATIENCE:.0f} seconds"
        if is_damage(error, self.path):
            return f"{JOURNAL} is damaged ({error})"
        raise error

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file beside the database in one step."""
        with explained(self.path), replacing(self.path / name) as path:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def remove(self, name: str) -> None:
        """Remove a file beside the database, if it is there."""
        with explained(self.path):
            (self.path / name).unlink(missing_ok=True)

    def remove_parts(self) -> None:
        """Remove what a process that was killed while it wrote a file left behind."""
        with explained(self.path):
            for names in (OF_JOURNAL, OF_LOCK, OF_COMMAND):
                for path in parts_in(self.path, names):
                    path.unlink()

    def write_writer(self) -> None:
        """Write down which process writes to the folder."""
        self.write(WRITER, json.dumps({"host": socket.gethostname(), "process": os.getpid()}))

    def write_for_people(self, records: Records) -> None:
        """Write the rounds to ``history.jsonl``, if they changed."""
        # An answer or a change of a label does not change the rounds, which remain the same objects.
        if records.rounds != self._told:
            self.write("history.jsonl", "".join(json.dumps(round) + "\n" for round in records.rounds))
            self._told = records.rounds

    def close(self) -> None:
        """Release the folder."""
        if self._lock.is_held:
            with suppress(OSError):
                (self.path / WRITER).unlink(missing_ok=True)
        self._lock.release()

    def drop(self) -> None:
        """Release the folder as a process does that ends: all files stay."""
        self._lock.drop()


def _put_beside(draft: Path, folder: Path) -> Path:
    """Give a folder a free name like that of another one beside it, which may not be there any more; return it."""
    names = (f"{folder.name}-rescued", *(f"{folder.name}-rescued-{number}" for number in range(2, 1000)))
    path = next(path for name in names if not os.path.lexists(path := folder.with_name(name)))
    draft.rename(path)
    sync(path.parent)
    return path
