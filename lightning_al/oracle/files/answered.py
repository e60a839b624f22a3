"""The answers in the files of a query, and the lines that are none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_al.oracle.answer import Answer
from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.files.csv_rows import Row, rows_of
from lightning_al.oracle.files.earlier import changed_lines, place_of
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.oracle.files.points import Points
from lightning_al.oracle.files.sheets import LARGEST, Sheets
from lightning_al.oracle.files.taken_up import TakenUp
from lightning_al.oracle.query import Query
from lightning_al.oracle.set_aside import SetAside
from lightning_al.run.files import read_bytes
from lightning_al.run.labels import kind_of_aside
from lightning_al.values.errors import said_shortly
from lightning_al.values.spreadsheets import as_number, as_written


@dataclass(frozen=True)
class Answered:
    """What the files of a query hold.

    Attributes:
        answers: The answers by index, in the order of the query.
        corrections: Corrections of earlier answers, by index.
        refused: What was refused: file, line and reason of each.
        unlisted: The points of the query for which no file has a line, where all lines could be read.
        expected: What a label may be, in words.
        ignored: Lines in files of earlier queries that were changed since: file, line and what it says.
    """

    answers: dict[int, Any]
    corrections: dict[int, Any] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    unlisted: list[int] = field(default_factory=list)
    expected: str = ""
    ignored: list[str] = field(default_factory=list)


def take_up(sheets: Sheets, query: Query, keys: Mapping[int, str]) -> Answered:
    """Read the files of a query.

    Args:
        sheets: The files.
        query: The query, whose `answers` were recorded before.
        keys: The key of each point as text, by index, with those that were answered before.
    """
    points, texts = Points(dict.fromkeys(query.answers, "") | dict(keys)), LabelTexts(query.classes)
    of_all = Points(sheets.keys_of_all() | dict.fromkeys(query.answers, "") | dict(keys))
    taken_up = TakenUp(sheets.taken_up)
    changed = changed_lines(sheets, of_all, texts, lambda index, row: taken_up.answer_of(index, row, texts))
    refused = changed.refused
    found: dict[int, dict[Any, list[str]]] = {}
    efforts: dict[int, list[tuple[Any, Any]]] = {}
    corrections = changed.corrections
    lines, listed, asked = changed.lines, set[int](), set(query)
    for path in sheets.filled():
        try:
            rows = rows_of(read_bytes(path, LARGEST))
        except (OSError, ValueError) as error:
            refused.append(f"{path.name} as a whole: {str(error) or said_shortly(error)}".rstrip(". "))
            continue
        for row in rows:
            if row["label"]:
                changed.texts.setdefault(place_of(row, of_all)[0], set()).add(row["label"])
            try:
                if row.fault is not None:
                    raise AnswerError(row.fault)
                if not row["label"]:
                    with suppress(AnswerError):  # of a line that says nothing
                        listed.add(points.index_of(row))
                else:
                    corrects = texts.corrects(row["label"])
                    index = (of_all if corrects else points).index_of(row)
                    answer = taken_up.answer_of(index, row, texts)
                    listed.add(index)
                    lines.append((index, row, answer))
                    if not corrects and index not in asked and taken_up.has(index, row):
                        continue  # it is recorded, whatever became of it since
                    given = (corrections if corrects else found).setdefault(index, {})
                    given.setdefault(answer, []).append(_where(path, row))
                    if not corrects:
                        efforts.setdefault(index, []).append(_effort(row))
            except AnswerError as error:
                refused.append(f"{_where(path, row)}: {error}")
    sheets.remember(changed.texts)
    refused += [_several(index, given, query) for index, given in corrections.items() if len(given) > 1]
    agreed: set[int] = set()
    for index, given in found.items():
        try:
            if len(given) > 1:
                raise AnswerError(_several(index, given, query))
            if index not in asked and index not in corrections:
                _check_recorded(index, next(iter(given)), query)
                agreed.add(index)
        except AnswerError as error:
            refused.append(str(error) if len(given) > 1 else f"{next(iter(given.values()))[0]}: {error}")
            asked.discard(index)
    answers = {
        index: _with_effort(next(iter(found[index])), efforts[index])
        for index in query
        if index in asked and index in found
    }
    corrected = {index: next(iter(given)) for index, given in corrections.items() if len(given) == 1}
    taken_up.keep(
        (index, row, answer)
        for index, row, answer in lines
        if taken_up.has(index, row) or index in (corrected if isinstance(answer, Correction) else agreed | {*answers})
    )
    unlisted = [] if refused else [index for index in query if index not in listed]
    return Answered(answers, corrected, refused, unlisted, texts.expected, changed.ignored)


def _several(index: int, given: Mapping[Any, list[str]], query: Query) -> str:
    several = " and ".join(f"{_written(one, query)} in {places[0]}" for one, places in given.items())
    return f"index {index} has more than one answer, {several}"


def _effort(row: Row) -> tuple[Any, Any]:
    """Return the seconds and the name of a row, each None where the cell is empty, or else as it is written."""
    seconds = as_number(row["seconds"])
    return (row["seconds"] or None) if seconds is None else float(seconds), as_written(row["who"]) or None


def _with_effort(answer: Any, efforts: list[tuple[Any, Any]]) -> Any:
    """Return an answer with what the first row says that says something, of those that agree in the answer."""
    seconds, who = next((effort for effort in efforts if effort != (None, None)), (None, None))
    return answer if (seconds, who) == (None, None) else Answer(answer, seconds, who)


def _check_recorded(index: int, answer: Any, query: Query) -> None:
    """Refuse an answer that was changed after it was recorded. A point may also have left the pool since."""
    recorded, now = query.answers.get(index), answer.to_plain() if isinstance(answer, SetAside) else answer
    if recorded is None or recorded == now or str(recorded) == str(now):
        return
    raise AnswerError(
        f"index {index} is recorded as {_written(recorded, query)}, and a changed line changes no recorded answer; put "
        f"it back, or write `correct: {_written(answer, query)}`"
    )


def _written(answer: Any, query: Query) -> str:
    """Return an answer as it is written, given as an oracle returns it or as it is recorded."""
    if isinstance(answer, Correction):
        return f"correct: {_written(answer.label, query)}"
    plain = answer.to_plain() if isinstance(answer, SetAside) else answer
    if (kind := kind_of_aside(plain)) is not None:
        return ": ".join(filter(None, [kind, plain.get("reason"), plain.get("text")]))
    name = query.classes.get(answer) if isinstance(answer, int) else None
    return str(answer if name is None else name)


def _where(path: Path, row: Row) -> str:
    return f"{path.name}, line {row.line}"
