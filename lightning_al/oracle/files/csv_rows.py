"""The rows of a CSV file that people filled in, whichever program saved it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from lightning_al.values.spreadsheets import SEPARATORS, decoded
from lightning_al.values.whole_numbers import shown

COLUMNS = ("index", "key", "label", "note")
"""The columns of a file to fill in."""

READ = (*COLUMNS, "seconds", "who")
"""The columns that are read, by their names in any case."""


@dataclass(frozen=True)
class Row:
    """A row of a CSV file.

    Attributes:
        line: Number of its first line in the file, from 1.
        cells: The text of each known column, without surrounding blanks. Missing columns are empty.
        fault: Why the row cannot be read, as part of a sentence, or None.
        is_cut: Whether the file ends in the middle of the label, or may do so.
    """

    line: int
    cells: Mapping[str, str]
    fault: str | None = None
    is_cut: bool = False

    def __getitem__(self, column: str) -> str:
        """Return the text of a known column."""
        return self.cells.get(column, "")


def rows_of(content: bytes) -> list[Row]:
    r"""Return the rows below the header.

    The separator is a comma, a semicolon or a tab; the encoding UTF-8, UTF-16 or, for what is neither, Windows-1252.
    Where a spreadsheet took a row for one cell, the label may be in the cell beside it.

    Raises:
        ValueError: If no header names the columns.

    >>> [row] = rows_of("Label;Index\r\n cat ;7\r\n".encode("utf-16"))
    >>> row.line, row["index"], row["label"], row["note"]
    (2, '7', 'cat', '')
    """
    text = decoded(content)
    for outer in SEPARATORS:
        for inner in SEPARATORS.replace(outer, ""):
            if beside := _beside_one_cell(text, outer, inner):
                return beside
    for separator in SEPARATORS:
        rows = _split(text, separator)
        for _, header, _ in rows:
            if re.fullmatch("sep=.?", separator.join(header).strip(" ")):  # Excel's word on the separator
                continue
            if _is_header(header):
                return list(_named(list(rows), header, ends=_ends(text)))
            break
    raise ValueError(
        "The first line names no column `label` together with `index` or `key`. Put back the header "
        "`index,key,label,note`, with commas, semicolons or tabs between the names, each name once."
    )


def _split(text: str, separator: str) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the number of the first line, the cells and the fault of each row that is not empty."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], str(error)
        else:
            if any(cell.strip() for cell in cells):
                yield line, cells, None


def _places(header: list[str]) -> dict[str, int]:
    names = [name.strip().casefold() for name in header]
    return {name: names.index(name) for name in READ if names.count(name) == 1}


def _is_header(cells: list[str]) -> bool:
    places = _places(cells)
    return "label" in places and ("index" in places or "key" in places)


def _ends(text: str) -> bool:
    return text.endswith(("\n", "\r"))


def _beside_one_cell(text: str, outer: str, inner: str) -> list[Row]:
    """Return the rows of a file whose columns are all in one cell, with the labels in cells beside it, or none.

    A spreadsheet that expects semicolons shows and saves a file with commas so, as ``86,a.png,,;dog``.

    Args:
        text: The text of the file.
        outer: The separator between these cells.
        inner: The separator in the first cell.
    """
    rows = _split(text, outer)
    _, header, _ = next(rows, (1, [], None))
    columns = _cells(header[0], inner) if header else []
    if not _is_header(columns):
        return []
    found = [(line, [_cells(cells[0], inner), cells[1:]] if cells else [], fault) for line, cells, fault in rows]
    label, is_note = _places(columns)["label"], columns[-1].strip().casefold() == "note"

    def is_beside(first: list[str], others: list[str]) -> bool:
        """Return whether a row has its label beside the first cell, and is not a text with such a separator in it."""
        empty = len(first) == len(columns) and not first[label].strip() and any(cell.strip() for cell in others)
        return empty and not (first[-1].strip() and (is_note or outer == ","))

    if len(header) == 1 and not any(is_beside(*parts) for _, parts, _ in found if parts):
        return []
    named = []
    names = _places(header[1:])
    for number, (line, parts, fault) in enumerate(found, 1):
        is_last = number == len(found) and not _ends(text)
        if fault is not None or len(parts[0]) > len(columns):
            named.append(Row(line, {}, f"it is no row of a CSV file ({fault or 'it has too many cells'})"))
            continue
        [row] = _named([(line, parts[0], None)], columns, ends=not is_last)
        cells = dict(row.cells)
        for place, cell in enumerate(parts[1]):
            name = next((name for name, known in names.items() if known == place), "label")
            if cell.strip() and cells.get(name):
                fault = "its columns are in one cell, and several texts stand beside it; put each into its own column"
            elif cell.strip():
                cells[name] = cell.strip()
        named.append(Row(line, cells, row.fault or fault, is_cut=is_last))
    return named


def _cells(text: str, separator: str) -> list[str]:
    """Return the cells of one line; none if it cannot be read."""
    with suppress(csv.Error, StopIteration):
        return next(csv.reader([text], delimiter=separator, strict=True, skipinitialspace=True))
    return []


def _named(rows: list[tuple[int, list[str], str | None]], header: list[str], *, ends: bool) -> Iterator[Row]:
    places, width = _places(header), len(header)
    nameless = [place for place in range(max(places.values()) + 1, width) if not header[place].strip()]
    for number, (line, cells, fault) in enumerate(rows, 1):
        if fault is not None:
            unclosed = "a quotation mark is opened and never closed"
            fault = unclosed if fault == "unexpected end of data" else f"it is no row of a CSV file ({fault})"
        elif any(cell.strip() for cell in cells[width:]):
            fault = "it has more cells than the header; a text with a separator in it needs quotation marks"
        found = {name: cells[place].strip() for name, place in places.items() if place < len(cells)}
        if fault is None and not found.get("label"):
            strange = [cells[place].strip() for place in nameless if place < len(cells) and cells[place].strip()]
            fault = f"{shown(strange[0])} is in a column without a name, and not in `label`" if strange else None
        is_last = number == len(rows) and not ends
        yield Row(line, found, fault, is_cut=is_last and len(cells) <= places["label"] + 1)
