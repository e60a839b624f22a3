"""Attributes of an object that are restored later."""

from __future__ import annotations

from typing import Any

_MISSING = object()


class Attributes:
    """Remember the attributes of an object, each by identity.

    >>> from types import SimpleNamespace
    >>> data = SimpleNamespace(root=".")
    >>> before = Attributes(data)
    >>> data.train = [1, 2]
    >>> made = before.changed()
    >>> data.train = None
    >>> made.put_back()
    >>> data.train
    [1, 2]
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._values = dict(vars(owner))

    def changed(self) -> Attributes:
        """Return the attributes that were made or changed since, with their present values."""
        now = Attributes(self._owner)
        before = self._values
        now._values = {name: value for name, value in now._values.items() if before.get(name, _MISSING) is not value}
        return now

    def put_back_lost(self) -> None:
        """Restore the attributes that were deleted since, or set to None."""
        now = vars(self._owner)
        now.update({name: value for name, value in self._values.items() if now.get(name) is None})

    def put_back(self) -> None:
        """Restore all of these attributes."""
        vars(self._owner).update(self._values)
