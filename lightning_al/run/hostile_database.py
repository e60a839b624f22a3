"""Checks of databases that somebody made up, so that SQLite does no harm when it opens them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from lightning_al.run.files import LARGEST_JOURNAL, open_plain

_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""What a rollback journal ends with where it names a second one, for transactions on several databases."""


def check_database(path: Path) -> None:
    """Refuse a database whose rollback journal names another file, which SQLite would remove.

    It could be any file of the user's. A run writes to a single database, so its rollback journal names no other file.

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
            f"{path}-journal names another file, which SQLite would remove. No run writes that. Remove it, or "
            "choose another folder."
        )


def has_program(database: sqlite3.Connection, *kinds: str) -> bool:
    """Return whether a database runs code of its own, perhaps forever, when it is read (a view) or written (a trigger).

    Args:
        database: The database.
        kinds: What to look for, ``view`` or ``trigger``; by default both.

    >>> has_program(sqlite3.connect(":memory:"))
    False
    """
    found = database.execute("SELECT DISTINCT type FROM sqlite_master").fetchall()
    return any((kind,) in found for kind in kinds or ("view", "trigger"))
