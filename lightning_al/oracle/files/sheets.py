"""The files of one query: a CSV file to fill in, a contact sheet, and the keys of its points."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_al.oracle.files.contact_sheet import contact_sheet
from lightning_al.oracle.files.csv_rows import COLUMNS
from lightning_al.oracle.files.points import key_text
from lightning_al.oracle.query import Query
from lightning_al.run.files import MEBIBYTE, kind_of, parts_in, read_json, replacing
from lightning_al.run.records import INITIAL
from lightning_al.values.spreadsheets import harmless

BELIEFS = ("predicted", "probability")
"""The columns of what the model believes."""

LARGEST = 64 * MEBIBYTE
"""Bytes of a CSV file that people fill in."""


class Sheets:
    """The files of a query in a folder.

    A file that people may have filled in is never written again, and the contact sheet is written only with it or where
    it is missing.

    Args:
        folder: The folder of all queries.
        round: Number of the round; -1 for the initial points.
    """

    def __init__(self, folder: Path, round: int) -> None:
        self.folder = folder
        self.stem = "initial" if round == INITIAL else f"round-{round:03}"
        self.title = "The initial points" if round == INITIAL else f"Round {round}"

    def write(self, query: Query, *, suggestions: bool) -> dict[int, str]:
        """Write the files that are missing: the CSV file last, so that all are there if it is.

        Returns:
            The keys of the round's points as text, with those that were answered before.

        Raises:
            ValueError: If a link or something else is in the place of the folder or of a file.
            OSError: If a file cannot be written.
        """
        if (kind := kind_of(self.folder)) not in (None, "a folder") or (kind is None and self.folder.exists()):
            raise ValueError(
                f"{self.folder} is {kind or 'a file'}, where the folder of the queries has to be. Remove it, or choose "
                "another folder for the run."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in parts_in(self.folder, re.compile(rf"\.?{self.stem}\.(json|html|csv)")):
            part.unlink(missing_ok=True)  # of a process that was killed
        keys = self._keep_keys(query)
        sheet, page = self.folder / f"{self.stem}.csv", self.folder / f"{self.stem}.html"
        is_there = os.path.lexists(sheet)
        if not is_there or not os.path.lexists(page):
            _write(page, contact_sheet(query, file=sheet.name, title=self.title, suggestions=suggestions))
        if not is_there:
            _write(sheet, _table(query, suggestions=suggestions))
        return keys

    def filled(self) -> list[Path]:
        """Return the CSV files of the query: the one that was written, and copies such as `round-000-anna.csv`."""
        name = re.compile(rf"{self.stem}([\W_].*)?\.csv", re.IGNORECASE | re.DOTALL)
        return [self.folder / found for found in sorted(os.listdir(self.folder)) if name.fullmatch(found)]

    def _keep_keys(self, query: Query) -> dict[int, str]:
        """Remember the keys of the points, since a later query of the round only has the points without an answer."""
        path = self.folder / f".{self.stem}.json"
        try:
            known: Any = read_json(path)
            keys = {int(index): str(key) for index, key in known.items()}
        except FileNotFoundError:
            keys = {}
        except (AttributeError, ValueError) as error:
            raise ValueError(f"The keys of a query in {path} cannot be read: {error} Remove this file.") from error
        given = dict(zip(query.indices, map(key_text, query.keys), strict=True))
        if not given.items() <= keys.items():
            keys = {index: keys[index] for index in query.answers if index in keys} | given
            _write(path, json.dumps(keys))
        return keys


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        # Excel reads a file as UTF-8 only if it says so.
        mark = "utf-8-sig" if path.suffix == ".csv" and not text.isascii() else "utf-8"
        draft.write_text(text, encoding=mark, errors="backslashreplace", newline="")


def _table(query: Query, *, suggestions: bool) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(BELIEFS if suggestions else ())])
    believed = query.to_frame()[list(BELIEFS)].to_numpy().tolist() if suggestions else [[] for _ in query]
    for index, key, beliefs in zip(query.indices, query.keys, believed, strict=True):
        known = [_shortened(value) if pd.notna(value) else "" for value in beliefs]
        writer.writerow([index, harmless(key_text(key)), "", "", *known])
    return file.getvalue()


def _shortened(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else harmless(value)
