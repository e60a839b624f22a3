"""The types of datasets: torch's, and any object with `__getitem__` and `__len__`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import Dataset


class Items(Protocol):
    """A list, an array, or a dataset that does not derive from torch's."""

    def __getitem__(self, index: int, /) -> Any:
        """Return an item."""

    def __len__(self) -> int:
        """Return how many there are."""


if TYPE_CHECKING:
    AnyDataset = Dataset[Any] | Items
else:
    # LightningCLI instantiates a plain class, but no generic one, and takes a protocol literally.
    AnyDataset = Dataset
