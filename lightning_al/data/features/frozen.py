"""The features of a datamodule's points: read from arrays, from a file, or computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, default_collate

from lightning_al.data.features.arrays import Arrays
from lightning_al.data.features.contents import contents_of
from lightning_al.data.features.encoding import Source, encode
from lightning_al.data.features.given import Given
from lightning_al.data.features.items import FeatureItems, OwnLabels, check_labels, form_like
from lightning_al.data.features.store import Store
from lightning_al.data.map_style import is_map_style
from lightning_al.data.target import Target
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_first_rank, is_alone, on_any_rank, on_first_rank
from lightning_al.values.content_hash import content_hash
from lightning_al.values.errors import first_few
from lightning_al.values.parts import rebuilt

CHECKED_ROWS = 10_000
"""How many rows of an array are checked at a time, since it may lie in a file."""


@dataclass(frozen=True)
class _Table:
    """The features ``[N, D]`` of a dataset.

    Attributes:
        dataset: The dataset: a loader may come with another one later.
        split: What it is for.
        key: A hash of its items and of the encoder, or None where they cannot be recognised again.
        rows_N_D: The features.
    """

    dataset: Any
    split: str
    key: str | None
    rows_N_D: np.ndarray


class FrozenFeatures:
    """Give the features of points, and loaders whose inputs they are.

    A table is computed when it is first read, by the first rank, and is the same on every rank. It is kept in `cache`,
    or else in the run's folder, where the next program reads it. Without both it is kept in memory.

    Args:
        given: An encoder, or arrays.
        cache: A folder for tables of several runs, or None.
        target: Where the label of an item is.

    Attributes:
        given: What computes them.
    """

    def __init__(self, given: Given, *, cache: Path | None, target: Target) -> None:
        self.given = given
        self.target = target
        self._cache = None if cache is None else Store(cache, is_shared=True)
        self._store = self._cache
        self._tables: dict[tuple[str, str], _Table] = {}
        self._labels: dict[str, OwnLabels] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out tables, which another process reads or computes itself."""
        return {**vars(self), "_tables": {}, "_labels": {}}

    def table(
        self,
        split: str,
        source: Source,
        *,
        path_of: Callable[[int], Any] | None = None,
        places: Sequence[int | None] | None = None,
    ) -> np.ndarray:
        """Return the features ``[N, D]`` of a dataset, float32, mapped from a file where there is one.

        Args:
            split: What the dataset is for: train, val, test or predict, or target inputs.
            source: The dataset.
            path_of: Returns the file of an item.
            places: The row of an array that each item has, None for items that are gone; by default its index.

        Raises:
            ValueError: If arrays do not fit the dataset, or features cannot be computed.
        """
        slot = split, source.what
        known = self._tables.get(slot)
        if known is None or known.dataset is not source.dataset:
            if isinstance(self.given, Arrays):
                known = _Table(source.dataset, split, None, self.given.of(split, len(source), places))
                if not source.skips_unreadable:
                    _check_finite(known.rows_N_D, source.what, source.present)
            else:
                known = self._found_or_computed(split, source, path_of)
                self._check_width(known, source)
            self._tables[slot] = known
        return known.rows_N_D

    def check_array(self, split: str) -> None:
        """Refuse an array that cannot be the features of a dataset, whatever that holds. Encoders pass.

        Raises:
            ValueError: If there is none, or it has NaN or Inf.
        """
        if isinstance(self.given, Arrays):
            table_N_D = self.given.table(split)
            _check_finite(table_N_D, f"{split} items", range(len(table_N_D)))

    def keep_in(self, folder: Path, trainer: pl.Trainer) -> None:
        """Keep tables in a run's folder from now on, those that were computed before included, if there is no cache."""
        if self._cache is not None or self._store is not None or isinstance(self.given, Arrays):
            return
        store = self._store = Store(folder, is_shared=False)

        def write() -> None:
            for table in self._tables.values():
                if table.key is not None:
                    store.write(table.split, table.key, len(table.rows_N_D), [table.rows_N_D])

        on_first_rank(trainer, write)

    def _found_or_computed(self, split: str, source: Source, path_of: Callable[[int], Any] | None) -> _Table:
        encoder, trainer, store = self.given, source.hooks.trainer, self._store
        assert not isinstance(encoder, Arrays)
        known = {table.key: table.rows_N_D for table in self._tables.values() if table.split == split}

        def joined() -> np.ndarray:
            return np.concatenate(list(encode(encoder, source)))

        def find_or_write() -> str | None:
            contents = contents_of(source, path_of)
            if contents is None or encoder.identity is None:
                return None
            key = content_hash([encoder.identity, contents])
            if key not in known and store is not None and store.find(split, key, len(source)) is None:
                store.write(split, key, len(source), encode(encoder, source))
            return key

        key = find_or_write() if trainer is None else from_first_rank(trainer, find_or_write)
        found = known.get(key) if key is not None else None
        if found is None and key is not None and store is not None:
            found = store.find(split, key, len(source))
        # Another machine may not see the first one's folder.
        if found is None if trainer is None else on_any_rank(trainer, found is None):
            found = joined() if trainer is None or is_alone(trainer) else from_first_rank(trainer, joined)
        assert found is not None
        return _Table(source.dataset, split, key, found)

    def _check_width(self, table: _Table, source: Source) -> None:
        """Refuse features of another length than those of the training data, where these are known."""
        encoder, width = self.given, table.rows_N_D.shape[1]
        assert not isinstance(encoder, Arrays)
        for other in self._tables.values():
            if other.split == "train" and other.rows_N_D.shape[1] != width:
                raise ValueError(
                    f"The encoder `{encoder.name}` gave {width} numbers a row for the {source.what}, but "
                    f"{other.rows_N_D.shape[1]} for the training data. Let it return rows of one length for all items."
                )

    def items(
        self,
        split: str,
        dataset: Any,
        like: Any,
        table: Callable[[], np.ndarray],
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> FeatureItems:
        """Return the items of a dataset with features in place of their inputs.

        Args:
            split: What the dataset is for.
            dataset: The dataset, whose labels they have.
            like: One of its items.
            table: Returns the features ``[N, D]`` when an item is read.
            collate: Makes a batch of the dataset's own items.

        Raises:
            ValueError: If the label of such an item would not be where `target` says, or if `collate` makes other
                labels of those of items.
        """
        if split not in self._labels and len(dataset):
            check_labels(like, collate, self.target)
        form = form_like(like, self.target)
        labels = _none_for_each if self.target.place(like) is None else self._own_labels(split, dataset)
        return FeatureItems(table, len(dataset), form, labels)

    def loaders(self, split: str, loaders: Any, hooks: pl.LightningDataModule) -> Any:
        """Return loaders of items of features in place of a datamodule's loaders, in the same structure.

        Raises:
            TypeError: If there is something else than a DataLoader with batches of single items.
            ValueError: If there are several, but arrays for only one.
        """
        if isinstance(loaders, Mapping):
            return {key: self.loaders(f"{split} {key}", one, hooks) for key, one in loaders.items()}
        if isinstance(loaders, list | tuple):
            if len(loaders) == 1:
                return rebuilt(loaders, [self.loaders(split, loaders[0], hooks)])
            return rebuilt(loaders, [self.loaders(f"{split} {place}", one, hooks) for place, one in enumerate(loaders)])
        dataset: Any = getattr(loaders, "dataset", None)
        if not isinstance(loaders, DataLoader) or not is_map_style(dataset) or loaders.batch_sampler is None:
            raise TypeError(
                f"`ActiveDataModule(inputs='features')` needs items by their numbers for the {split} data, but got "
                f"{_described(loaders)}. Pass a dataset with `__getitem__` and `__len__`, such as a list of its items, "
                "in a DataLoader with a batch size if the LightningDataModule is your own."
            )
        source = self._source(loaders, hooks, f"{split} items")
        like = dataset[0] if len(dataset) else ()
        items = self.items(split, dataset, like, lambda: self.table(split, source), loaders.collate_fn)
        if type(loaders.batch_sampler) is not BatchSampler:
            return DataLoader(items, batch_sampler=loaders.batch_sampler, pin_memory=loaders.pin_memory)
        return DataLoader(
            items,
            batch_size=loaders.batch_size,
            sampler=loaders.sampler,
            drop_last=loaders.drop_last,
            pin_memory=loaders.pin_memory,
        )

    def _source(self, loader: DataLoader[Any], hooks: pl.LightningDataModule, what: str) -> Source:
        """Return where the items of a loader are read from."""
        dataset: Any = loader.dataset
        present = range(len(dataset))
        return Source(dataset, present, self.target, loader.collate_fn, loader.num_workers, hooks, what)

    def _own_labels(self, split: str, dataset: Any) -> OwnLabels:
        known = self._labels.get(split)
        if known is None or known.dataset is not dataset:
            known = self._labels[split] = OwnLabels(dataset, self.target)
        return known


def _check_finite(rows_N_D: np.ndarray, what: str, present: Collection[int]) -> None:
    bad: list[int] = []
    for start in range(0, len(rows_N_D), CHECKED_ROWS):
        with np.errstate(over="ignore"):  # float32 is what is read
            rows_n_D = rows_N_D[start : start + CHECKED_ROWS].astype(np.float32)
        is_finite_n = np.isfinite(rows_n_D).all(1)
        bad += [start + int(place) for place in np.flatnonzero(~is_finite_n) if start + int(place) in present]
    if bad:
        raise ValueError(
            f"`ActiveDataModule(features=...)` has NaN or Inf in the rows [{first_few(bad)}] for the {what}. "
            "Correct the numbers, or leave these items out of the dataset."
        )


def _described(loader: Any) -> str:
    if not isinstance(loader, DataLoader):
        return type(loader).__name__
    if isinstance(loader.dataset, IterableDataset):
        return f"a DataLoader over the IterableDataset {type(loader.dataset).__name__}"
    if loader.batch_sampler is None:
        return "a DataLoader with `batch_size=None`"
    return f"a DataLoader over {type(loader.dataset).__name__}"


def _none_for_each(indices: Sequence[int]) -> list[None]:
    return [None] * len(indices)
