"""The rows of a journal in SQLite, each with a hash of itself and the row before, so that damage is noticed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_al.run.files import LARGEST_ROW, parse_json
from lightning_al.run.folder import JOURNAL
from lightning_al.run.hostile_database import has_program
from lightning_al.run.sqlite_errors import LOCKED, SQLITE_ERRORS, code_of, is_damage

TABLE = "CREATE TABLE rows (number INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL)"

DURABLE = "PRAGMA synchronous=EXTRA"
"""What is committed is on disk, and so is that SQLite's rollback journal is removed."""


@dataclass(frozen=True)
class Row:
    """A stored row: its body in JSON, and a hash of the body and the row before."""

    text: str
    hash: str

    @cached_property
    def body(self) -> dict[str, Any]:
        """What the row says."""
        body: dict[str, Any] = parse_json(self.text)
        return body


def chained(bodies: Iterable[Mapping[str, Any]], before: Sequence[Row] = ()) -> list[Row]:
    """Return rows with more after them, each with the hash of itself and the row before."""
    rows = list(before)
    for body in bodies:
        text = json.dumps(body)
        rows.append(Row(text, hash_of(rows[-1].hash if rows else "", text)))
    return rows


def hash_of(previous: str, text: str) -> str:
    """Return the hash of a row's text and of the row before, whose hash is given."""
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def write_rows(rows: list[Row], path: Path) -> None:
    """Write rows to a new database."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(TABLE)
        database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?)", [(number, row.text, row.hash) for number, row in enumerate(rows)]
        )
        database.execute(f"PRAGMA user_version = {len(rows)}")


def connected(folder: Path, seconds: float) -> sqlite3.Connection:
    """Open a folder's database for one reading or one change, so that no forked process shares the connection.

    Args:
        folder: The run's folder.
        seconds: How long to wait for what another program does with the database.
    """
    return sqlite3.connect(folder / JOURNAL, isolation_level=None, timeout=seconds)


def locked_rows(database: sqlite3.Connection, folder: Path) -> tuple[list[Row], bool]:
    """Lock the database, and return the rows up to the first bad one and whether the database is whole."""
    is_lockable = True
    try:
        database.execute(DURABLE)
        database.execute("BEGIN EXCLUSIVE")
        if not is_new(database) and not has_program(database):
            # It deletes nothing, but fails where a damaged header keeps the database from being locked.
            database.execute("DELETE FROM rows WHERE number < 0")
    except SQLITE_ERRORS as error:
        if not is_damage(error, folder):
            raise
        is_lockable = False
    rows, is_whole = good_rows(database)
    return rows, is_whole and is_lockable


def good_rows(database: sqlite3.Connection) -> tuple[list[Row], bool]:
    """Return the rows up to the first bad one, and whether these are all that were written."""
    rows, is_whole = _read_rows(database)
    if not is_whole:
        # By default SQLite reads nothing of a file that was cut off.
        database.execute("PRAGMA writable_schema=ON")
        rows, _ = _read_rows(database)
    return rows, is_whole


def _read_rows(database: sqlite3.Connection) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ROW)
    try:
        if has_program(database, "view"):
            return rows, False
        if is_new(database):
            return rows, True
        for number, text, row_hash in database.execute("SELECT number, body, hash FROM rows ORDER BY number"):
            previous = rows[-1].hash if rows else ""
            if number != len(rows) or not isinstance(text, str) or row_hash != hash_of(previous, text):
                return rows, False
            rows.append(Row(text, row_hash))
        return rows, len(rows) == num_rows(database) and _is_sound(database)
    except SQLITE_ERRORS as error:
        if code_of(error) in LOCKED | {sqlite3.SQLITE_IOERR}:
            raise
        return rows, False


def _is_sound(database: sqlite3.Connection) -> bool:
    """Return whether the parts of the database beside the rows are sound, so that the next row can be written."""
    tables = database.execute("SELECT sql FROM sqlite_master").fetchall()
    return tables == [(TABLE,)] and database.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]


def is_new(database: sqlite3.Connection) -> bool:
    """Return whether nothing was ever written to a database."""
    (num_tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return num_tables == 0 and num_rows(database) == 0


def num_rows(database: sqlite3.Connection) -> int:
    """Return how many rows were written to a database, by its own account."""
    (number,) = database.execute("PRAGMA user_version").fetchone()
    return int(number)
