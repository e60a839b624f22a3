"""Start every round with a Trainer, callbacks and a module as they were before the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lightning_al.host.callback_states import ByCallback, lightnings_callbacks
from lightning_al.host.lightning_names import (
    AUTOMATIC_OPTIMIZATION,
    EPOCH_LOOP,
    FIT_LOOP,
    LOGGER_STEP,
    LOGS_BY_ITSELF,
    MANUAL_OPTIMIZATION,
    PROFILER_SCHEDULE,
    SANITY_CHECK_STEPS,
    VALIDATION_LOOP,
)
from lightning_al.host.module_state import ModuleState
from lightning_al.host.namespace import pl
from lightning_al.host.plain_state import PlainState
from lightning_al.host.trainer import profiler_of
from lightning_al.run.seeds import GlobalStates

_LOOPS = (FIT_LOOP, EPOCH_LOOP, VALIDATION_LOOP, AUTOMATIC_OPTIMIZATION, MANUAL_OPTIMIZATION)

_NOT_PUT_BACK = tuple(name.path.rpartition(".")[2] for name in (SANITY_CHECK_STEPS, LOGS_BY_ITSELF, LOGGER_STEP))
"""What the library sets itself, for a fit or for the whole run."""


@dataclass(frozen=True)
class _End:
    """The states at the end of a call of `trainer.fit`. What differs at the next call, the user has changed."""

    trainer: PlainState
    module: ModuleState
    callbacks: ByCallback[PlainState]


class RoundStart:
    """Make a round start as a new Trainer with new callbacks and a new module would, before anything is set up.

    The first fit remembers what they are. Before the `setup` of every other fit, this is put back: the plain attributes
    of the Trainer and its loops, those of Lightning's own callbacks, and the module by `ModuleState`. Each `setup`
    draws the same random numbers, so a round does not depend on whether its process began with it. What the user
    changes between two calls of `trainer.fit` stays.
    """

    def __init__(self) -> None:
        self._trainer: tuple[pl.Trainer, PlainState] | None = None
        self._module: tuple[pl.LightningModule, ModuleState] | None = None
        self._callbacks: ByCallback[PlainState] = ByCallback()
        self._end: _End | None = None
        self._left: ByCallback[PlainState] = ByCallback()
        self._schedule: Any = None
        self._generators: GlobalStates | None = None
        self._outside: GlobalStates | None = None

    def __reduce__(self) -> tuple[type[RoundStart], tuple[()]]:
        # Another process, or a copy of the callback, has a Trainer and a module of its own.
        return type(self), ()

    def before_setup(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remember the Trainer, its callbacks and the module, or put back what was remembered before."""
        if self._end is not None:
            self._adopt(trainer, module, self._end)
            self._left, self._end = self._end.callbacks, None
        self._start_trainer(trainer)
        for callback in lightnings_callbacks(trainer):
            if callback in self._callbacks:
                self._callbacks[callback].put_back()
        self.remember_callbacks(trainer)
        if self._module is not None and self._module[0] is module:
            self._module[1].put_back()
            assert self._generators is not None
            self._outside = GlobalStates()
            self._generators.put_back()
        else:
            self._module = module, ModuleState(module).before_first_setup()
            self._generators = GlobalStates()

    def _start_trainer(self, trainer: pl.Trainer) -> None:
        profiler: Any = profiler_of(trainer)
        has_schedule = isinstance(profiler, pl.profilers.PyTorchProfiler)
        if self._trainer is None or self._trainer[0] is not trainer:
            self._trainer = trainer, _trainer_state(trainer)
            self._schedule = PROFILER_SCHEDULE.of(profiler) if has_schedule else None
            return
        self._trainer[1].put_back()
        if self._schedule is not None:
            # A PyTorchProfiler drops its schedule in a fit of few steps, and keeps its place in it otherwise.
            self._schedule.reset()
            PROFILER_SCHEDULE.set(profiler, self._schedule)

    def remember_callbacks(self, trainer: pl.Trainer) -> None:
        """Remember the callbacks that are new."""
        for callback in lightnings_callbacks(trainer):
            if callback not in self._callbacks:
                self._callbacks[callback] = _callback_state(callback)

    def after_setup(self) -> None:
        """Note what the first `setup` of the module did."""
        assert self._module is not None
        self._module[1].note_setup()
        self._go_outside()

    def _go_outside(self) -> None:
        """Put the random generators back to where they were before `setup`."""
        if self._outside is not None:
            self._outside.put_back()
            self._outside = None

    def end(self, trainer: pl.Trainer) -> None:
        """Remember the Trainer, its callbacks and the module at the end of the user's call."""
        self._go_outside()
        if self._module is None:
            return
        callbacks: ByCallback[PlainState] = ByCallback()
        for callback in lightnings_callbacks(trainer):
            callbacks[callback] = _callback_state(callback)
        self._end = _End(_trainer_state(trainer), ModuleState(self._module[0]), callbacks)

    def leave_callbacks(self) -> None:
        """Put the callbacks back to the end of the user's last call, for a call that runs no fit."""
        for state in self._left.values():
            state.put_back()

    @contextmanager
    def tested(self, module: pl.LightningModule) -> Iterator[None]:
        """Keep the trained layers of the module while it is set up for a test."""
        assert self._module is not None
        with self._module[1].tested(module):
            yield

    def _adopt(self, trainer: pl.Trainer, module: pl.LightningModule, end: _End) -> None:
        if self._trainer is not None and self._trainer[0] is trainer:
            self._trainer[1].adopt(end.trainer)
        if self._module is not None and self._module[0] is module:
            self._module[1].adopt(end.module)
        for callback, ended in end.callbacks.items():
            self._callbacks[callback].adopt(ended)


def _trainer_state(trainer: pl.Trainer) -> PlainState:
    return PlainState((trainer, *(loop.of(trainer) for loop in _LOOPS)), but=_NOT_PUT_BACK)


def _callback_state(callback: pl.Callback) -> PlainState:
    return PlainState([callback], but=("dirpath",))  # `RoundCheckpoints` sets it
