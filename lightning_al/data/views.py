"""Parts of a training set: labelled points to train on, and points of the pool with their labels hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from lightning_al.data.reading import OF_LABELLED, unreadable
from lightning_al.data.target import Target
from lightning_al.run.labels import Label


class Labelled(Subset[Any]):
    """Labelled points. An error names the first that cannot be read."""

    def __getitem__(self, place: Any) -> Any:
        try:
            return super().__getitem__(place)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever reading and decoding may raise
            raise self._named([place], error) from error

    def __getitems__(self, places: list[int]) -> list[Any]:
        try:
            return super().__getitems__(places)
        except Exception as error:
            raise self._named(places, error) from error

    def _named(self, places: Sequence[Any], error: Exception) -> Exception:
        return naming(self.dataset, [self.indices[place] for place in places if isinstance(place, int)], error)


def naming(dataset: Dataset[Any], indices: Sequence[int], error: Exception) -> Exception:
    """Return an error that names the first point that cannot be read, or the given error if all can."""
    for index in indices:
        try:
            dataset[index]
        except Exception as again:
            return unreadable(index, again, OF_LABELLED)
    return error


class Relabelled(Dataset[Any]):
    """Labelled points with the oracle's labels, if any. An error names the first that cannot be read.

    Args:
        dataset: The training data, or those to score.
        indices: The labelled points.
        labels: The oracle's labels by index.
        target: Where the label of an item is.
    """

    def __init__(
        self, dataset: Dataset[Any], indices: Sequence[int], labels: Mapping[int, Label], target: Target
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.labels = labels
        self.target = target

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[Any]:
        indices = [self.indices[place] for place in places]
        try:
            items = _items(self.dataset, indices) if len(indices) > 1 else [self.dataset[indices[0]]]
        except Exception as error:  # whatever reading and decoding may raise
            raise naming(self.dataset, indices, error) from error
        return [self._labelled(index, item) for index, item in zip(indices, items, strict=True)]

    def _labelled(self, index: int, item: Any) -> Any:
        return self.target.replace(item, self.labels[index]) if index in self.labels else item


class Hidden(Dataset[Any]):
    """Unlabelled points with another point's label instead of their own.

    Args:
        dataset: The data to score.
        indices: The unlabelled points.
        target: Where the label of an item is.
        strict: Whether labels are hidden. If not, the items are shown unchanged.
        stand_in: The label to show.
    """

    def __init__(
        self, dataset: Dataset[Any], indices: Sequence[int], target: Target, strict: bool, stand_in: Any
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.target = target
        self.strict = strict
        self.stand_in = stand_in

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        return self._hidden(self.dataset[self.indices[place]])

    def __getitems__(self, places: Sequence[int]) -> list[Any]:
        indices = [self.indices[place] for place in places]
        return [self._hidden(item) for item in _items(self.dataset, indices)]

    def _hidden(self, item: Any) -> Any:
        return self.target.hide(item, self.stand_in) if self.strict else item


def _items(dataset: Any, indices: list[int]) -> list[Any]:
    """Return some items of a dataset, read in one call if it has `__getitems__`."""
    while type(dataset) is Subset:
        dataset, indices = dataset.dataset, [dataset.indices[index] for index in indices]
    # This saves about as much time as hiding the labels takes.
    if type(dataset) is TensorDataset and all(tensor.layout is torch.strided for tensor in dataset.tensors):
        places = torch.tensor(indices)
        return list(zip(*(tensor[places].unbind() for tensor in dataset.tensors), strict=True))
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[index] for index in indices]
    items = dataset.__getitems__(indices)
    if not isinstance(items, list) or len(items) != len(indices):
        raise ValueError(
            f"`ActiveDataModule` hides or replaces the labels of single items, but `{type(dataset).__name__}"
            f".__getitems__` returned {type(items).__name__} for {len(indices)} indices. Let it return a list with one "
            "item for each index, or remove it."
        )
    return items
