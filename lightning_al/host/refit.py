"""Put a Trainer, its callbacks and a module back to where a round starts."""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from lightning_utilities.core import rank_zero
from torch import Tensor
from torchmetrics import Metric

from lightning_al.host.found_checkpoints import from_no_checkpoint
from lightning_al.host.module_state import ModuleState, same
from lightning_al.host.namespace import NAMESPACE, pl
from lightning_al.run.seeds import GlobalStates
from lightning_al.run.stopping import StoppedError, is_insisting, leave_by

_T = TypeVar("_T")

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Tensor, torch.device, torch.dtype)

_CONTAINERS = (list, tuple, set, frozenset, dict, OrderedDict, defaultdict)


def callbacks_of(trainer: Any) -> list[pl.Callback]:
    """Return the Trainer's callbacks, an attribute that Lightning does not declare."""
    return trainer.callbacks  # type: ignore[no-any-return]


def set_callbacks(trainer: Any, callbacks: list[pl.Callback]) -> None:
    """Set the Trainer's callbacks in the order in which their hooks are called."""
    trainer.callbacks = callbacks


def put_first(trainer: pl.Trainer, callback: pl.Callback) -> None:
    """Let the hooks of a callback, where the Trainer has it just now, be called before those of others."""
    if callback in callbacks_of(trainer):
        set_callbacks(trainer, [callback, *(other for other in callbacks_of(trainer) if other is not callback)])


def tell_those_after(
    trainer: pl.Trainer, callback: pl.Callback, module: pl.LightningModule, exception: BaseException
) -> None:
    """Tell the callbacks behind one of an exception, whatever they raise."""
    callbacks = callbacks_of(trainer)
    for other in callbacks[callbacks.index(callback) + 1 :] if callback in callbacks else []:
        with suppress(Exception):
            other.on_exception(trainer, module, exception)


def rewind(trainer: pl.Trainer) -> None:
    """Set the Trainer's epoch and step counts to 0, all but the loggers' step, so that it fits again."""
    trainer.should_stop = False  # a fit does so itself only in later versions of Lightning than 2.4
    fit_loop = trainer.fit_loop
    fit_loop.epoch_progress.reset()
    epoch_loop = fit_loop.epoch_loop
    epoch_loop.batch_progress.reset()
    epoch_loop.scheduler_progress.reset()
    epoch_loop.automatic_optimization.optim_progress.reset()
    epoch_loop.manual_optimization.optim_step_progress.reset()
    epoch_loop.val_loop.batch_progress.reset()


def logger_step(trainer: pl.Trainer) -> int:
    """Return the step at which the Trainer's loggers stand; it grows through all rounds."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logger_step(trainer: pl.Trainer, step: int) -> None:
    """Let the Trainer's loggers go on from a step."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


class ByCallback(WeakKeyDictionary[pl.Callback, _T]):
    """What is known of callbacks while they exist. Pickled, it is empty: other processes have callbacks of their own.

    Lightning pickles the callbacks where a strategy spawns processes, and only there can they say what they refuse.
    """

    def __reduce__(self) -> tuple[type[ByCallback[_T]], tuple[()]]:
        return type(self), ()


class PlainState:
    """The plain data among the attributes of some objects, to be put back.

    Args:
        things: The objects.
        but: Names of attributes that are left alone.
    """

    def __init__(self, things: Iterable[Any], but: Collection[str] = ()) -> None:
        self._attributes = [
            (thing, {name: copy.deepcopy(value) for name, value in _plain(thing).items() if name not in but})
            for thing in things
        ]

    def put_back(self) -> None:
        """Give the attributes the values that they had."""
        for thing, before in self._attributes:
            vars(thing).update(copy.deepcopy(before))

    def adopt(self, ended: PlainState) -> None:
        """Take over what was changed since another state of the same objects was remembered."""
        for (thing, before), (_, then) in zip(self._attributes, ended._attributes, strict=True):
            now = _plain(thing)
            changed = [name for name in then if name in now and not same(now[name], then[name])]
            before.update({name: copy.deepcopy(now[name]) for name in changed})


