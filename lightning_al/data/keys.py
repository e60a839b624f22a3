"""Stable keys of items, and the numbers that they keep over the starts of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from lightning_al.data.class_numbers import lack_some
from lightning_al.run.journal_command import command
from lightning_al.values.errors import first_few
from lightning_al.values.parts import is_pandas
from lightning_al.values.whole_numbers import as_whole, plain, shown

MOST_LISTED = 50
"""How many points a command that an error gives names at most."""

Key = str | int
"""What an item is known by outside: a path, an id."""


def read_keys(given: Any, dataset: Any) -> list[Key] | None:
    """Return the keys of a dataset's items: those given, or its attribute `keys` if that can be one.

    An attribute `keys` can mean anything, such as the names of an item's parts. It is passed over unless it has a text
    or a whole number for each item.

    Returns:
        One key for each item in the order of the dataset, or None if there are none.

    Raises:
        TypeError: If they are no list of texts or whole numbers.
        ValueError: If there are more or fewer than items, or one comes twice.

    >>> read_keys(["a.png", "b.png"], [0.5, 0.7]), read_keys(None, [0.5])
    (['a.png', 'b.png'], None)
    """
    if given is None:
        found = getattr(dataset, "keys", None)
        return _read(found, dataset) if _may_be_keys(found, len(dataset)) else None
    return _read(given, dataset)


def _may_be_keys(found: Any, size: int) -> bool:
    if not hasattr(found, "__len__") or isinstance(found, str | bytes) or len(found) != size:
        return False
    return all(_may_be_key(one) for one in found)


def _may_be_key(one: Any) -> bool:
    value = plain(one)
    return isinstance(value, str) or (not isinstance(value, bool) and as_whole(value) is not None)


def _read(found: Any, dataset: Any) -> list[Key]:
    listed = found.tolist() if hasattr(found, "tolist") else found
    if isinstance(listed, str | bytes) or not hasattr(type(listed), "__len__"):
        raise TypeError(
            f"`ActiveDataModule(keys=...)` expected one key for each item, but got {shown(found)}. Pass a list of "
            "texts or numbers, or the name of a column where the data are a table."
        )
    keys = [_key(one) for one in listed]
    if len(keys) != len(dataset):
        raise ValueError(
            f"`ActiveDataModule(keys=...)` got {len(keys)} keys for {len(dataset)} items. Pass one for each item, in "
            "the order of the dataset."
        )
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise ValueError(
            f"`ActiveDataModule(keys=...)` got keys that come twice: {first_few(list(map(repr, twice)))}. Give each "
            "item a key of its own."
        )
    return keys


def without_column(table: Any, name: str) -> tuple[Any, list[Any]]:
    """Return a table without a column, and that column.

    Raises:
        ValueError: If the data are no table, or it has no such column.
    """
    columns = list(getattr(table, "columns", ()))
    if not is_pandas(table) or name not in columns:
        has = f"has only {first_few(columns)}" if columns else f"is {type(table).__name__}"
        raise ValueError(
            f"`ActiveDataModule(keys={name!r})` names a column of a table, but `data` {has}. Pass one of its columns, "
            "or a list with one key for each item."
        )
    return table.drop(columns=[name]), table[name].tolist()


def _key(one: Any) -> Key:
    value = plain(one)
    whole = value if isinstance(value, str) else as_whole(value)
    if whole is None or isinstance(value, bool):
        raise TypeError(
            f"`ActiveDataModule(keys=...)` got {shown(one)} for a key. Pass texts or whole numbers, such as paths or "
            "ids."
        )
    return whole


@dataclass(frozen=True)
class Numbering:
    """Which place each index has in the dataset of this start. An index keeps its key; new keys get the next ones.

    Args:
        present: The keys in the order of the dataset.
        known: The keys by index of the starts before.

    >>> numbering = Numbering(["c", "a"], known=["a", "b"])
    >>> numbering.keys, numbering.places
    (['a', 'b', 'c'], [1, None, 0])
    """

    present: Sequence[Key]
    known: Sequence[Key] = ()
    keys: list[Key] = field(init=False)
    places: list[int | None] = field(init=False)

    def __post_init__(self) -> None:
        places = {key: place for place, key in enumerate(self.present)}
        before = set(self.known)
        keys = [*self.known, *(key for key in self.present if key not in before)]
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "places", [places.get(key) for key in keys])

    @property
    def is_plain(self) -> bool:
        """Whether each index is the place of its item."""
        return self.places == list(range(len(self.present)))

    @property
    def members(self) -> list[int]:
        """The indices whose items are there."""
        return [index for index, place in enumerate(self.places) if place is not None]


@dataclass(frozen=True)
class Known:
    """What the folder of a run knows of its items.

    Attributes:
        folder: The folder.
        keys: The key of each index.
        initial: The initial points.
        answered: All points that were ever labelled, set aside or queried.
        labelled: Those that have a label now.
        pending: Those of an open query that have no answer yet.
    """

    folder: Path
    keys: Sequence[Key]
    initial: Sequence[int]
    answered: frozenset[int]
    labelled: Sequence[int]
    pending: Sequence[int]

    def may_be_drawn(self, initial_size: int | None, targets: Sequence[Any]) -> bool:
        """Return whether the initial points are as many as are drawn for a size; see `draw_initial`.

        Args:
            initial_size: The size, or None if none are drawn.
            targets: The targets that the dataset lists, of which some may be None.
        """
        if initial_size is None:
            return False
        size = len(self.initial)
        return size == initial_size or (size > initial_size and lack_some(targets))

    def check_none_is_gone(self, numbering: Numbering) -> None:
        """Refuse data in which a labelled item is gone, or one that is being labelled.

        Raises:
            ValueError: If there is one; the message names it.
        """
        ways = (
            (self.labelled, "labelled items", "give their labels back", "give-back"),
            (self.pending, "items that are being labelled", "skip them, which costs no label,", "skip"),
        )
        for which, what, how, action in ways:
            gone = [index for index in which if numbering.places[index] is None]
            if gone:
                raise ValueError(
                    f"{len(gone)} {what} of the run in {self.folder} are gone from the data: "
                    f"{first_few([repr(self.keys[index]) for index in gone])}. Put them back, or {how} by "
                    f"`{command(action, self.folder, *gone[:MOST_LISTED])}`."
                )


class Renumbered(Dataset[Any]):
    """A dataset by the indices of a numbering.

    Args:
        dataset: The dataset by its places.
        numbering: Which place each index has.
    """

    def __init__(self, dataset: Any, numbering: Numbering) -> None:
        self.renumbered = dataset
        self.numbering = numbering

    def __len__(self) -> int:
        return len(self.numbering.keys)

    def __getitem__(self, index: int) -> Any:
        place = self.numbering.places[index]
        if place is None:
            raise LookupError(f"{self.numbering.keys[index]!r} is gone from the data. Put it back.")
        return self.renumbered[place]

    def __getattr__(self, name: str) -> Any:
        """Return what else the dataset has, such as its `classes`, but nothing that has an entry for each place."""
        if name.startswith("__") or name in ("targets", "labels", "keys") or "renumbered" not in vars(self):
            raise AttributeError(name)
        return getattr(self.renumbered, name)
