"""Features that the user has as arrays, or in files of NumPy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.values.content_hash import content_hash
from lightning_al.values.errors import said_shortly
from lightning_al.values.parts import described

SPLITS = ("train", "val", "test", "predict", "target_inputs")
"""The data that features may be given for."""


class Arrays:
    """Features ``[N, D]`` of the training data, and perhaps of others, with a row for each item in its dataset's order.

    Args:
        tables: By the names of `SPLITS`, an array, a tensor, or the path of a ``.npy`` file, which is read row by row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is none of NumPy's, if what it holds are no numbers ``[N, D]``, or if D differs.
        TypeError: If a table is none of these, or a sparse tensor.

    Attributes:
        tables: The arrays.
        has_keys: Whether the training data may grow, since its items have keys, as `ActiveDataModule` sets it. Then a
            run knows rows by the keys of labelled items, and not the array as a whole.

    >>> Arrays({"train": np.ones((4, 2))}).tables["train"].shape
    (4, 2)
    """

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self.tables = {name: _table(name, table) for name, table in tables.items()}
        self.has_keys = False
        widths = {name: table.shape[1] for name, table in self.tables.items()}
        for name, width in widths.items():
            if width != widths["train"]:
                raise ValueError(
                    "`ActiveDataModule(features=...)` expected features of one length, but got "
                    f"{widths['train']} numbers a row for the train data and {width} for the {name} data. Pass arrays "
                    "that one encoder made."
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={described(one)}' for name, one in self.tables.items())})"

    def config(self) -> dict[str, Any]:
        """Return what a run records of those that picks or weights may follow from: shape, type and a hash."""
        return self._config

    @cached_property
    def _config(self) -> dict[str, Any]:
        train = self.tables["train"]
        config = {"train": f"ndarray [*, {train.shape[1]}] of {train.dtype}"}
        # A run knows the rows of items with keys by these, and nothing of it follows from its test data.
        for name in ("val", "target_inputs") if self.has_keys else ("train", "val", "target_inputs"):
            if name in self.tables:
                table = np.asarray(self.tables[name])
                config[name] = f"{described(table)}, {content_hash(table)[:16]}"
        return config

    def hash_of(self, place: int) -> str:
        """Return a hash of a row of the training data."""
        return content_hash(np.asarray(self.tables["train"][place]))

    def table(self, split: str) -> np.ndarray:
        """Return the table of one of the datasets.

        Raises:
            ValueError: If there is none.
        """
        if split not in SPLITS:  # of one of several loaders
            raise ValueError(
                f"`ActiveDataModule(features=...)` got arrays, which belong to one loader each, but the {split} data "
                "are one of several. Join their datasets by `torch.utils.data.ConcatDataset`, or pass an encoder."
            )
        if split not in self.tables:
            raise ValueError(
                f"`ActiveDataModule(features=...)` got arrays for {', '.join(self.tables)}, but the features of the "
                f"{split} data are read too. Pass a dict with an array for each: "
                f"`features={{'train': ..., {split!r}: ...}}`."
            )
        return self.tables[split]

    def of(self, split: str, size: int, places: Sequence[int | None] | None = None) -> np.ndarray:
        """Return the features of one of the datasets.

        Args:
            split: Which.
            size: How many items it has.
            places: The row of each item, None for items that are gone; by default its index.

        Raises:
            ValueError: If there are none, or not one row for each item.
        """
        table = self.table(split)
        num_items = size if places is None else sum(place is not None for place in places)
        if len(table) != num_items:
            raise ValueError(
                f"`ActiveDataModule(features=...)` has {len(table)} rows for the {split} data, which have {num_items} "
                "items. Pass a table with a row for every item, in their order."
            )
        if places is None or list(places) == list(range(size)):
            return table
        rows = np.full((len(places), table.shape[1]), np.nan, dtype=np.float32)
        there = [index for index, place in enumerate(places) if place is not None]
        rows[there] = table[[place for place in places if place is not None]]
        return rows


def _table(name: str, given: Any) -> np.ndarray:
    if isinstance(given, str | os.PathLike):
        table = _read(Path(given).expanduser())
    elif isinstance(given, Tensor):
        table = _of_tensor(name, given)
    elif isinstance(given, np.ndarray):
        table = given
    else:
        raise TypeError(
            f"`ActiveDataModule(features=...)` expected an array of features for the {name} data, but got "
            f"{type(given).__name__}. Pass an array or a tensor [N, D], or the path of a .npy file."
        )
    if table.ndim != 2 or table.shape[1] == 0 or table.dtype.kind not in "biuf" or np.ma.is_masked(table):
        raise ValueError(
            f"`ActiveDataModule(features=...)` expected numbers [N, D] for the {name} data, but got "
            f"{described(table)}. Give each item one row of numbers."
        )
    return table


def _of_tensor(name: str, given: Tensor) -> np.ndarray:
    kinds = {
        "is nested": given.is_nested,
        "is sparse": given.layout != torch.strided,
        "has no data": given.is_meta,
    }
    strange = next((kind for kind, is_so in kinds.items() if is_so), None)
    if strange is not None:
        raise TypeError(
            f"`ActiveDataModule(features=...)` got a tensor that {strange} for the {name} data. Pass a dense tensor of "
            "numbers [N, D], such as `features.to_dense()` of a sparse one."
        )
    table = given.detach().cpu().resolve_conj().resolve_neg()
    return (table if table.is_complex() else table.float()).numpy()


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"`ActiveDataModule(features=...)` found no file {path}. Check the path.")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"`ActiveDataModule(features=...)` cannot read {path} as an array: {said_shortly(error)}. Write it by "
            "`numpy.save`."
        ) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(
            f"`ActiveDataModule(features=...)` cannot read {path} as an array: it is an archive of arrays by their "
            "names. Write it by `numpy.save`, not by `numpy.savez`."
        )
    return found