class Start:
    """Make a round start as a new Trainer with new callbacks and a new module would, before anything is set up.

    At the first fit it is remembered what they are, and before the `setup` of every other fit that is put back: the
    plain attributes of the Trainer, its fit loop and its epoch loop, those of Lightning's own callbacks, and what
    `ModuleState` says of the module. What `setup` draws at random, it draws again, so that it does not matter in which
    round a process begins. What the user changes between two calls of `trainer.fit` is kept.
    """

    def __init__(self) -> None:
        self._trainer: tuple[Any, PlainState] | None = None
        self._module: tuple[Any, ModuleState] | None = None
        self._callbacks: ByCallback[PlainState] = ByCallback()
        self._ended: tuple[PlainState, ModuleState, ByCallback[PlainState]] | None = None
        self._left: ByCallback[PlainState] = ByCallback()
        self._schedule: Any = None
        self._generators: GlobalStates | None = None
        self._outside: GlobalStates | None = None

    def __reduce__(self) -> tuple[type[Start], tuple[()]]:
        # Another process, or a copy of the callback, has a Trainer and a module of its own.
        return type(self), ()

    def before_setup(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remember what trainer, callbacks and module are, or put it back where that was done before."""
        if self._ended is not None:
            self._adopt(trainer, module, *self._ended)
            self._left, self._ended = self._ended[-1], None
        profiler = _profiler(trainer)
        if self._trainer is not None and self._trainer[0] is trainer:
            self._trainer[1].put_back()
            if self._schedule is not None:
                # A PyTorchProfiler drops it where a fit has few steps, and goes by what is left of it.
                self._schedule.reset()
                vars(profiler)["_schedule"] = self._schedule
        else:
            self._trainer = trainer, _trainer_state(trainer)
            self._schedule = getattr(profiler, "_schedule", None)
        for callback in _lightnings_callbacks(trainer):
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

    def remember_callbacks(self, trainer: pl.Trainer) -> None:
        """Remember what the callbacks are that are not known yet."""
        for callback in _lightnings_callbacks(trainer):
            if callback not in self._callbacks:
                self._callbacks[callback] = _callback_state(callback)

    def after_setup(self) -> None:
        """Note what the first `setup` of the module did."""
        assert self._module is not None
        self._module[1].note_setup()
        self._go_outside()

    def _go_outside(self) -> None:
        if self._outside is not None:
            self._outside.put_back()
            self._outside = None

    def end(self, trainer: pl.Trainer) -> None:
        """Note what trainer, callbacks and module are at the end of the user's call."""
        self._go_outside()
        if self._module is None:
            return
        states: ByCallback[PlainState] = ByCallback()
        for callback in _lightnings_callbacks(trainer):
            states[callback] = _callback_state(callback)
        self._ended = _trainer_state(trainer), ModuleState(self._module[0]), states

    def leave_callbacks(self) -> None:
        """Let callbacks be as the user's last call left them, for a call that runs no fit."""
        for state in self._left.values():
            state.put_back()

    @contextmanager
    def tested(self, module: pl.LightningModule) -> Iterator[None]:
        """Keep the trained layers of the module in place while it is set up for a test."""
        assert self._module is not None
        with self._module[1].tested(module):
            yield

    def _adopt(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        trainer_ended: PlainState,
        module_ended: ModuleState,
        callbacks_ended: ByCallback[PlainState],
    ) -> None:
        if self._trainer is not None and self._trainer[0] is trainer:
            self._trainer[1].adopt(trainer_ended)
        if self._module is not None and self._module[0] is module:
            self._module[1].adopt(module_ended)
        for callback, ended in callbacks_ended.items():
            self._callbacks[callback].adopt(ended)


def _trainer_state(trainer: pl.Trainer) -> PlainState:
    epoch_loop = trainer.fit_loop.epoch_loop
    optimization = epoch_loop.automatic_optimization, epoch_loop.manual_optimization
    # What `quiet`, `held_open` and `set_logger_step` see to.
    ours = ("num_sanity_val_steps", "enable_autolog_hparams", "_batches_that_stepped")
    return PlainState((trainer, trainer.fit_loop, epoch_loop, epoch_loop.val_loop, *optimization), but=ours)


def _callback_state(callback: pl.Callback) -> PlainState:
    # Each round's checkpoints have a folder of their own: see `round_checkpoints.py`.
    return PlainState([callback], but=("dirpath",))


def _lightnings_callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of Lightning's, and kinds of them, whose attributes are put back."""
    return [callback for callback in callbacks_of(trainer) if _is_lightnings(callback) and not _is_left_alone(callback)]


class CallbackStates:
    """Remember what the `state_dict` of callbacks is before their first fit, and load it before every other.

    What a user's callback gathers in its attributes besides is left alone, as are progress bars and `Timer`, whose
    clock `carry_on_timers` keeps going.
    """

    def __init__(self) -> None:
        self._before: ByCallback[tuple[dict[str, Any], dict[str, Any]]] = ByCallback()

    def remember_or_restore(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and restore the others."""
        for callback in callbacks_of(trainer):
            if callback in self._before:
                self._restore(callback)
        self.remember_new(trainer, but)

    def remember(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks as new ones."""
        self._before.clear()
        self.remember_new(trainer, but)

    def remember_new(self, trainer: pl.Trainer, but: pl.Callback) -> None:
        """Remember the callbacks that are new, and leave the others alone."""
        for callback in callbacks_of(trainer):
            if callback is not but and not _is_left_alone(callback) and callback not in self._before:
                plain = copy.deepcopy(_plain(callback)) if _is_lightnings(callback) else {}
                self._before[callback] = plain, copy.deepcopy(callback.state_dict())

    def _restore(self, callback: pl.Callback) -> None:
        plain, state = self._before[callback]
        if _is_shipped(callback):
            vars(callback).update({name: value for name, value in plain.items() if name == "dirpath"})
            return  # `Start` put back all of it
        set_up = _plain(callback) if _is_lightnings(callback) else {}
        vars(callback).update(copy.deepcopy(plain))
        if state:
            callback.load_state_dict(copy.deepcopy(state))
        # Loading a state may set a flag that the next fit would obey, as finetuning callbacks do.
        vars(callback).update({name: value for name, value in set_up.items() if name != "dirpath"})


def _is_left_alone(callback: pl.Callback) -> bool:
    return isinstance(callback, pl.callbacks.ProgressBar | pl.callbacks.Timer)


def _plain(thing: Any) -> dict[str, Any]:
    # A callback of Lightning's may keep a metric.
    return {
        name: value
        for name, value in vars(thing).items()
        if _is_plain(value) or (isinstance(thing, pl.Callback) and isinstance(value, Metric))
    }


def carry_on_timers(trainer: pl.Trainer, started: float) -> None:
    """Let each `Timer` count from the start of the run, so that `max_time` holds for all rounds together."""
    for timer in _timers(trainer):
        timer._offset = time.monotonic() - started  # type: ignore[assignment]  # Lightning sets a float there too
        timer._start_time = dict.fromkeys(timer._start_time)
        timer._end_time = dict.fromkeys(timer._end_time)


def time_is_up(trainer: pl.Trainer) -> bool:
    """Return whether a `Timer` cut the fit short, the same on every rank."""
    remaining = [timer.time_remaining() for timer in _timers(trainer)]
    return bool(trainer.strategy.broadcast(any(left is not None and left <= 0 for left in remaining)))


def _timers(trainer: pl.Trainer) -> list[pl.callbacks.Timer]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.Timer)]


