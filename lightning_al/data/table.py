"""A table as data to label: each row a text or a vector of numbers, some with labels."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lightning_al.data.from_files import FromFiles, class_names
from lightning_al.data.scale import Scale
from lightning_al.data.table_rows import TableRows
from lightning_al.host.namespace import rank_zero_warn
from lightning_al.run.run_command import setting
from lightning_al.task.class_texts import ClassTexts
from lightning_al.values.errors import first_few, said_shortly
from lightning_al.values.nearest import nearest

SEPARATORS = ("\t", ",", ";", "|")
"""What may separate the columns of a CSV file. Texts in a single column may hold any of these but the first."""

OF_PARQUET = (".parquet", ".pq")
"""Endings of Parquet files; other files are read as CSV."""

_WHOLE_FLOAT = re.compile(r"^(-?\d+)\.0$", re.ASCII)

_OF_PANDAS = (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError)

LONGEST_FIELD = 2**31 - 1
"""The most characters of a cell in the first row, for Python's reader of CSV."""


def table(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    key: str | None = None,
    classes: Sequence[str] | None = None,
    val: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
) -> FromFiles:
    r"""Return the rows of a CSV or Parquet file as data to label.

    The columns of a CSV file may be separated by commas, semicolons, tabs or bars. Its encoding is UTF-8 or UTF-16.

    Args:
        path: The file.
        text: The column of texts, if the inputs are texts.
        columns: The columns of numbers, if the inputs are vectors. Each is standardised by its mean and standard
            deviation in `path`. A run that is resumed keeps those of its start, so a row has the same input whatever
            rows join or leave.
        label: The column of labels: names of the classes, or their class numbers where no name is a number. A number
            names the class of an equal number: ``1.0`` names ``1``. Rows where it is empty have no label.
        key: The column by which rows are known, such as an id. Without it, a run cannot resume with rows added.
        classes: Names of the classes. By default the values in the column of labels, sorted, with ``1`` for ``1.0``.
        val: A file of the same columns with labels, for validation.
        test: Another one, for tests.
        batch_size: Batch size.
        num_workers: Number of worker processes.

    Returns:
        A LightningDataModule for ``ActiveDataModule(..., classes=classes)``. Its training data are `TableRows`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If it is a Parquet file, and no package that reads such files is installed.
        ValueError: If the table does not have the columns, or cells do not fit them. The message names row and column.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text("review;stars\ngood;up\nbad;down\nwell;\n")
    >>> rows = table(path, text="review", label="stars").train_dataloader().dataset
    >>> rows.classes, rows[0], rows[2]
    (['down', 'up'], ('good', 1), ('well', None))
    """
    if (text is None) == (columns is None):
        raise ValueError(
            f"`table` needs either `text`, a column of texts, or `columns`, columns of numbers, but got text={text!r} "
            f"and columns={columns!r}. Pass one of the two."
        )
    inputs = [text] if text is not None else _column_names(columns)
    if label in inputs or key in inputs:
        raise ValueError(
            f"`table` got the column {label if label in inputs else key!r} as an input and also as `label` or `key`. "
            "Leave it out of the inputs."
        )
    if label is None and (classes is None or val is not None or test is not None):
        raise ValueError(
            "`table` needs the names of the classes, and the labels of validation and test data, but got no `label`. "
            "Pass `label=`, a column, or `classes=['cat', 'dog']` for data without labels."
        )
    names = None if classes is None else class_names("table", classes)
    wanted = [*inputs, *(column for column in (label, key) if column is not None)]
    frame = _read(Path(path), wanted)
    if not len(frame):
        raise ValueError(f"`table` found no rows in {path}. Give a table with rows to label.")
    if label is None:
        _warn_of_labels(frame.drop(columns=wanted), names or [], path)
    names = _classes_of(frame[label], path) if names is None else names
    scale = Scale.of(_numbers(frame[inputs], path)) if text is None else None

    def rows(path: str | os.PathLike[str], frame: pd.DataFrame) -> TableRows:
        found = _numbers(frame[inputs], path) if text is None else [_cell(value) for value in frame[text]]
        targets = [None] * len(frame) if label is None else _targets(frame[label], names, path)
        return TableRows(found, targets, names, None if key is None else _keys(frame[key], path), scale)

    def held_out(path: str | os.PathLike[str] | None) -> TableRows | None:
        found = None if path is None else rows(path, _read(Path(path), [*inputs, str(label)]))
        if found is not None and (None in found.targets or not len(found)):
            raise ValueError(
                f"`table` needs a label in each row of {path}, but {found.targets.count(None)} of {len(found)} rows "
                "have none. Remove these rows."
            )
        return found

    return FromFiles(
        "table",
        rows(path, frame),
        val=held_out(val),
        test=held_out(test),
        batch_size=batch_size,
        num_workers=num_workers,
    )


def _column_names(columns: Sequence[str] | None) -> list[str]:
    names = [] if columns is None or isinstance(columns, str) else [*columns]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"`table(columns=...)` expected the names of columns, each once, but got {columns!r}. Pass a list, such as "
            "`columns=['height', 'width']`."
        )
    return names


