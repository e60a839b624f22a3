"""What a dataset may be: torch's, or anything that has items by number and a length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import Dataset


class Items(Protocol):
    """Items by number, as of a list, of an array, or of a dataset that does not derive from torch's."""

    def __getitem__(self, index: int, /) -> Any:
        """Return an item."""

    def __len__(self) -> int:
        """Return how many there are."""


if TYPE_CHECKING:
    AnyDataset = Dataset[Any] | Items
else:
    # LightningCLI makes objects of a class, but not of one with parameters, and of a protocol only to the letter.
    AnyDataset = Dataset