def only_note_sigterm(trainer: pl.Trainer) -> None:
    """Let Lightning's own answer to a SIGTERM be no more than to note it; `Stopping` ends the run.

    From Lightning 2.6 on it is a collective call as well, made by one rank from within a signal's handler while the
    others are at another call, so that all wait for each other until the process group's timeout of half an hour. A
    rank that ends by itself closes its connections, at which the others' next collective call raises; and Lightning's
    launcher kills the rest within seconds of the death of a process that it started.
    """
    connector: Any = trainer._signal_connector
    connector._sigterm_notifier_fn = partial(_note_sigterm, connector)


def _note_sigterm(connector: Any, number: int, frame: FrameType | None) -> None:
    # What is noted ends the fit after the batch, where submitit would wait for another signal.
    connector.received_sigterm = "SUBMITIT_EXECUTOR" not in os.environ


@contextmanager
def nested(trainer: pl.Trainer) -> Iterator[None]:
    """Run a fit or a test inside a hook of another fit: its state is put back, and an exception told of once.

    Lightning tells all callbacks of an exception where it leaves the inner run, and would again where it leaves the
    outer one. A checkpoint that it would take by itself, that of another round, is passed over.
    """
    before = trainer.state.fn, trainer.state.status, trainer.state.stage
    try:
        with from_no_checkpoint(trainer):
            yield
    except BaseException as error:
        # A signal may end it just before or after Lightning would tell of it, or while it tells others.
        if trainer.state.status == "interrupted" and not is_insisting():
            set_callbacks(trainer, [_AlreadyTold(callbacks_of(trainer), error)])
        raise
    finally:
        trainer.state.fn, trainer.state.status, trainer.state.stage = before


