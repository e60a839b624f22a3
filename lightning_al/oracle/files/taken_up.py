"""What lines were read as when they were taken up, since a class may have another name afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_al.oracle.correction import Correction
from lightning_al.oracle.files.csv_rows import Row
from lightning_al.oracle.files.earlier import answer_of
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.run.files import read_json, replacing
from lightning_al.values.errors import said_shortly


class TakenUp:
    """The lines that earlier calls took up for a query, by what they say.

    A line that names a class is known by its label, and any other line by its label and its note.

    Args:
        path: The file that keeps them.

    Raises:
        ValueError: If the file cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "taken.json")
    ...     TakenUp(path).keep([(7, Row(2, {"label": "cat"}), 0)])
    ...     taken_up, renamed = TakenUp(path), LabelTexts({0: "feline", 1: "cat"})
    ...     [taken_up.answer_of(index, Row(2, {"label": "cat"}), renamed) for index in (7, 3)]
    [0, 1]
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[int, dict[str, int | None]] = {}
        try:
            for index, known in read_json(path).items():
                self._numbers[int(index)] = {str(said): None if n is None else int(n) for said, n in known.items()}
        except FileNotFoundError:
            pass
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"Which lines of a query were taken up, in {path}, cannot be read ({said_shortly(error)}). Remove this "
                "file."
            ) from error

    def has(self, index: int, row: Row) -> bool:
        """Return whether a line was taken up for a point and says the same as then."""
        known = self._numbers.get(index, {})
        return row["label"] in known or _whole(row) in known

    def answer_of(self, index: int, row: Row, texts: LabelTexts) -> Any:
        """Return the answer in a row that has a label: the class that it was taken for, or else what it says now.

        Raises:
            AnswerError: If it is none.
        """
        number = self._numbers.get(index, {}).get(row["label"])
        if number is None:
            return answer_of(row, texts)
        return Correction(number) if texts.corrects(row["label"]) else number

    def keep(self, lines: Iterable[tuple[int, Row, Any]]) -> None:
        """Remember these lines, each with its point and its answer, and forget all others.

        Raises:
            OSError: If the file cannot be written.
        """
        numbers: dict[int, dict[str, int | None]] = {}
        for index, row, answer in lines:
            label = answer.label if isinstance(answer, Correction) else answer
            is_class = isinstance(label, int)
            numbers.setdefault(index, {})[row["label"] if is_class else _whole(row)] = label if is_class else None
        if numbers != self._numbers:
            self._numbers = numbers
            with replacing(self._path) as draft:
                draft.write_text(json.dumps(numbers), encoding="utf-8")


def _whole(row: Row) -> str:
    return f"{row['label']}\n{row['note']}"
