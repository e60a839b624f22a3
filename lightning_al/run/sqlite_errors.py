"""Errors of SQLite and of the file system: what each means for a run folder, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_al.run.files import LARGEST_JOURNAL, open_plain
from lightning_al.run.folder import JOURNAL, PUT_BACK
from lightning_al.run.lock import InUseError

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises. It is the second if a message quotes damaged bytes."""

UNWRITABLE = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_TOOBIG,
}
"""What SQLite reports if the file system does not let it write."""

LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn an error of SQLite's or of the file system into one that says what it means for the run folder."""
    try:
        yield
    except SQLITE_ERRORS as error:
        if code_of(error) in LOCKED:
            raise InUseError(folder) from error
        if is_damage(error, folder):
            raise RuntimeError(
                f"The journal in {folder} is damaged: {error}. To see how much of it is good, start the run again "
                f"on the folder. {PUT_BACK}"
            ) from error
        raise RuntimeError(_not_written(folder, str(error))) from error
    except OSError as error:
        raise RuntimeError(_not_written(folder, str(error))) from error


def code_of(error: sqlite3.Error | UnicodeDecodeError) -> int:
    """Return SQLite's number of an error's kind. An error without one, or a file that ends too early, is damage."""
    code = int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT))
    return sqlite3.SQLITE_CORRUPT if code == sqlite3.SQLITE_IOERR_SHORT_READ else code & 0xFF


def is_damage(error: sqlite3.Error | UnicodeDecodeError, folder: Path) -> bool:
    """Return whether an error means that the folder's database is damaged."""
    if code_of(error) == sqlite3.SQLITE_READONLY:
        # A damaged header makes a database read-only too.
        with suppress(OSError), open_plain(folder / JOURNAL, LARGEST_JOURNAL) as file:
            return file.read(20)[18:20] != b"\1\1"
    return code_of(error) not in UNWRITABLE | LOCKED


def _not_written(folder: Path, reason: str) -> str:
    return (
        f"The run folder {folder} could not be written: {reason}. What was recorded before is safe. Make room "
        "there, or make it writable, and start the run again on the folder to resume."
    )