def _read(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    """Return a file that has some columns; those of a CSV file are texts, empty where a cell is."""
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"`table` cannot find the file {path}. Check the path.")
    if path.suffix.lower() in OF_PARQUET:
        return _read_parquet(path, wanted)
    encoding = _encoding_of(path)
    try:
        headers = {separator: _first_row(path, encoding, separator) for separator in SEPARATORS}
        separator = _separator(headers, wanted)
        _check_columns(path, headers[separator], wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would cut long rows
            frame = pd.read_csv(
                path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False, index_col=False
            )
    except (UnicodeError, csv.Error, *_OF_PANDAS) as error:
        raise ValueError(
            f"`table` cannot read {path} as CSV: {said_shortly(error)}. Write it as CSV in UTF-8, with a row of names "
            "first, and quote cells that hold a separator."
        ) from error
    return frame.rename(columns=str)


def _read_parquet(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f"`table` needs a package that reads Parquet for {path}, which is not installed. Install pyarrow, or write "
            "the table as CSV."
        ) from error
    _check_columns(path, [str(name) for name in frame.columns], wanted)
    return frame.rename(columns=str)


def _encoding_of(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _first_row(path: Path, encoding: str, separator: str) -> list[str]:
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding=encoding, newline="") as file:
            return next(csv.reader(file, delimiter=separator), [])
    finally:
        csv.field_size_limit(before)


def _separator(headers: dict[str, list[str]], wanted: Sequence[str]) -> str:
    """Return the separator by which most of the wanted columns are there, and then the one that makes most columns."""
    return max(headers, key=lambda one: (len(set(wanted) & set(headers[one])), len(headers[one])))


def _check_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in there:
            near = nearest(name, there)
            raise ValueError(
                f"`table` found no column {name!r} in {path}. Choose one of: {first_few(there, 20)}."
                + (f" Did you mean {near!r}?" if near else "")
            )
        if list(there).count(name) > 1:
            raise ValueError(
                f"`table` found the column {name!r} more than once in {path}. Give each column its own name."
            )


def _warn_of_labels(others: pd.DataFrame, classes: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Warn of the first column that nothing reads and that names classes alone: labels, which would be asked for."""
    for name in others.columns:
        labels = list(takewhile(lambda cell: cell in ("", *classes), map(_text, others[name])))
        if len(labels) == len(others) > labels.count(""):
            rank_zero_warn(
                f"`table` asks for all labels, but the column {name!r} of {path} names classes in "
                f"{len(labels) - labels.count('')} of {len(labels)} rows. To use these, pass `label={name!r}`; on "
                f"the command line, {setting('data.label', name)}."
            )
            return


def _text(value: Any) -> str | None:
    """Return a cell of text, empty where it is missing, or None for anything else."""
    if value is None or value is pd.NA or isinstance(value, float):
        return "" if value is None or value is pd.NA or value != value else None
    return value.strip() if isinstance(value, str) else None


def _place(row: int, column: str, path: str | os.PathLike[str]) -> str:
    return f"row {row + 1} of the column {column!r} of {path}"


def _numbers(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Tensor:
    """Return columns as numbers ``[n, num_inputs]``, float64."""
    found = np.empty(frame.shape)
    for place, name in enumerate(frame.columns):
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        (wrong,) = np.nonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(
                f"`table` expected a number, but {_place(wrong[0], name, path)} has {frame[name].iloc[wrong[0]]!r}. "
                "Write numbers with a decimal point, and fill in or leave out rows where one is missing."
            )
        found[:, place] = values
    return torch.from_numpy(found)


def _cell(value: Any) -> str:
    """Return a cell as text, empty where it is missing. Whole numbers have no point, even in a column of floats."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _classes_of(labels: pd.Series, path: str | os.PathLike[str]) -> list[str]:
    """Return the names in a column of labels. ``1.0``, which pandas writes beside empty cells, is the name ``1``."""
    found = {_WHOLE_FLOAT.sub(r"\1", cell) for cell in map(_cell, labels) if cell}
    if len(found) < 2:
        raise ValueError(
            f"`table` takes the classes from the column {labels.name!r} of {path}, but found {sorted(found)} there. "
            "Name the classes: `classes=['cat', 'dog']`, on the command line data.classes=[cat,dog]."
        )
    return sorted(found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _targets(labels: pd.Series, classes: Sequence[str], path: str | os.PathLike[str]) -> list[int | None]:
    """Return the class number of each label, which is a name or, where no name is a number, a class number."""
    texts = ClassTexts((name, number) for number, name in enumerate(classes))
    cells = [_cell(value) for value in labels]
    numbers = {cell: texts.of(cell) for cell in set(cells) if cell}
    for row, cell in enumerate(cells):
        if cell and len(numbers[cell]) != 1:
            raise ValueError(
                f"`table` expected a class, but {_place(row, str(labels.name), path)} has {cell!r}. Choose one of: "
                f"{first_few(classes, 20)}; or leave the cell empty, if there is no label."
            )
    return [next(iter(numbers[cell])) if cell else None for cell in cells]


def _keys(column: pd.Series, path: str | os.PathLike[str]) -> list[str]:
    keys = [_cell(value) for value in column]
    twice = [name for name, times in Counter(keys).items() if times > 1 or not name]
    if twice:
        raise ValueError(
            f"`table(key={column.name!r})` needs a key of its own in each row of {path}, but {twice[0]!r} is in "
            f"{keys.count(twice[0])} rows. Give a column without empty or equal cells, or leave `key` out."
        )
    return keys
