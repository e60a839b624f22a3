"""Fits and tests that run inside a hook of another fit, as if one had ended before the next begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from typing_extensions import override

from lightning_al.host.found_checkpoints import from_no_checkpoint
from lightning_al.host.lightning_names import LOGGED_METRICS, PROFILER, RUNNING_HOOK
from lightning_al.host.namespace import pl
from lightning_al.host.signals import leave_by
from lightning_al.host.trainer import callbacks_of, profiler_of, set_callbacks
from lightning_al.run.stopping import StoppedError, is_insisting


@contextmanager
def nested(trainer: pl.Trainer) -> Iterator[None]:
    """Run a fit or a test inside a hook of another fit, then put the Trainer's state back.

    The inner run ignores the checkpoint that Lightning would load by itself, which is another round's. Lightning calls
    `on_exception` where an exception leaves the inner run. It is not called again where the exception leaves the outer.
    """
    before = dict(vars(trainer.state))
    try:
        with from_no_checkpoint(trainer):
            yield
    except BaseException as error:
        # A signal may end the inner run just before or after Lightning calls `on_exception`, or meanwhile.
        if trainer.state.status == "interrupted" and not is_insisting():
            set_callbacks(trainer, [_AlreadyTold(callbacks_of(trainer), error)])
        raise
    finally:
        vars(trainer.state).update(before)


class _AlreadyTold(pl.Callback):
    """Stand in for the callbacks while an exception that they know of leaves the outer fit."""

    def __init__(self, callbacks: list[pl.Callback], told: BaseException) -> None:
        self.callbacks = callbacks
        self.told = told

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        set_callbacks(trainer, self.callbacks)
        if isinstance(self.told, StoppedError):
            leave_by(trainer, self.told)


def end_fit_early(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Call the hooks that Lightning calls after our `on_fit_end`, before a test or another fit runs inside it.

    So the next run begins after the hooks of this one, as in a program that runs one after the other.
    `skip_end_of_fit` keeps Lightning from calling them twice.
    """
    stage: Any = trainer.state.fn
    module.on_fit_end()
    for callback in callbacks_of(trainer):
        callback.teardown(trainer, module, stage)
    module.teardown(stage)
    # Lightning keeps the module's metrics here. The next `setup` may make others.
    LOGGED_METRICS.set(module, None)
    RUNNING_HOOK.set(module, None)
    profiler_of(trainer).describe()


def skip_end_of_fit(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Let Lightning skip the hooks that `end_fit_early` called."""
    set_callbacks(trainer, [_AlreadyTornDown(trainer)])
    PROFILER.set(trainer, pl.profilers.PassThroughProfiler())
    vars(module)["on_fit_end"] = partial(_skip, module, "on_fit_end")


class _AlreadyTornDown(pl.Callback):
    """Stand in for the callbacks while Lightning calls the last hooks of a fit that ended early."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self.callbacks = callbacks_of(trainer)
        self.profiler = profiler_of(trainer)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        set_callbacks(trainer, self.callbacks)

        def last(*_: Any, **__: Any) -> None:
            """Stand in for the module's `teardown`, the last hook. Lightning then prints what was profiled."""
            vars(pl_module).pop("teardown")
            PROFILER.set(trainer, self.profiler)
            vars(self.profiler)["describe"] = partial(_skip, self.profiler, "describe")

        vars(pl_module)["teardown"] = last

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        set_callbacks(trainer, self.callbacks)
        PROFILER.set(trainer, self.profiler)
        for hook in ("on_fit_end", "teardown"):
            vars(pl_module).pop(hook, None)


@contextmanager
def unprofiled(trainer: pl.Trainer, callback: pl.Callback, hook: str) -> Iterator[None]:
    """Stop the profiler's recording of the running hook, since the fits inside the hook record it too."""
    profiler = profiler_of(trainer)
    profiler.stop(f"[Callback]{callback.state_key}.{hook}")
    try:
        yield
    finally:
        # Lightning stops the recording when the hook ends, and a profiler may refuse to stop what it does not record.
        vars(profiler)["stop"] = partial(_skip, profiler, "stop")


def _skip(owner: Any, method: str, *_: Any, **__: Any) -> None:
    """Stand in for a method of an object, for one call."""
    vars(owner).pop(method)
