"""The record of a run on disk: what it is, and what each of its rounds did."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_al.run.effort import Effort
from lightning_al.run.folder import KEYS, member_name
from lightning_al.run.history import History, Round
from lightning_al.run.journal_database import chained
from lightning_al.run.journal_folder import JournalFolder
from lightning_al.run.journal_reading import read_records, records_of, salvage
from lightning_al.run.keys_file import keys_text
from lightning_al.run.labels import Change, Label
from lightning_al.run.records import OpenQuery, Records
from lightning_al.run.schemas import SCHEMA
from lightning_al.run.stopping import held_back
from lightning_al.run.weights_file import weights_file


class Journal:
    """Keep a run's rows in a folder, each written whole or not at all.

    The rows lie in ``journal.sqlite`` (SQLite's rollback journal, synchronous=EXTRA). The first is the header. Then
    each round has one, and so has each query before it is asked, each set of answers, each change of a label, and each
    fit of a round that takes several (see `lightning_al.run.records`). No row is ever altered or removed. Each carries
    a hash of itself and the row before, and the database's `user_version` is their number, so a row that is altered or
    missing is noticed.

    Beside the rows lie the weights, each file with a hash of its own; ``history.jsonl``, the rounds for people to read;
    and ``writer.json``, which says who wrote last. While the journal is open, ``writer.lock`` is locked (see
    `RunLock`). Network file systems are not supported, because locks are not reliable there.

    Before each change the database is compared with the rows that this journal wrote. If the folder was moved, or the
    database deleted, replaced or damaged, the run and the change are written to a new folder beside its own, and an
    error says so: nothing is written into another run's files, and no label is lost.

    Args:
        folder: The run's folder, made if it is missing. A relative one is taken from the current directory.

    Attributes:
        records: All that the rows say.

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
        self._place = JournalFolder(Path(folder).absolute())
        self._is_sure = True
        try:
            with held_back():
                self._rows = self._place.open()
                self.records = records_of(self._rows)
                self._place.write_writer()
                self._place.remove_parts()
                if self._rows:
                    self._place.write_for_people(self.records)
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """The run's folder, absolute: the new one where the run lost its own."""
        return self._place.path

    @property
    def weights_at_hand(self) -> Callable[[], Mapping[str, Mapping[str, Tensor]]]:
        """Returns the weights, by name, that the run needs in a new folder if it loses its own."""
        return self._place.weights_at_hand

    @weights_at_hand.setter
    def weights_at_hand(self, find: Callable[[], Mapping[str, Mapping[str, Tensor]]]) -> None:
        self._place.weights_at_hand = find

    @property
    def header(self) -> dict[str, Any] | None:
        """What the run is, as `begin` was told, or None in a new folder."""
        return dict(self._rows[0].body) if self._rows else None

    @property
    def run_id(self) -> str | None:
        """The run's id, or the hash of its first row in version 0.1.0; None in a new folder."""
        return str(self._rows[0].body.get("id", self._rows[0].hash)) if self._rows else None

    @property
    def history(self) -> History:
        """The rounds recorded so far."""
        return self.records.history

    @property
    def labels(self) -> list[dict[int, Label]]:
        """The labels that an oracle gave after each round, by index."""
        return self.records.labels

    @property
    def members(self) -> list[dict[str, Any]]:
        """The fits of the next round that were done and whose weights lie in the folder, as plain data."""

        def is_there(plain: dict[str, Any]) -> bool:
            return (self.folder / f"{member_name(plain['round'], plain['number'])}.pt").exists()

        return list(itertools.takewhile(is_there, self.records.members))

    def begin(self, header: Mapping[str, Any]) -> None:
        """Write the first row: what the run is."""
        if self._rows:
            raise RuntimeError(f"`Journal.begin`: the run in {self.folder} has begun already.")
        self.write_rows({"schema": SCHEMA, **header})

    def append(
        self,
        round: Round,
        labels: Mapping[int, Any],
        items: Mapping[int, Sequence[Any]] | None = None,
        efforts: Mapping[int, Effort] | None = None,
    ) -> None:
        """Write what a round did, with the labels of the points that it queried.

        Args:
            round: The round.
            labels: The labels, by index.
            items: Keys and hashes of the labelled points, if known.
            efforts: What is known of the answers besides.

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
        body = {"round": round.to_dict(), "labels": {str(index): label for index, label in labels.items()}}
        body |= {"items": {str(i): list(item) for i, item in items.items()}} if items else {}
        self.write_rows(body | _by(efforts))

    def ask(self, query: OpenQuery) -> None:
        """Write a query, before anybody is asked. An open query may be written again."""
        self.write_rows({"query": query.to_dict()})

    def answer(self, answers: Mapping[int, Label], efforts: Mapping[int, Effort] | None = None) -> None:
        """Write answers to the open query, so that these points are never asked again.

        Args:
            answers: The answers, by index.
            efforts: What is known of them besides.

        Raises:
            RuntimeError: If no query is open.
        """
        if self.records.query is None:
            raise RuntimeError(
                f"`Journal.answer`: the run in {self.folder} has no open query. Call `Journal.ask` first."
            )
        self.write_rows({"answers": {str(index): label for index, label in answers.items()}} | _by(efforts))

    def append_member(self, plain: Mapping[str, Any]) -> None:
        """Write what a fit of the next round did, where a round takes several. Its weights lie in the folder."""
        self.write_rows({"member": dict(plain)})

    def change(self, *changes: Change) -> None:
        """Write changes of labels, all or nothing. The earlier labels stay in their rows."""
        self.write_rows(*self._bodies_of(changes))

    def change_classes(self, classes: Mapping[str, Any], *changes: Change) -> None:
        """Write the classes that the run has from now on, and changes of labels, all or nothing."""
        self.write_rows({"classes": dict(classes)}, *self._bodies_of(changes))

    def _bodies_of(self, changes: Sequence[Change]) -> list[dict[str, Any]]:
        answers = {} if self.records.query is None else self.records.query.answers
        bodies: list[dict[str, Any]] = []
        for change in changes:
            if change.index in answers and not change.given_back:
                bodies.append({"answers": {str(change.index): change.label}})
            else:
                plain = {"index": change.index, "label": change.label, "given_back": change.given_back}
                bodies.append({"change": plain})
        return bodies

    def take_back(self) -> None:
        """Take the last round back, to run it again with a larger budget.

        Raises:
            RuntimeError: If there is no round.
        """
        if not self.records.rounds:
            raise RuntimeError(
                f"`Journal.take_back`: the run in {self.folder} has no round to take back. Append one first."
            )
        self.write_rows({"taken_back": len(self.records.rounds) - 1})

    def save_weights(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Save weights under a name, in one step, with a hash by which they are known to be whole."""
        content = weights_file(weights)
        self._place.is_moved_out(self._rows, self._rows)
        self._place.write(f"{name}.pt", content)

    def save_keys(self, keys: Sequence[str | int]) -> None:
        """Save the key of each index, in one step."""
        self._place.keys = keys_text(keys)
        self._place.is_moved_out(self._rows, self._rows)
        self._place.write(KEYS, self._place.keys)

    def remove_weights(self, name: str) -> None:
        """Remove weights that are no longer needed, if there are any of that name."""
        self._place.remove(f"{name}.pt")

    def close(self) -> None:
        """Release the folder."""
        self._place.close()

    def drop(self) -> None:
        """Release the folder as a process does that ends: all files stay."""
        self._place.drop()

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
        return read_records(Path(folder))

    @staticmethod
    def salvage(folder: str | os.PathLike[str]) -> int:
        """Make a journal of the good rows at the beginning of a damaged one, and keep the damaged one beside it.

        A run that is started again on the folder resumes from these rows.

        Returns:
            How many rounds are good.

        Raises:
            FileNotFoundError: If the folder holds no run.
            RuntimeError: If no row is good, or if a process writes to the folder.
        """
        return salvage(Path(folder))

    def write_rows(self, *bodies: dict[str, Any]) -> None:
        """Add rows, all or nothing."""
        rows = chained(bodies, self._rows)
        for row in rows[len(self._rows) :]:
            _ = row.body  # what cannot be read again is not written
        if not self._is_sure:
            raise RuntimeError(
                f"A write to the run folder {self.folder} failed before, so the journal cannot tell what it holds. "
                "Start the run again on the folder to resume from there."
            )
        with held_back():
            self._is_sure = False  # until all of it is done
            self._place.insert(self._rows, rows)
            records = records_of(rows)
            self._place.write_for_people(records)
            self._rows, self.records = rows, records
            self._is_sure = True
        if self._place.lost is not None:
            raise RuntimeError(self._place.lost)


def _by(efforts: Mapping[int, Effort] | None) -> dict[str, Any]:
    """Return the part of a row that says how long answers took, and who gave them."""
    return {"by": {str(index): effort.to_plain() for index, effort in efforts.items()}} if efforts else {}
