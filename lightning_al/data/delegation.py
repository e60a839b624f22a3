"""What belongs to the wrapped datamodule: what Lightning reads, its hooks, and every public name of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_al.data.from_datasets import FromDatasets
from lightning_al.host.hyperparameters import logs_hyperparameters
from lightning_al.host.namespace import is_overridden, pl, rank_zero_info

_LIGHTNINGS = frozenset({*dir(pl.LightningDataModule), *vars(pl.LightningDataModule())})

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")

# Lightning looks at whether a datamodule overrides these, so they may exist only where the wrapped one has them.
_FORWARDED = ("val_dataloader", "test_dataloader", "predict_dataloader", *TRANSFER_HOOKS)

_READ_BY_LIGHTNING = ("prepare_data_per_node", "allow_zero_length_dataloader_with_multiple_devices")


class Delegation:
    """Read, write and delete unknown public names on `wrapped`, so that users' code finds its attributes there.

    A class that mixes this in sets `wrapped` in its own `__dict__` and calls `_delegate` at the end of its `__init__`.
    Until then, and for private names at all times, it behaves like any other object. Where both define a name, the
    wrapping object's is read, and a message says so once.
    """

    wrapped: pl.LightningDataModule
    _wrapped_first: frozenset[str] = frozenset()
    """Names that both define and that are still read from the wrapped datamodule."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forward_hooks()

    @property
    def name(self) -> str | None:
        """The name of the wrapped datamodule, if it has one."""
        return self.wrapped.name

    @name.setter
    def name(self, name: str | None) -> None:
        self.wrapped.name = name

    @property
    def hparams(self) -> Any:
        """The hyperparameters of the wrapped datamodule."""
        return self.wrapped.hparams

    @property
    def hparams_initial(self) -> Any:
        """The hyperparameters with which the wrapped datamodule was made."""
        return self.wrapped.hparams_initial

    @property
    def _log_hyperparams(self) -> bool:
        return logs_hyperparameters(self.wrapped)

    @_log_hyperparams.setter
    def _log_hyperparams(self, value: bool) -> None:
        """Leave the choice to the wrapped datamodule."""

    def on_exception(self, exception: BaseException) -> None:
        """Tell the wrapped datamodule of an exception."""
        self.wrapped.on_exception(exception)

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            # A property raised AttributeError. Read it again for the error that names what it missed.
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
            # The error is of a property of the wrapped datamodule, and names what it missed.
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
        """Forward hooks from now on, and read and write unknown names on the wrapped datamodule."""
        for name in _READ_BY_LIGHTNING:
            setattr(self, name, getattr(self.wrapped, name))
        self._forward_hooks()
        self._told: set[str] = set()
        self._delegates = True
        self._tell_shared_names()

    def _forward_hooks(self) -> None:
        for hook in _FORWARDED:
            if is_overridden(hook, self.wrapped):
                setattr(self, hook, getattr(self.wrapped, hook))

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
    """Return the name of a wrapped datamodule's class, or of the plain dataset's that it was made of."""
    return wrapped.shown_as if isinstance(wrapped, FromDatasets) else type(wrapped).__name__


def _public(thing: Any) -> set[str]:
    return {name for name in (*vars(thing), *dir(type(thing))) if not name.startswith("_")}
