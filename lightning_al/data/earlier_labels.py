"""The labels of an earlier run, from which another one starts: with another network, task or method."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_al.data.keys import Key
from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS, Effort
from lightning_al.run.folder import JOURNAL, LABELS
from lightning_al.run.journal import Journal
from lightning_al.run.keys_file import load_keys
from lightning_al.run.labels import SET_ASIDE, Label
from lightning_al.run.recorded_labels import recorded_labels
from lightning_al.task.class_names import Classes
from lightning_al.values.errors import first_few
from lightning_al.values.spreadsheets import SEPARATORS, as_number, as_written, decoded

COLUMNS = ("key", "index", "label", "class", "state", "note")
"""The columns that a ``labels.csv`` must have to be read. Those of an earlier version lack `who` and `seconds`."""


@dataclass(frozen=True)
class EarlierLabels:
    """The answers of an earlier run in their order.

    Attributes:
        source: Where they come from, for errors.
        by_key: The answers by the key of their items, or by index where items have no keys. A class is its name where
            it has one. None stands for the label that the data have themselves.
        audit: The keys of the points by which the earlier run measured accuracy, in the order of their answers.
        efforts: How long these answers took and who gave them, by the same keys, as far as it is known.
    """

    source: str
    by_key: Mapping[Key, Label]
    audit: Sequence[Key] = ()
    efforts: Mapping[Key, Effort] = field(default_factory=dict)

    def by_index(self, keys: list[Key] | None, size: int) -> dict[int, Label]:
        """Return the answers by the indices of this run.

        Args:
            keys: The key of each index, or None where items have none.
            size: Number of items.

        Raises:
            ValueError: If an answer is for an item that is not there.
        """
        return {index: self.by_key[key] for key, index in self._found(list(self.by_key), keys, size).items()}

    def audit_by_index(self, keys: list[Key] | None, size: int) -> list[int]:
        """Return the audit points of the earlier run by the indices of this one, in the order of their answers.

        Raises:
            ValueError: If one is for an item that is not there.
        """
        return list(self._found(self.audit, keys, size).values())

    def check_classes(self, classes: Classes) -> None:
        """Refuse labels of classes that the data do not have, before a run begins with those that they have.

        Args:
            classes: The classes of the data. Where nothing is known of them, nothing is refused.

        Raises:
            ValueError: If there are such labels; the message names all their classes.

        >>> EarlierLabels("runs/p1", {"a.png": "cat"}).check_classes(Classes({"cat": 0}))
        """
        strange: dict[str, None] = {}
        for answer in self.by_key.values():
            if isinstance(answer, str) and classes.numbers and answer not in classes.numbers:
                strange[repr(answer)] = None
            elif type(answer) is int and classes.allowed is not None and answer not in classes.allowed:
                strange[f"number {answer}"] = None
        if strange:
            known = list(map(repr, classes.numbers)) or list(map(str, classes.allowed or ()))
            raise ValueError(
                f"`ActiveDataModule(labels=...)`: {self.source} has labels of the classes {first_few(list(strange))}, "
                f"which are not in `classes` (data.classes on the command line): {first_few(known)}. Add them there, "
                "or rename them in the earlier run by `lightning-al-journal rename-class`."
            )

    def _found(self, wanted: Sequence[Key], keys: list[Key] | None, size: int) -> dict[Key, int]:
        places = _places(wanted, keys, size)
        strange = [key for key in wanted if key not in places]
        if strange:
            raise ValueError(
                f"`ActiveDataModule(labels=...)`: {len(strange)} labels of {self.source} are of items that the data do "
                f"not have: {first_few(list(map(repr, strange)))}. Put the items back, or remove these lines from a "
                f"copy of {LABELS}, and pass that."
            )
        return {key: places[key] for key in wanted}

    def efforts_by_index(self, keys: list[Key] | None, size: int) -> dict[int, Effort]:
        """Return how long the answers took and who gave them, by the indices of this run."""
        places = _places(list(self.efforts), keys, size)
        return {places[key]: effort for key, effort in self.efforts.items() if key in places and effort.is_known}


def _places(wanted: Sequence[Key], keys: list[Key] | None, size: int) -> dict[Key, int]:
    """Return the index of each key that the data have.

    In a table all keys are texts, and where each equals its index, it may be of a run without keys. Such a number
    stands for the key of this text only where both are the same point.
    """
    exact: dict[Any, int] = {key: index for index, key in enumerate(range(size) if keys is None else keys)}
    by_text = {} if keys is None else {str(key): index for key, index in exact.items()}
    found: dict[Key, int] = {}
    for key in wanted:
        index = exact.get(key, by_text.get(str(key)))
        if index is not None and (key in exact or isinstance(key, str) or key == index):
            found[key] = index
    return found


def read_labels(given: str | os.PathLike[str]) -> EarlierLabels:
    """Read the labels of an earlier run.

    Args:
        given: The run's folder, or its ``labels.csv`` or a copy of that.

    Raises:
        FileNotFoundError: If there is neither.
        RuntimeError: If a process runs the run, or its journal is damaged.
        ValueError: If the table has not the columns of a ``labels.csv``, or contradicts itself.
    """
    path = Path(given)
    if (path / JOURNAL).is_file():
        return EarlierLabels(str(path), *_of_run(path))
    if path.is_file():
        return EarlierLabels(str(path), *_of_table(path))
    raise FileNotFoundError(
        f"`ActiveDataModule(labels={str(given)!r})` is neither a run's folder nor a file. Pass the folder of an "
        f"earlier run, or its {LABELS}."
    )


def _of_run(folder: Path) -> tuple[dict[Key, Label], list[Key], dict[Key, Effort]]:
    records, keys = Journal.read(folder), load_keys(folder)
    classes = Classes.from_dict((records.header or {}).get("classes"))
    found: dict[Key, Label] = {}
    audit: list[Key] = []
    efforts: dict[Key, Effort] = {}
    for one in recorded_labels(records):
        key: Key = keys[one.index] if keys else one.index
        efforts[key] = one.effort
        if one.is_audit:
            audit.append(key)
        if one.state == "given back":
            found.pop(key, None)
        else:  # None is the dataset's own, which another run finds there too
            name = classes.name_of(one.label) if isinstance(one.label, int) else None
            found[key] = one.label if name is None else name
    return found, audit, efforts


def _of_table(path: Path) -> tuple[dict[Key, Label], list[Key], dict[Key, Effort]]:
    found: dict[Key, Label] = {}
    audit: list[Key] = []
    efforts: dict[Key, Effort] = {}
    rows = list(_rows_of(path))
    are_indices = all(row["key"] == row["index"] and row["index"].isdecimal() for _, row in rows)
    for line, row in rows:
        key, answer = int(row["index"]) if are_indices else as_written(row["key"]), _answer(row)
        efforts[key] = _effort(row)
        if row.get("audit") == "yes":
            audit.append(key)
        if row["state"] == "given back":
            found.pop(key, None)
        elif key in found and found[key] != answer:
            raise ValueError(
                f"The table of labels {path} has two labels for {key!r}: {found[key]!r}, and {answer!r} in line "
                f"{line}. Remove one of them from the table that `ActiveDataModule(labels=...)` reads."
            )
        else:
            found[key] = answer
    return found, audit, efforts


def _rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of the last line and the cells of each row, whichever program saved the table."""
    text = decoded(path.read_bytes())
    tables = [
        csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="", strict=True)
        for separator in SEPARATORS
    ]
    table = min(tables, key=lambda table: len(_missing(table)))
    if missing := _missing(table):
        raise ValueError(
            f"The table of labels {path} lacks the columns {', '.join(missing)}. Pass the {LABELS} of a run to "
            "`ActiveDataModule(labels=...)`, or a copy of it."
        )
    if any(separator in name for name in table.fieldnames or () for separator in SEPARATORS):
        raise _unreadable(path, 1, "its columns are in one cell")
    try:
        for row in table:
            if any(cell.strip() for cell in row.pop(None, ())):
                raise _unreadable(path, table.line_num, "it has more cells than the header")
            yield table.line_num, row
    except csv.Error as error:
        raise _unreadable(path, table.reader.line_num, str(error)) from error


