"""Attributes that a wrapping datamodule does not define are those of the datamodule that it wraps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_al.host.namespace import pl, rank_zero_info

_LIGHTNINGS = frozenset({*dir(pl.LightningDataModule), *vars(pl.LightningDataModule())})


class Delegation:
    """Read, write and delete unknown public names on `wrapped`, so that users' code finds there what it put there.

    A class that mixes this in sets `wrapped` in its own `__dict__` and ends its `__init__` by `_delegate`. Until then,
    and for private names at all times, it is like any other object. Where both define a name, the wrapping one's is
    taken, which is said once.
    """

    wrapped: pl.LightningDataModule
    _wrapped_first: frozenset[str] = frozenset()
    """Names of both that are read from the wrapped datamodule all the same."""

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            # A property raised AttributeError: again, to say which attribute it missed.
            return object.__getattribute__(self, name)
        if name.startswith("_") or "wrapped" not in vars(self):
            raise AttributeError(
                f"`{type(self).__name__}` does not define {name!r} itself. Use `.wrapped` for the private names of the "
                "wrapped datamodule.",
                name=name,
                obj=self,
            )
        try:
            return getattr(self.wrapped, name)
        except AttributeError as error:
            # What a property of the wrapped datamodule misses is for its author to read.
            if error.name != name or hasattr(type(self.wrapped), name):
                raise
            raise AttributeError(
                f"Neither `{type(self).__name__}` nor the wrapped `{shown(self.wrapped)}` has an attribute {name!r}. "
                "Define it in a LightningDataModule, and wrap that.",
                name=name,
                obj=self,
            ) from error

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_own(name):
            super().__setattr__(name, value)
        else:
            setattr(self.wrapped, name, value)

    def __delattr__(self, name: str) -> None:
        if self._is_own(name):
            super().__delattr__(name)
        else:
            delattr(self.wrapped, name)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *_public(self.wrapped)} if "wrapped" in vars(self) else super().__dir__())

    def _delegate(self) -> None:
        """Begin to write unknown names to the wrapped datamodule."""
        self._told: set[str] = set()
        self._delegates = True
        self._tell_shared_names()

    def _is_own(self, name: str) -> bool:
        return name.startswith("_") or "_delegates" not in vars(self) or name in vars(self) or hasattr(type(self), name)

    def _tell_shared_names(self) -> None:
        """Say, once for each, which names the wrapping and the wrapped datamodule both define."""
        names = sorted(_public(self) & _public(self.wrapped) - _LIGHTNINGS - self._told - self._wrapped_first)
        self._told.update(names)
        if names:
            ours, theirs = type(self).__name__, shown(self.wrapped)
            rank_zero_info(
                f"`{ours}` and the wrapped `{theirs}` both define `{'`, `'.join(names)}`. On `trainer.datamodule` such "
                f"a name is that of `{ours}`; read that of `{theirs}` by `trainer.datamodule.wrapped.{names[0]}`."
            )


def shown(wrapped: Any) -> str:
    """Return by what name a wrapped datamodule is shown: its class, or that of the plain dataset it stands for."""
    return str(vars(wrapped).get("_shown", type(wrapped).__name__))


def _public(thing: Any) -> set[str]:
    return {name for name in (*vars(thing), *dir(type(thing))) if not name.startswith("_")}
