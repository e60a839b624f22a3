"""Inputs at which predictions will be made: items like those of the training data, with their labels hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Dataset

from lightning_al.data.arrays import as_dataset
from lightning_al.data.map_style import check_map_style, is_map_style
from lightning_al.data.target import Target
from lightning_al.values.parts import described, rebuilt


class TargetInputs(Dataset[Any]):
    """Show the items of a dataset, all with the same label instead of their own or of none.

    Args:
        dataset: Items like those of the training data, with or without a label.
        like: An item of the training data.
        target: Where its label is.
        stand_in: The label to show, or None where items cannot be given one.

    >>> inputs = TargetInputs([(0.5, 3), 0.7, (0.9,)], like=(0.1, 1), target=Target(), stand_in=1)
    >>> inputs[0], inputs[1], inputs[2]
    ((0.5, 1), (0.7, 1), (0.9, 1))
    """

    def __init__(self, dataset: Any, like: Any, target: Target, stand_in: Any) -> None:
        self.dataset = dataset
        self.like = like
        self.target = target
        self.stand_in = stand_in

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        place = None if callable(self.target.spec) else self.target.place(self.like)
        if place is None:
            return item
        if isinstance(self.like, tuple | list):
            parts = list(item) if isinstance(item, tuple | list) else [item]
            if len(parts) == len(self.like):
                return self.target.hide(item, self.stand_in)
            if len(parts) == len(self.like) - 1:
                parts.insert(place % len(self.like), self.stand_in)
                return rebuilt(self.like, parts)
        elif isinstance(item, Mapping) and place not in item:
            return {**item, place: self.stand_in}
        elif type(item) is type(self.like):
            return self.target.hide(item, self.stand_in)
        raise ValueError(
            f"`ActiveDataModule(target_inputs=...)` expected items like those of the training data, "
            f"{described(self.like)}, with or without the label, but got {described(item)}. "
            "Pass a dataset of such items."
        )


def read_target_inputs(given: Any) -> Any:
    """Return "val", a dataset or None, from what a user passes as `target_inputs`.

    Raises:
        ValueError: If it is another text.
        TypeError: If it is something else.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        dataset = as_dataset(given, "target_inputs")
        check_map_style(dataset, "target_inputs")
        return dataset
    if given != "val":
        raise ValueError(
            f"`ActiveDataModule(target_inputs={given!r})` is not known. Pass 'val' for the validation data, or a "
            "dataset."
        )
    return "val"  # plain text, even where a subclass of `str` was given


def dataset_of(loaders: Any) -> Any:
    """Return the dataset of a validation loader, or the datasets of several, joined.

    Raises:
        ValueError: If there is none with `__getitem__` and `__len__`.
    """
    found = list(loaders.values()) if isinstance(loaders, Mapping) else loaders
    found = list(found) if isinstance(found, list | tuple) else [found]
    datasets: list[Any] = [getattr(loader, "dataset", None) for loader in found if isinstance(loader, DataLoader)]
    datasets = [dataset for dataset in datasets if is_map_style(dataset)]
    if not datasets or len(datasets) < len(found):
        raise ValueError(
            "`ActiveDataModule(target_inputs='val')` found no validation dataset that has items by number. Pass the "
            "dataset itself as `target_inputs=`."
        )
    return datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
