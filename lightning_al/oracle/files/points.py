"""Which point a row of a file is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.files.csv_rows import Row
from lightning_al.values.encodable import encodable
from lightning_al.values.folding import folded
from lightning_al.values.spreadsheets import as_number, harmless, shows_number
from lightning_al.values.whole_numbers import shown


def key_text(key: Any) -> str:
    r"""Return a key as text that any file can hold.

    >>> key_text(7), key_text("a.png"), key_text("\udce9.png")
    ('7', 'a.png', '\\udce9.png')
    """
    return encodable(str(key))


class Points:
    """Find the point that a row of a file is for.

    Args:
        keys: The key of each point as text, by index; empty where it is not known any more.

    >>> points = Points({7: "a.png", 3: "b.png"})
    >>> points.index_of(Row(2, {"key": "a.png"})), points.index_of(Row(3, {"index": "3.0"}))
    (7, 3)
    """

    def __init__(self, keys: Mapping[int, str]) -> None:
        self._keys = dict(keys)
        self._found: list[dict[Any, list[int]]] = [{}, {}, {}]  # by the exact, the folded and the numeric key
        for index, key in self._keys.items():
            for found, form in zip(self._found, _forms(key), strict=True):
                for value in form:
                    found.setdefault(value, []).append(index)

    def index_of(self, row: Row) -> int:
        """Return the index of a row's point, by its index if it has one, which has to agree with its key.

        Raises:
            AnswerError: If it is for no point that was queried, or if index and key are of two points.
        """
        number, key = row["index"], row["key"]
        if not number and not key:
            raise AnswerError("it has a label, but neither index nor key")
        if not number:
            return self._by_key(key)
        value = as_number(number)
        if value is None or value not in self._keys:
            raise AnswerError(f"no point of this query has the index {shown(number)}")
        index = int(value)
        if key and self._keys[index] and not _agree(key, self._keys[index]):
            raise AnswerError(
                f"its key {shown(key)} and its index {index} disagree: the point with this index is "
                f"{shown(self._keys[index])}"
            )
        return index

    def _by_key(self, key: str) -> int:
        for found, form in zip(self._found, _forms(key), strict=True):
            indices = {index for value in form for index in found.get(value, ())}
            if len(indices) == 1:
                return indices.pop()
            if indices:
                raise AnswerError(f"its key {shown(key)} may stand for {len(indices)} points; give the index too")
        raise AnswerError(f"no point of this query has the key {shown(key)}")


def _forms(key: str) -> tuple[set[str], set[str], set[Any]]:
    """Return a key as it may be written: exactly, with other blanks and accents, and as a number."""
    exact = {key, harmless(key)}
    number = as_number(key)
    return exact, {folded(form) for form in exact}, set() if number is None else {number}


def _agree(cell: str, key: str) -> bool:
    return bool(_forms(cell)[1] & _forms(key)[1]) or shows_number(cell, key)
