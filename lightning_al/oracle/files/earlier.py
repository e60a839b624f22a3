"""The lines in files of earlier queries that were changed after these had ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.files.csv_rows import Row, rows_of
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.oracle.files.points import Points
from lightning_al.oracle.files.sheets import LARGEST, Sheets
from lightning_al.run.files import read_bytes
from lightning_al.values.whole_numbers import shown

Texts = Mapping[str, Collection[str]]
"""What files say of each point, by its index as text; of lines whose point is not known, by an empty text."""

Read = Callable[[int, Row], Any]
"""Returns the answer in a row for a point, or raises an `AnswerError` if it is none."""


@dataclass(frozen=True)
class Changed:
    """What changed in the files of earlier queries.

    Attributes:
        corrections: New corrections by index, each with the lines that say so.
        refused: New corrections that cannot be read: file, line and reason of each.
        ignored: Other new lines: file, line and what it says.
        texts: The text of the new corrections.
        lines: The rows of the new corrections, each with its point and its correction.
    """

    corrections: dict[int, dict[Any, list[str]]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    texts: dict[str, set[str]] = field(default_factory=dict)
    lines: list[tuple[int, Row, Any]] = field(default_factory=list)


def changed_lines(sheets: Sheets, points: Points, texts: LabelTexts, read: Read) -> Changed:
    """Return what changed in the files of earlier queries since these had ended.

    Args:
        sheets: The files of the open query.
        points: The points of all queries.
        texts: Tells corrections.
        read: Reads a correction.
    """
    changed = Changed()
    known = sheets.texts_before()
    for path, is_known in sheets.filled_before():
        if not is_known:  # of a version that remembered nothing
            continue
        try:
            rows = rows_of(read_bytes(path, LARGEST))
        except (OSError, ValueError) as error:
            changed.ignored.append(f"{path.name} as a whole ({str(error).rstrip('. ')})")
            continue
        for row in rows:
            if row["label"]:
                _look_at(row, f"{path.name}, line {row.line}", known, points, texts, read, changed)
    return changed


def _look_at(
    row: Row, where: str, known: Texts, points: Points, texts: LabelTexts, read: Read, changed: Changed
) -> None:
    text = row["label"]
    place, fault = place_of(row, points)
    if text in known.get(place, ()):
        return
    if not _corrects(text, texts):
        before = " or ".join(shown(one) for one in sorted(known.get(place, ()))) if place else ""
        changed.ignored.append(f"{where}, says {shown(text)}{f' and said {before}' if before else ''}")
        return
    changed.texts.setdefault(place, set()).add(text)
    try:
        if fault is not None:
            raise fault
        index = int(place)
        correction = read(index, row)
        changed.corrections.setdefault(index, {}).setdefault(correction, []).append(where)
        changed.lines.append((index, row, correction))
    except AnswerError as error:
        changed.refused.append(f"{where}: {error}")


def _corrects(text: str, texts: LabelTexts) -> bool:
    with suppress(AnswerError):  # of a text that may be several classes
        return texts.corrects(text)
    return False


def place_of(row: Row, points: Points) -> tuple[str, AnswerError | None]:
    """Return the index of a row's point as text, or an empty text and what is wrong with it."""
    try:
        if row.fault is not None:
            raise AnswerError(row.fault)
        return str(points.index_of(row)), None
    except AnswerError as error:
        return "", error


def answer_of(row: Row, texts: LabelTexts) -> Any:
    """Return the answer in a row that has a label.

    Raises:
        AnswerError: If it is none, or if the file may end in the middle of it.
    """
    label, note = row["label"], re.sub(r"^'(?=[=+\-@])", "", row["note"])
    if row.is_cut and texts.may_go_on(label):
        raise AnswerError(f"the file ends in the middle of {shown(label)}, or right after it; add the end of the line")
    return texts.answer(label, note)
