"""Read items of a training set, some of which may be unreadable: a truncated file, or a missing one."""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightning_al.values.errors import said_shortly


class Unreadable(Enum):
    """Stands for an item that cannot be read, if the run passes over such items."""

    ITEM = "unreadable"


UNREADABLE = Unreadable.ITEM

OF_POOL = 'Repair it, or pass `ActiveLearning(unscorable="skip")` to pass over such items.'
OF_LABELLED = "Repair it, or give the point back by `data.pool.give_back` or `lightning-al-journal give-back`."
OF_QUERY = "Repair it: it needs a label, which nobody was asked for yet."


def read(dataset: Any, index: int, *, skip: bool = False, remedy: str = OF_POOL) -> Any:
    """Return an item. If reading fails, return `UNREADABLE` with `skip`, and otherwise raise an error with the remedy.

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
    """Return an exception that names the item, of the same type if that type can be made of a text alone."""
    said = f"Item {index} of the training data cannot be read: {said_shortly(error)}. {remedy}"
    try:
        named = type(error)(said)
    except Exception:  # one that takes other arguments, as UnicodeDecodeError does
        return RuntimeError(said)
    return named if said in str(named) else RuntimeError(said)
