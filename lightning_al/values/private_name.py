"""A private or undocumented name of another package, whose absence is an error and never silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_MISSING = object()


@dataclass(frozen=True)
class PrivateName:
    """Read and write a private name of another package, or raise an error that names it.

    Python lets anyone set an attribute that nobody reads. A release that renames one would then change what a run
    does, without a word.

    Args:
        releases: The package and the releases of it that have the name.
        owner: The class or module that has the name.
        path: The name, or several joined by dots.
        purpose: What the library needs it for. An error says it after "to".

    >>> class Timer:
    ...     _offset = 3
    >>> offset = PrivateName("Clock 2.4 to 2.6", "Timer", "_offset", "count the time of all rounds")
    >>> offset.of(Timer())
    3
    >>> offset.set(object(), 0)
    Traceback (most recent call last):
        ...
    RuntimeError: `lightning_al` needs `Timer._offset` to count the time of all rounds. Clock 2.4 to 2.6 has it, but ...
    """

    releases: str
    owner: str
    path: str
    purpose: str

    def of(self, thing: Any) -> Any:
        """Return the value, starting from the owner.

        Raises:
            RuntimeError: If the name does not exist.
        """
        for name in self.path.split("."):
            thing = getattr(thing, name, _MISSING)
            if thing is _MISSING:
                raise self._error()
        return thing

    def set(self, thing: Any, value: Any) -> None:
        """Set the value.

        Raises:
            RuntimeError: If the name does not exist.
        """
        setattr(self._holder(thing), self._last, value)

    @contextmanager
    def replaced(self, thing: Any, value: Any) -> Iterator[None]:
        """Set the value for a while.

        Raises:
            RuntimeError: If the name does not exist.
        """
        holder = self._holder(thing)
        before = vars(holder).get(self._last, _MISSING)
        setattr(holder, self._last, value)
        try:
            yield
        finally:
            if before is _MISSING:
                delattr(holder, self._last)
            else:
                setattr(holder, self._last, before)

    def original(self, thing: Any) -> Any:
        """Return the method that the class defines, whatever was set on the object.

        Raises:
            RuntimeError: If the name does not exist.
        """
        holder = self._holder(thing)
        for cls in type(holder).__mro__:
            if self._last in vars(cls):
                return vars(cls)[self._last].__get__(holder, type(holder))
        raise self._error()

    @property
    def _last(self) -> str:
        return self.path.rpartition(".")[2]

    def _holder(self, thing: Any) -> Any:
        """Return the object that has the last name of the path."""
        for name in self.path.split(".")[:-1]:
            thing = getattr(thing, name, _MISSING)
        if not hasattr(thing, self._last):
            raise self._error()
        return thing

    def _error(self) -> RuntimeError:
        return RuntimeError(
            f"`lightning_al` needs `{self.owner}.{self.path}` to {self.purpose}. {self.releases} has it, but the "
            "installed release does not. Install one of those releases."
        )
