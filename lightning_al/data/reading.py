"""Read items of a training set, of which some may not be readable: a file that is cut off, one that is missing."""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightning_al.values.errors import said_shortly


class Unreadable(Enum):
    """What stands for an item that cannot be read, where the run goes on without it."""

    ITEM = "unreadable"


UNREADABLE = Unreadable.ITEM

OF_POOL = 'Repair it, or pass `ActiveLearning(unscorable="skip")` to go on without such items.'
OF_LABELLED = "Repair it, or give the point back by `data.pool.give_back` or `lightning-al-journal give-back`."
OF_QUERY = "Repair it: a label is put into it, for which nobody was asked yet."


def read(dataset: Any, index: int, *, skip: bool = False, remedy: str = OF_POOL) -> Any:
    """Return an item, or with `skip` `UNREADABLE` where that fails; else an error says what the remedy is.

    Raises:
        Exception: What the dataset raised, with the index in its message.

    >>> read([0.5], 0), read([0.5], 1, skip=True)
    (0.5, <Unreadable.ITEM: 'unreadable'>)
    """
    try:
        return dataset[index]
    except Exception as error:  # whatever reading and decoding may raise
        if skip:
            return UNREADABLE
        raise unreadable(index, error, remedy) from error


def unreadable(index: int, error: Exception, remedy: str = OF_POOL) -> Exception:
    """Return an exception of the same type, where it can be made of a text alone, that names the item."""
    said = f"Item {index} of the training data cannot be read: {said_shortly(error)}. {remedy}"
    try:
        named = type(error)(said)
    except Exception:  # one that takes other arguments, as UnicodeDecodeError does
        return RuntimeError(said)
    return named if said in str(named) else RuntimeError(said)
