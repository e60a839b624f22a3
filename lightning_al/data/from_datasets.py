"""Plain datasets as the LightningDataModule that `ActiveDataModule` wraps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler
from typing_extensions import override

from lightning_al.data.arrays import as_dataset, as_inputs
from lightning_al.data.dataset import AnyDataset
from lightning_al.data.keys import Numbering, Renumbered
from lightning_al.data.map_style import check_map_style
from lightning_al.data.target import Target
from lightning_al.data.unlabelled import Unlabelled, with_places
from lightning_al.host.namespace import check_namespace, pl
from lightning_al.values.whole_numbers import MOST_WORKERS, whole_number


class FromDatasets(pl.LightningDataModule):
    """Serve plain datasets, as `LightningDataModule.from_datasets` does.

    Args:
        train: The training data, a map-style dataset. They are shuffled.
        others: Datasets for validation, test and prediction, by the names ``val``, ``test`` and ``predict``. They may
            be IterableDatasets.
        options: Arguments of each DataLoader.
        place: Where inputs without labels get a place for one, if they may have none.

    Attributes:
        shown_as: The name of the training dataset's class.
        train_data: The training data as they were passed.

    Raises:
        TypeError: If one is not a dataset.
    """

    def __init__(
        self,
        train: Any,
        others: Mapping[str, AnyDataset | None],
        options: dict[str, Any],
        place: Target | None = None,
    ) -> None:
        super().__init__()
        check_map_style(train, "data")
        for name, dataset in others.items():
            if dataset is not None:
                check_map_style(dataset, name, or_stream=True)
        self.shown_as = type(train).__name__
        self._place = place
        self._numbering: Numbering | None = None
        self.train_data = train
        self._options = options
        self._val = others["val"]
        for name, dataset in others.items():
            if dataset is not None:
                setattr(self, f"{name}_dataloader", partial(self._in_order, dataset))

    @property
    def given(self) -> dict[str, Any]:
        """The arguments beside the training data that change the fitted weights."""
        return {**{name: self._options[name] for name in ("batch_size", "collate_fn")}, "val": self._val}

    def number_by(self, numbering: Numbering) -> None:
        """Let an index mean an item with the same key in every start of a run, whatever its place in the dataset."""
        self._numbering = None if numbering.is_plain else numbering

    def numbered(self, dataset: Any) -> Any:
        """Return a dataset that has the training data's order by the numbers of their items."""
        return dataset if self._numbering is None else Renumbered(dataset, self._numbering)

    @cached_property
    def _training_data(self) -> Any:
        if self._place is not None and isinstance(with_places(self.train_data, self._place), Unlabelled):
            return Unlabelled(self.numbered(self.train_data), self._place)
        return self.numbered(self.train_data)

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the training data."""
        if self._numbering is not None:
            return DataLoader(
                self._training_data, sampler=SubsetRandomSampler(self._numbering.members), **self._options
            )
        return DataLoader(self._training_data, shuffle=True, **self._options)

    def _in_order(self, dataset: AnyDataset) -> DataLoader[Any]:
        return DataLoader(cast(Dataset[Any], dataset), **self._options)


def as_datamodule(
    data: Any,
    *,
    val: AnyDataset | None,
    test: AnyDataset | None,
    predict: AnyDataset | None,
    batch_size: int,
    num_workers: int,
    collate_fn: Callable[[list[Any]], Any] | None,
    pin_memory: bool,
    place: Target | None,
) -> pl.LightningDataModule:
    """Return a LightningDataModule unchanged, and datasets or arrays as one.

    Raises:
        ValueError: If a LightningDataModule is given together with arguments that only datasets need.
        TypeError: If `data` is neither a LightningDataModule of this process's namespace nor a map-style dataset, or
            another argument is no dataset.
    """
    if isinstance(data, type):
        raise TypeError(
            f"`ActiveDataModule` expected a LightningDataModule or a dataset, but got the class `{data.__name__}`. "
            f"Pass an object, `{data.__name__}()`."
        )
    if hasattr(data, "train_dataloader"):
        check_namespace(data, "LightningDataModule")
        given = {"val": val, "test": test, "predict": predict, "collate_fn": collate_fn, "pin_memory": pin_memory}
        strange = [name for name, value in given.items() if value is not None and value is not False]
        strange += ["batch_size"] * (batch_size != 32) + ["num_workers"] * (num_workers != 0)
        if strange:
            raise ValueError(
                f"`ActiveDataModule` got a LightningDataModule and also `{'`, `'.join(strange)}`. Leave these to "
                "the LightningDataModule, or pass the training dataset in its place."
            )
        return cast(pl.LightningDataModule, data)
    options = {
        "batch_size": whole_number("ActiveDataModule", "batch_size", batch_size),
        "num_workers": whole_number("ActiveDataModule", "num_workers", num_workers, least=0, most=MOST_WORKERS),
        "collate_fn": collate_fn,
        "pin_memory": pin_memory,
    }
    train = as_dataset(data if place is None else as_inputs(data))
    others = {"val": val, "test": test, "predict": predict}
    return FromDatasets(train, {name: as_dataset(dataset, name) for name, dataset in others.items()}, options, place)
