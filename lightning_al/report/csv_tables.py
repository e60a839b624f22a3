"""Tables as CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from lightning_al.run.files import replacing

FORMULA = ("=", "+", "-", "@")


def write_table(table: pd.DataFrame, path: Path, *, nan: str = "") -> None:
    """Write a table, whole or not at all.

    Text that a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        table: The table; its index is not written.
        path: Where to write it.
        nan: What stands for None and NaN.
    """
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        print_table(table, file, nan=nan)


def print_table(table: pd.DataFrame, file: TextIO, *, nan: str = "") -> None:
    """Write a table as `write_table` does, to a file that is open."""
    # With dtype object, integers stay integers in a column with missing values.
    rows = [[_harmless(value) for value in row] for row in table.astype(object).to_numpy()]
    plain = pd.DataFrame(rows, columns=[_harmless(name) for name in table], dtype=object)
    plain.to_csv(file, index=False, lineterminator="\r\n", na_rep=nan)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
