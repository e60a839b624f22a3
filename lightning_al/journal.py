"""The truth about a run on disk: what it is, and what each of its rounds did."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_al.history import History, Round

SCHEMA = 1


class Journal:
    """Keep a run's rows in a folder, each written whole or not at all.

    The rows lie in ``journal.sqlite`` (SQLite's rollback journal, synchronous=FULL): first the header, then one row a
    round. Each row carries a hash of itself and the row before. ``history.jsonl`` beside it holds the same rounds for
    people to read, and is written anew from the rows. Network file systems are not supported, since SQLite's locks
    are not reliable there.

    Args:
        folder: The run's folder, made where it is missing.

    Raises:
        RuntimeError: If another process writes to the folder, or if a row is damaged.

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
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(self.folder / "journal.sqlite", isolation_level=None, timeout=1.0)
        try:
            with _explained(self.folder):
                self._database.execute("PRAGMA journal_mode=DELETE")
                self._database.execute("PRAGMA synchronous=FULL")
                # The lock is held until the journal is closed or the process ends, so that there is one writer.
                self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
                with self._transaction():
                    self._database.execute(
                        "CREATE TABLE IF NOT EXISTS rows "
                        "(number INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL)"
                    )
                self._rows = _read_rows(self._database, self.folder)
            if len(self._rows) > 1:
                self._write_for_people()
        except BaseException:
            self._database.close()
            raise

    @property
    def header(self) -> dict[str, Any] | None:
        """What the run is, as `begin` was told, or None in a new folder."""
        return dict(self._rows[0][0]) if self._rows else None

    @property
    def history(self) -> History:
        """The rounds recorded so far."""
        return _history(self._rows)

    @property
    def labels(self) -> list[dict[int, Any]]:
        """The labels that an oracle gave after each round, by index."""
        return [{int(index): label for index, label in body["labels"].items()} for body, _ in self._rows[1:]]

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
        if round.number != len(self._rows) - 1:
            raise RuntimeError(
                f"`Journal.append` expected round {len(self._rows) - 1} of the run in {self.folder}, but got round "
                f"{round.number}."
            )
        self._append({"round": round.to_dict(), "labels": {str(index): label for index, label in labels.items()}})
        self._write_for_people()

    def take_back(self) -> None:
        """Remove the last round, which is to be run again with more to ask for."""
        with self._transaction():
            self._database.execute("DELETE FROM rows WHERE number = ?", (len(self._rows) - 1,))
        self._rows.pop()
        self._write_for_people()

    def save_weights(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Save weights under a name, in one step."""
        with replacing(self.folder / f"{name}.pt") as path:
            torch.save(dict(weights), path)

    def remove_weights(self, name: str) -> None:
        """Remove weights that are needed no longer, where there are any of that name."""
        (self.folder / f"{name}.pt").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder."""
        self._database.close()

    @staticmethod
    def read_history(folder: str | os.PathLike[str]) -> History:
        """Read the rounds recorded in a folder, where no process writes to it, and write nothing there.

        Raises:
            FileNotFoundError: If the folder holds no run.
            RuntimeError: If a process writes to the folder, or if a row is damaged.
        """
        path = Path(folder) / "journal.sqlite"
        if not path.exists():
            raise FileNotFoundError(f"There is no run in {folder}: it has no journal.sqlite.")
        with closing(sqlite3.connect(path, timeout=1.0)) as database, _explained(path.parent):
            return _history(_read_rows(database, path.parent))

    def _append(self, body: dict[str, Any]) -> None:
        previous = self._rows[-1][1] if self._rows else ""
        text = json.dumps(body)
        row_hash = _hash(previous, text)
        with self._transaction():
            self._database.execute("INSERT INTO rows VALUES (?, ?, ?)", (len(self._rows), text, row_hash))
        self._rows.append((json.loads(text), row_hash))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _write_for_people(self) -> None:
        with replacing(self.folder / "history.jsonl") as path:
            path.write_text("".join(json.dumps(body["round"]) + "\n" for body, _ in self._rows[1:]))


def load_weights(folder: str | os.PathLike[str], name: str) -> dict[str, Tensor]:
    """Load weights that a journal saved under a name; any process may, while another writes the journal."""
    weights: dict[str, Tensor] = torch.load(Path(folder) / f"{name}.pt", map_location="cpu", weights_only=True)
    return weights


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Offer a temporary path to write a file to, and move it into place when it is whole and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what an error of SQLite's means for the run folder."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise RuntimeError(
                f"Another process is writing to the run folder {folder}. Wait until it ends, or choose another folder."
            ) from error
        if not isinstance(error, sqlite3.OperationalError):
            raise RuntimeError(
                f"The journal in {folder} is damaged: {error}. Put back a copy of journal.sqlite from before, or begin "
                "again in another folder."
            ) from error
        raise


def _history(rows: list[tuple[dict[str, Any], str]]) -> History:
    return History(Round.from_dict(body["round"]) for body, _ in rows[1:])


def _read_rows(database: sqlite3.Connection, folder: Path) -> list[tuple[dict[str, Any], str]]:
    rows: list[tuple[dict[str, Any], str]] = []
    previous = ""
    for number, text, row_hash in database.execute("SELECT number, body, hash FROM rows ORDER BY number"):
        if number != len(rows) or row_hash != _hash(previous, text):
            raise RuntimeError(
                f"The journal in {folder} is damaged at row {len(rows)}; "
                + (f"the last good round is {len(rows) - 2}. " if len(rows) > 1 else "no round is good. ")
                + "Put back a copy of journal.sqlite from before, or begin again in another folder."
            )
        rows.append((json.loads(text), row_hash))
        previous = row_hash
    if rows and rows[0][0].get("schema") != SCHEMA:
        raise RuntimeError(
            f"The journal in {folder} has schema {rows[0][0].get('schema')}, but this version of lightning_al reads "
            f"schema {SCHEMA}. Use the version that wrote it."
        )
    return rows


def _hash(previous: str, text: str) -> str:
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