def _unreadable(path: Path, line: int, why: str) -> ValueError:
    return ValueError(
        f"The table of labels {path} cannot be read at line {line}: {why}. Write each label into a row of its own, and "
        "each column into a cell of its own."
    )


def _missing(table: csv.DictReader[str]) -> list[str]:
    names: Sequence[str] = ()
    with suppress(csv.Error):  # as with another separator than that of the file
        names = table.fieldnames or ()
    return [name for name in COLUMNS if name not in names]


def _effort(row: Mapping[str, str]) -> Effort:
    """Return how long an answer took and who gave it. A cell that says neither stands for not known."""
    number = as_number(row.get("seconds") or "")
    seconds = float(number) if number is not None and 0 <= number <= MOST_SECONDS else None
    who = as_written(row.get("who") or "").strip()
    return Effort(seconds, who if who and who.isprintable() and len(who) <= LONGEST_NAME else None)


def _answer(row: Mapping[str, str]) -> Label:
    if row["state"] in ("skip", "unusable", "other"):
        note = {"unusable": "reason", "other": "text"}.get(row["state"])
        return {SET_ASIDE: row["state"], **({note: row["note"]} if note else {})}
    name = row["class"]
    if name:
        return as_written(name)
    try:
        return int(row["label"])
    except ValueError:
        return row["label"]