def end_fit_early(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Call what Lightning calls at the end of a fit after our `on_fit_end`, for a fit in whose end others are run.

    So that a test or another fit begins when the hooks of this one have ended, as in a program that runs one after
    the other. `skip_end_of_fit` keeps Lightning from calling them twice.
    """
    stage: Any = trainer.state.fn
    module.on_fit_end()
    for callback in callbacks_of(trainer):
        callback.teardown(trainer, module, stage)
    module.teardown(stage)
    # By these Lightning knows the metrics of the module, which may be others after the next `setup`.
    module._metric_attributes = None
    module._current_fx_name = None
    _profiler(trainer).describe()


def skip_end_of_fit(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Let Lightning pass over the hooks that `end_fit_early` called."""
    set_callbacks(trainer, [_AlreadyTornDown(trainer)])
    trainer.profiler = pl.profilers.PassThroughProfiler()  # type: ignore[attr-defined]
    vars(module)["on_fit_end"] = partial(_pass_over, module, "on_fit_end")


def _pass_over(owner: Any, method: str, *_: Any, **__: Any) -> None:
    """Stand in, for one call, for a method of an object."""
    vars(owner).pop(method)


class _AlreadyTornDown(pl.Callback):
    """Stand in for the callbacks while Lightning calls the last hooks of a fit that was ended early."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self.callbacks = callbacks_of(trainer)
        self.profiler = _profiler(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        set_callbacks(trainer, self.callbacks)

        def last(*_: Any, **__: Any) -> None:
            """Stand in for the module's `teardown`, the last hook, after which Lightning prints what was profiled."""
            vars(pl_module).pop("teardown")
            trainer.profiler = self.profiler  # type: ignore[attr-defined]
            vars(self.profiler)["describe"] = partial(_pass_over, self.profiler, "describe")

        vars(pl_module)["teardown"] = last

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        set_callbacks(trainer, self.callbacks)
        trainer.profiler = self.profiler  # type: ignore[attr-defined]
        for hook in ("on_fit_end", "teardown"):
            vars(pl_module).pop(hook, None)


@contextmanager
def unprofiled(trainer: pl.Trainer, callback: pl.Callback, hook: str) -> Iterator[None]:
    """Leave the profiler's recording of the hook that is running, which other fits inside of it record too."""
    profiler = _profiler(trainer)
    profiler.stop(f"[Callback]{callback.state_key}.{hook}")
    try:
        yield
    finally:
        # Lightning stops the recording when the hook ends, and a profiler may refuse what it does not record.
        vars(profiler)["stop"] = partial(_pass_over, profiler, "stop")


def _profiler(trainer: Any) -> pl.profilers.Profiler:
    """Return the Trainer's profiler, an attribute that Lightning does not declare."""
    return trainer.profiler  # type: ignore[no-any-return]


class _AlreadyTold(pl.Callback):
    """Stand in for the callbacks while an exception that they were told of leaves the outer fit."""

    def __init__(self, callbacks: list[pl.Callback], told: BaseException) -> None:
        self.callbacks = callbacks
        self.told = told

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        set_callbacks(trainer, self.callbacks)
        if isinstance(self.told, StoppedError):
            leave_by(trainer, self.told)


@contextmanager
def quiet(trainer: pl.Trainer) -> Iterator[None]:
    """Say once what Lightning says at every fit: the model summary, the devices, why the fit stopped, and so on."""
    said = _OncePerFit()
    # The first is of the Lightning namespace imported last, where both are.
    others = ("trainer.connectors.signal_connector", "accelerators.cuda")
    loggers = rank_zero.log, *(logging.getLogger(f"{NAMESPACE}.{name}") for name in others)
    summaries = [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.ModelSummary)]
    for logger in loggers:
        logger.addFilter(said)
    set_callbacks(trainer, [callback for callback in callbacks_of(trainer) if callback not in summaries])
    try:
        with _advised_once(), without_sanity_check(trainer):
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(said)
        set_callbacks(trainer, [*summaries, *callbacks_of(trainer)])


