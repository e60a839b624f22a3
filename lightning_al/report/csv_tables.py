"""Tables as files, one line a row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from lightning_al.run.files import replacing

FORMULA = ("=", "+", "-", "@")


def write_table(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write rows under the columns that any of them has, whole or not at all; what a row lacks is left empty.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        write_rows(rows, file)


def write_rows(rows: Sequence[Mapping[str, object]], file: TextIO) -> None:
    """Write rows as `write_table` does, to a file that is open."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(file, columns)
    table.writerow({name: _harmless(name) for name in columns})
    table.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
