"""The states of a Trainer's callbacks before their first fit, which every other fit starts from too."""

from __future__ import annotations

import copy
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torchmetrics import Metric

from lightning_al.host.namespace import NAMESPACE, pl, rank_zero_info
from lightning_al.host.plain_state import is_same, plain_attributes
from lightning_al.host.trainer import callbacks_of

_T = TypeVar("_T")


class ByCallback(WeakKeyDictionary[pl.Callback, _T]):
    """Map callbacks to what is known of them, as long as they exist.

    It is empty after pickling, since another process has callbacks of its own. Lightning pickles callbacks for
    strategies that spawn processes, which `ActiveLearning` refuses only there.
    """

    def __reduce__(self) -> tuple[type[ByCallback[_T]], tuple[()]]:
        return type(self), ()


class CallbackStates:
    """Remember the `state_dict` of each callback before its first fit, and load it before every other fit.

    Attributes in which a user's callback gathers more than that are left alone, and those that a fit changed are named
    once. Progress bars are left alone too, and `Timer`, whose clock `carry_on_timers` sets.
    """

    def __init__(self) -> None:
        self._before: ByCallback[tuple[dict[str, Any], dict[str, Any]]] = ByCallback()
        self._settings: ByCallback[dict[str, Any]] = ByCallback()

    def remember_or_restore(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and restore the others."""
        for callback in callbacks_of(trainer):
            if callback in self._before:
                self._restore(callback)
        self.remember_new(trainer, but)

    def remember(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember all callbacks as if they were new."""
        self._before.clear()
        self.remember_new(trainer, but)

    def remember_new(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and leave the others alone."""
        for callback in callbacks_of(trainer):
            if callback is not but and not _is_left_alone(callback) and callback not in self._before:
                plain = copy.deepcopy(plain_attributes(callback)) if _is_lightnings(callback) else {}
                self._before[callback] = plain, _copied_state(callback)
                if not _is_lightnings(callback):
                    self._settings[callback] = copy.deepcopy(_settings(callback))

    def _restore(self, callback: pl.Callback) -> None:
        plain, state = self._before[callback]
        if _is_shipped(callback):
            vars(callback).update({name: value for name, value in plain.items() if name == "dirpath"})
            return  # `RoundStart` puts all other attributes back
        set_up = plain_attributes(callback) if _is_lightnings(callback) else {}
        vars(callback).update(copy.deepcopy(plain))
        if state:
            callback.load_state_dict(copy.deepcopy(state))
        self._name_changes(callback)
        # Loading a state may set a flag that the next fit would obey, as finetuning callbacks do.
        vars(callback).update({name: value for name, value in set_up.items() if name != "dirpath"})

    def _name_changes(self, callback: pl.Callback) -> None:
        """Say once what a fit left in a user's callback that the next fit begins with."""
        before = self._settings.pop(callback, {})
        now = _settings(callback)
        if changed := [f"`{name}`" for name in before if name in now and not is_same(now[name], before[name])]:
            rank_zero_info(
                f"The callback `{type(callback).__name__}` begins this fit with what the one before left in "
                f"{', '.join(changed)}. For each fit to begin anew, return them in its `state_dict` and set them in "
                "`load_state_dict`."
            )


def _copied_state(callback: pl.Callback) -> dict[str, Any]:
    state = callback.state_dict()
    try:
        return copy.deepcopy(state)
    except Exception as error:
        raise TypeError(
            f"Each fit begins with the callbacks' states before the first one, but the `state_dict` of "
            f"`{type(callback).__name__}` cannot be copied ({type(error).__name__}: {error}). Return numbers, text, "
            "tensors and containers of these in it, as a checkpoint needs."
        ) from error


def _settings(callback: pl.Callback) -> dict[str, Any]:
    """Return the plain attributes that are no container, in which a callback may gather on purpose."""
    gathered = (list, tuple, set, frozenset, dict, Metric)
    return {name: value for name, value in plain_attributes(callback).items() if not isinstance(value, gathered)}


def lightnings_callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of Lightning's classes and their subclasses, but for progress bars and timers."""
    return [callback for callback in callbacks_of(trainer) if _is_lightnings(callback) and not _is_left_alone(callback)]


def _is_left_alone(callback: pl.Callback) -> bool:
    return isinstance(callback, pl.callbacks.ProgressBar | pl.callbacks.Timer)


def _is_shipped(callback: pl.Callback) -> bool:
    """Return whether a callback's own class comes with Lightning."""
    return type(callback).__module__.startswith(f"{NAMESPACE}.callbacks.")


def _is_lightnings(callback: pl.Callback) -> bool:
    """Return whether a callback's class, or one it derives from, is one of Lightning's that keep a state."""
    classes = (cls for cls in type(callback).__mro__ if cls not in (pl.Callback, pl.callbacks.LambdaCallback))
    return any(cls.__module__.startswith(f"{NAMESPACE}.callbacks.") for cls in classes)