@contextmanager
def without_sanity_check(trainer: pl.Trainer) -> Iterator[None]:
    """Let a fit validate nothing before its first step.

    The check asks for the loaders, whose persistent workers stay, and calls the module: what is drawn, counted and kept
    there would make the round another one, where a run goes on with it, than in a run that was not cut off.
    """
    steps = trainer.num_sanity_val_steps
    trainer.num_sanity_val_steps = 0
    try:
        yield
    finally:
        trainer.num_sanity_val_steps = steps


@contextmanager
def without_training(trainer: pl.Trainer) -> Iterator[None]:
    """Let a fit end before its first step, without asking for the training data."""
    limit = trainer.limit_train_batches
    trainer.limit_train_batches = 0
    try:
        yield
    finally:
        trainer.limit_train_batches = limit


@contextmanager
def _advised_once() -> Iterator[None]:
    """Drop Lightning's advice on the logging interval, which Python takes for a new warning in each round.

    It names the number of batches, and that grows with the labels. A filter would show all other warnings once more.
    """
    show = warnings.showwarning

    def show_others(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if not str(message).startswith("The number of training batches"):
            show(message, *args, **kwargs)

    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show


class _OncePerFit(logging.Filter):
    SAID = (
        "`Trainer.fit` stopped",
        "LOCAL_RANK:",
        "The following callbacks returned in `LightningModule.configure_callbacks`",
        "`Trainer(barebones=True)` started running",
        "Loading `train_dataloader` to estimate number of stepping batches",
        "SLURM auto-requeueing enabled",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.SAID)


def _is_shipped(callback: pl.Callback) -> bool:
    """Return whether a callback is of a class of Lightning's, not of one that a user derived from it."""
    return type(callback).__module__.startswith(f"{NAMESPACE}.callbacks.")


def _is_lightnings(callback: pl.Callback) -> bool:
    """Return whether a callback's class, or one it derives from, is one of Lightning's that keep a state."""
    classes = (cls for cls in type(callback).__mro__ if cls not in (pl.Callback, pl.callbacks.LambdaCallback))
    return any(cls.__module__.startswith(f"{NAMESPACE}.callbacks.") for cls in classes)


def _is_plain(value: Any) -> bool:
    if type(value) in _CONTAINERS:
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return all(map(_is_plain, parts))
    # A tensor with a history cannot be copied, and is no setting.
    return isinstance(value, _PLAIN) and not (isinstance(value, Tensor) and value.grad_fn is not None)
