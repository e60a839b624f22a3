"""By what features recognise the items that they are of."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lightning_al.data.features.encoding import Source
from lightning_al.data.fingerprint import fingerprint
from lightning_al.data.keys import Renumbered
from lightning_al.data.reading import UNREADABLE
from lightning_al.data.table_rows import TableRows
from lightning_al.data.unlabelled import Unlabelled
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.content_hash import content_hash
from lightning_al.values.parts import is_pandas

LABELS = ("targets", "labels")
"""Attributes of a dataset that list its labels, which no encoder reads."""


def contents_of(source: Source, path_of: Callable[[int], Any] | None = None) -> str | None:
    """Return a hash of items, or None where they cannot be recognised again, as under random augmentation.

    It is of 32 items that are spread over the dataset, of all items that it holds in memory, and of the paths, sizes
    and times of files. To read each item of another dataset would make every start as slow as an epoch.

    Args:
        source: The items.
        path_of: Returns the file of an item, where the dataset cannot say it.
    """
    present = sorted(source.present)
    with seeded(derive(0, "contents")):
        found = fingerprint(len(present), lambda place: None, lambda place: _read(source.dataset, present[place]))
    if found["contents"] is None:
        return None
    try:
        held = _held(source.dataset)
        files = [_stat(path_of or _paths(source.dataset), index) for index in present]
        return content_hash([len(source), found["length"], found["form"], found["contents"], present, held, files])
    except OSError:  # a file that is not there
        return None


def _read(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception:  # whatever reading may raise: encoding will say it
        return UNREADABLE


def _held(dataset: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return what a dataset holds in memory of its inputs, which is hashed faster than each of them is read.

    That is the dataset itself, if it is a list or an array, or its attributes that have an entry for each item.
    Of a dataset that is made of others, it is what these hold.
    """
    within = (*within, dataset)
    if isinstance(dataset, Unlabelled):
        return _held(dataset.items, within)
    if isinstance(dataset, Renumbered):
        return [dataset.numbering.places, _held(dataset.renumbered, within)]
    if isinstance(dataset, Subset):
        return [list(dataset.indices), _held(dataset.dataset, within)]
    if isinstance(dataset, ConcatDataset):
        return [_held(one, within) for one in dataset.datasets]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors
    if isinstance(dataset, TableRows):
        return dataset.inputs
    if _is_collection(dataset):
        return _in_memory(dataset)
    if _lists_files(dataset):
        return None
    found = {}
    for name, value in getattr(dataset, "__dict__", {}).items():
        if isinstance(value, Dataset) and not any(value is one for one in within):
            found[name] = _held(value, within)
        elif name not in LABELS and _is_collection(value) and len(value) == len(dataset):
            found[name] = _in_memory(value)
    return found


def _is_collection(value: Any) -> bool:
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim > 0
    return isinstance(value, list | tuple) or is_pandas(value)


def _in_memory(values: Any) -> Any:
    """Return items in memory; of an array that is mapped from a file, what is known of the file."""
    name = values.filename if isinstance(values, np.memmap) else None
    return values if name is None else _known_of_file(name)


def _paths(dataset: Any) -> Callable[[int], Any]:
    """Return what says where the file of an item is: a method `path_of`, or torchvision's list `samples`."""
    path_of = getattr(dataset, "path_of", None)
    if callable(path_of):
        return path_of  # type: ignore[no-any-return]
    if _lists_files(dataset):
        return lambda index: dataset.samples[index][0]
    return lambda index: None


def _lists_files(dataset: Any) -> bool:
    """Return whether a dataset has torchvision's list `samples` of files and labels, which may as well be of texts."""
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, list) or not samples or len(samples) != len(dataset):
        return False
    first = samples[0][0] if isinstance(samples[0], tuple | list) and samples[0] else None
    return isinstance(first, str | os.PathLike) and os.path.exists(first)


def _stat(path_of: Callable[[int], Any], index: int) -> Any:
    path = path_of(index)
    return _known_of_file(path) if isinstance(path, str | os.PathLike) else None


def _known_of_file(path: str | os.PathLike[str]) -> list[Any]:
    found = os.stat(path)
    return [os.fspath(path), found.st_size, found.st_mtime_ns]
