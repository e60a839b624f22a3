"""What SQLite would do at the word of a database that somebody made up, seen before it does."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from lightning_al.run.files import LARGEST_JOURNAL, open_plain

_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""What a rollback journal ends with where it names a second one, for transactions on several databases."""


def check_database(path: Path) -> None:
    """Refuse a database whose rollback journal names a file that SQLite would remove, be it any file of the user's.

    A run writes to one database alone, so that its journal names none.

    Raises:
        ValueError: If it names one.
    """
    try:
        with open_plain(path.with_name(f"{path.name}-journal"), LARGEST_JOURNAL) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - len(_MAGIC)))
            names_a_file = size > len(_MAGIC) and file.read() == _MAGIC
    except FileNotFoundError:
        return
    if names_a_file:
        raise ValueError(
            f"{path}-journal names another file, which SQLite would remove; no run writes such a one. Remove it, or "
            "choose another folder."
        )


def has_program(database: sqlite3.Connection, *kinds: str) -> bool:
    """Return whether the database computes something, perhaps without end, when it is read (a view) or written.

    Args:
        database: The database.
        kinds: Of what kind, ``view`` or ``trigger``; by default of either.

    >>> has_program(sqlite3.connect(":memory:"))
    False
    """
    found = database.execute("SELECT DISTINCT type FROM sqlite_master").fetchall()
    return any((kind,) in found for kind in kinds or ("view", "trigger"))
