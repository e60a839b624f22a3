"""Read a journal that no process writes to, and salvage a damaged one."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from lightning_al.run.files import LARGEST_JOURNAL, check_plain, parse_json, read_text, replacing
from lightning_al.run.folder import COPY, JOURNAL, LINES, OF_JOURNAL, OF_LOCK, PUT_BACK, check_files, check_is_a_run
from lightning_al.run.hard_links import break_link
from lightning_al.run.history import History, Round
from lightning_al.run.hostile_database import check_database, has_program
from lightning_al.run.journal_command import command
from lightning_al.run.journal_database import Row, connected, good_rows, hash_of, locked_rows, write_rows
from lightning_al.run.journal_rows import check_round, check_types
from lightning_al.run.lock import holding, reading
from lightning_al.run.records import Records, replay
from lightning_al.run.schemas import READ, SCHEMA
from lightning_al.run.sqlite_errors import explained

UNWRITTEN = (ValueError, LookupError, TypeError, AttributeError)
"""What rows raise that no run writes."""


def read_records(folder: Path) -> Records:
    """Read all that is recorded in a folder, where no process writes to it, and write nothing there.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process writes to the folder, or if a row is damaged.
    """
    check_is_there(folder)
    check_folder(folder)
    with explained(folder), reading(folder):
        if any(os.path.lexists(folder / f"{JOURNAL}{end}") for end in ("-journal", "-wal")):
            break_links(folder)  # to read it, SQLite first completes or undoes what was cut off
        with closing(connected(folder, 1.0)) as database:
            return records_of(checked(folder, *good_rows(database)))


def read_header(folder: Path) -> dict[str, Any]:
    """Read the journal's first row, which describes the run and never changes, even while another process writes.

    Raises:
        ValueError: If it is damaged, or if the database computes something.
        sqlite3.Error: If it is not a journal.
    """
    address = f"{(folder / JOURNAL).absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as database:
        if has_program(database):
            raise ValueError(f"the database of {JOURNAL} computes something, which no run's does. {COPY}")
        text, digest = database.execute("SELECT body, hash FROM rows WHERE number = 0").fetchone()
    if hash_of("", text) != digest:
        raise ValueError(f"the first row of {JOURNAL} is damaged. {COPY}")
    header: dict[str, Any] = parse_json(text)
    return header


def read_lines(folder: Path) -> History:
    """Read the rounds that lie beside the journal as lines of text, even while another process writes.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a line is not the next round.
    """
    history = History()
    for number, line in enumerate(read_text(folder / LINES).splitlines()):
        plain = parse_json(line)
        try:
            check_round(plain, number, ())
            round = Round.from_dict(plain)
            check_types(round)
        except UNWRITTEN as error:
            raise ValueError(f"its round {number} does not hold what a round holds. {COPY}") from error
        history.append(round)
    return history


def salvage(folder: Path) -> int:
    """Make a journal of the good rows at the beginning of a damaged one, and keep the damaged one beside it.

    Returns:
        How many rounds are good.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If no row is good, or if a process writes to the folder.
    """
    check_is_there(folder)
    check_folder(folder)
    with explained(folder), holding(folder):
        break_links(folder)
        with closing(connected(folder, 1.0)) as database:
            rows, is_whole = locked_rows(database, folder)
            if not rows:
                raise RuntimeError(f"No row of the journal in {folder} can be read. {PUT_BACK}")
            if not is_whole:
                path = folder / JOURNAL
                with replacing(path) as temporary:
                    write_rows(rows, temporary)
                    keep(path, "damaged")
                    path.with_name(f"{JOURNAL}-journal").unlink(missing_ok=True)
    return len(records_of(rows).rounds)


def keep(path: Path, why: str) -> None:
    """Keep a database under another name, ``{why}-0.sqlite`` or the first number that is free."""
    names = (path.with_name(f"{why}-{number}.sqlite") for number in itertools.count())
    os.link(path, next(other for other in names if not os.path.lexists(other)))


def check_folder(folder: Path, *, writes: bool = False) -> None:
    """Refuse a folder whose files are not what a run keeps there, before SQLite opens any.

    Args:
        folder: The run's folder.
        writes: Whether a run is about to write to it.

    Raises:
        ValueError: If they are not.
    """
    check_files(folder, OF_JOURNAL, OF_LOCK)
    check_database(folder / JOURNAL)
    path = folder / JOURNAL
    if path.exists():
        # It is not opened: to close it would release the lock of a writer in this process.
        check_plain(path, LARGEST_JOURNAL)
    if writes:
        check_is_a_run(folder, OF_JOURNAL)


def break_links(folder: Path) -> None:
    """Keep SQLite from writing into files that have another name elsewhere. The folder has to be locked."""
    for end in ("", "-journal", "-wal", "-shm"):
        break_link(folder / f"{JOURNAL}{end}")


def checked(folder: Path, rows: list[Row], is_whole: bool) -> list[Row]:
    """Return the rows of a journal if they are whole and a run's.

    Args:
        folder: The run's folder.
        rows: The rows up to the first bad one.
        is_whole: Whether these are all.

    Raises:
        RuntimeError: If they are not; the message says how far they are good.
    """
    if not rows and (folder / LINES).exists():
        is_whole = False  # an empty database, where there were rounds
    if not is_whole:
        last = _num_rounds(rows) - 1
        raise RuntimeError(
            f"The journal in {folder} is damaged at row {len(rows)}; "
            + (f"the last good round is {last}. " if last >= 0 else "no round is good. ")
            + (f"To resume from there, run `{command('repair', folder)}` and start again. " if rows else "")
            + PUT_BACK
        )
    try:
        for round in records_of(rows).history:
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


def records_of(rows: Iterable[Row]) -> Records:
    """Return what rows say."""
    return replay(row.body for row in rows)


def check_is_there(folder: Path) -> None:
    """Refuse a folder without a journal.

    Raises:
        FileNotFoundError: If it has none.
    """
    if not os.path.lexists(folder / JOURNAL):
        raise FileNotFoundError(f"There is no run in {folder}: it has no {JOURNAL}.")


def _num_rounds(rows: list[Row]) -> int:
    """Return how many rounds the good rows of a damaged journal hold, none where they contradict each other."""
    try:
        return len(records_of(rows).rounds)
    except UNWRITTEN:
        return 0
