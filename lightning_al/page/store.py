"""The answers that people gave on the page, each on disk before it is acknowledged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_al.run.files import LARGEST_JOURNAL, check_plain, parse_json
from lightning_al.run.hostile_database import check_database, has_program

TABLE = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, "
    "point INTEGER NOT NULL, answer TEXT, of TEXT, seconds REAL, who TEXT, client TEXT NOT NULL, "
    "suggestion_shown INTEGER NOT NULL, at REAL NOT NULL)"
)

COLUMNS = ("seq", "id", "kind", "point", "answer", "of", "seconds", "who", "client", "suggestion_shown", "at")

SECONDS = 10.0
"""How long to wait for another process that reads or writes."""

LARGEST_ANSWER = 2**20
"""Characters of an answer."""


@dataclass(frozen=True)
class Event:
    """An answer, or the undoing of one.

    Attributes:
        id: The browser's own name of it, by which it is recorded once however often it is sent.
        kind: Whether it answers, or takes an answer back.
        point: Index of the point.
        answer: The answer: ``{"class": 1}``, ``{"skip": true}``, ``{"unusable": "reason"}`` or ``{"other": "text"}``.
        of: The `id` of the answer that is taken back.
        seconds: How long it took, or None.
        who: Who gave it, or None.
        client: The browser's tab.
        suggestion_shown: Whether the model's belief was shown.
        at: When, in seconds since 1970.
        seq: Its number in the store, from 1.
    """

    id: str
    kind: Literal["answer", "undo"]
    point: int
    answer: dict[str, Any] | None = None
    of: str | None = None
    seconds: float | None = None
    who: str | None = None
    client: str = ""
    suggestion_shown: bool = False
    at: float = 0.0
    seq: int = 0


@dataclass
class Ledger:
    """What the events say in the end.

    Attributes:
        by_id: All events.
        answers: The answer of each point that has one, in the order in which they came.
        undone: The points whose last answer was taken back, with that answer.
        first: The number of the first answer of each point that was ever answered.
        last: Number of the last event.
        outdated: For each point that was given back, the number of the last event of its old label. The events up to it
            count no more.

    >>> ledger = Ledger()
    >>> ledger.add(Event("a", "answer", 7, {"class": 1}, seq=1))
    >>> ledger.add(Event("b", "undo", 7, of="a", seq=2))
    >>> ledger.answers, list(ledger.undone)
    ({}, [7])
    >>> Ledger.of(ledger.by_id.values(), outdated={7: 2}).undone
    {}
    """

    by_id: dict[str, Event] = field(default_factory=dict)
    answers: dict[int, Event] = field(default_factory=dict)
    undone: dict[int, Event] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    last: int = 0
    outdated: Mapping[int, int] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take an event over."""
        self.by_id[event.id] = event
        self.last = max(self.last, event.seq)
        if event.seq <= self.outdated.get(event.point, 0):
            return
        if event.kind == "answer":
            self.undone.pop(event.point, None)
            self.answers[event.point] = event
            self.first.setdefault(event.point, event.seq)
        elif event.point in self.answers and self.answers[event.point].id == event.of:
            self.undone[event.point] = self.answers.pop(event.point)

    @classmethod
    def of(cls, events: Iterable[Event], outdated: Mapping[int, int] | None = None) -> Ledger:
        """Return what some events say, in the order of their numbers."""
        ledger = cls(outdated=outdated or {})
        for event in events:
            ledger.add(event)
        return ledger


class Store:
    """Write events. There is one such object for a store, in the page's process.

    Args:
        path: Its file.

    Attributes:
        ledger: What the events so far say.

    Raises:
        ValueError: If the file is none of ours, or a link.
    """

    def __init__(self, path: Path) -> None:
        _check(path)
        # The lock of its owner guards it, in whichever thread.
        self._database = sqlite3.connect(path, isolation_level=None, timeout=SECONDS, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode=DELETE")
            self._database.execute("PRAGMA synchronous=EXTRA")
            if not self._database.execute("SELECT 1 FROM sqlite_master").fetchall():
                self._database.execute(TABLE)
            self.ledger = Ledger.of(_read(self._database, path, 0))
        except BaseException:
            self._database.close()
            raise

    def add(self, events: Sequence[Event]) -> list[Event]:
        """Write events, all or none. They are on disk when this returns, and have their numbers."""
        if not events:
            return []
        added = []
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for event in events:
                values = [getattr(event, name) for name in COLUMNS[1:]]
                values[COLUMNS.index("answer") - 1] = None if event.answer is None else json.dumps(event.answer)
                marks = ", ".join("?" * len(values))
                done = self._database.execute(f"INSERT INTO events ({', '.join(COLUMNS[1:])}) VALUES ({marks})", values)
                added.append(replace(event, seq=int(done.lastrowid or 0)))
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        for event in added:
            self.ledger.add(event)
        return added

    def leave_out(self, outdated: Mapping[int, int]) -> None:
        """Let the ledger say nothing of outdated answers. They stay in the file."""
        if outdated != self.ledger.outdated:
            self.ledger = Ledger.of(self.ledger.by_id.values(), outdated)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def read_events(path: Path, after: int = 0) -> list[Event]:
    """Return the events of a store after one, without writing to it; nothing where there is no store yet.

    Raises:
        ValueError: If the file is none of ours.
        sqlite3.Error: If it cannot be read, such as while a process that was killed has left a change half done.
    """
    if not path.exists():
        return []
    _check(path)
    with closing(_to_read(path)) as database:
        return _read(database, path, after)


def last_event(path: Path) -> int:
    """Return the number of the last event of a store, 0 where there is none. It raises what `read_events` raises."""
    if not path.exists():
        return 0
    _check(path)
    with closing(_to_read(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
            return 0
        (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        return int(last)


def _to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=SECONDS)


def _check(path: Path) -> None:
    try:
        check_plain(path, LARGEST_JOURNAL)
    except FileNotFoundError:
        return
    check_database(path)


def _read(database: sqlite3.Connection, path: Path, after: int) -> list[Event]:
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ANSWER)
    tables = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    if not tables:  # its process was killed before it made the table
        return []
    if has_program(database) or (TABLE,) not in tables:
        raise ValueError(
            f"{path} is a database that no page wrote, where a page keeps its answers. Remove it, or put back a copy "
            "of the answers."
        )
    rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM events WHERE seq > ? ORDER BY seq", [after])
    return [_event(dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _event(row: dict[str, Any]) -> Event:
    answer = None if row["answer"] is None else parse_json(row["answer"])
    return Event(**{**row, "answer": answer, "suggestion_shown": bool(row["suggestion_shown"])})
