"""By what features recognise the items that they are of."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from torch.utils.data import TensorDataset

from lightning_al.data.features.encoding import Source
from lightning_al.data.fingerprint import fingerprint
from lightning_al.data.reading import UNREADABLE
from lightning_al.data.table_rows import TableRows
from lightning_al.data.unlabelled import Unlabelled
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.content_hash import content_hash


def contents_of(source: Source, path_of: Callable[[int], Any] | None = None) -> str | None:
    """Return a hash of items, or None where they cannot be recognised again, as under random augmentation.

    It is of 32 items that are spread over the dataset, of all items that are held in tensors or in a table, and of the
    paths, sizes and times of files.

    Args:
        source: The items.
        path_of: Returns the file of an item, where the dataset cannot say it.
    """
    present = sorted(source.present)
    with seeded(derive(0, "contents")):
        found = fingerprint(len(present), lambda place: None, lambda place: _read(source.dataset, present[place]))
    if found["contents"] is None:
        return None
    held = _held(source.dataset)
    try:
        files = [_stat(path_of or _paths(source.dataset), index) for index in present]
    except OSError:  # a file that is not there
        return None
    return content_hash([len(source), found["length"], found["form"], found["contents"], present, held, files])


def _read(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception:  # whatever reading may raise: encoding will say it
        return UNREADABLE


def _held(dataset: Any) -> Any:
    """Return what a dataset holds in memory as a whole, which is hashed faster than item by item."""
    while isinstance(dataset, Unlabelled):
        dataset = dataset.items
    if isinstance(dataset, TensorDataset):
        return dataset.tensors
    return dataset.inputs if isinstance(dataset, TableRows) else None


def _paths(dataset: Any) -> Callable[[int], Any]:
    """Return what says where the file of an item is: a method `path_of`, or torchvision's list `samples`."""
    path_of, samples = getattr(dataset, "path_of", None), getattr(dataset, "samples", None)
    if callable(path_of):
        return path_of  # type: ignore[no-any-return]
    if isinstance(samples, list) and len(samples) == len(dataset):
        return lambda index: samples[index][0]
    return lambda index: None


def _stat(path_of: Callable[[int], Any], index: int) -> Any:
    path = path_of(index)
    if not isinstance(path, str | os.PathLike):
        return None
    found = os.stat(path)
    return [os.fspath(path), found.st_size, found.st_mtime_ns]
