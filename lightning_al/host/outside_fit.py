"""Use a module outside a fit as in one: on the Trainer's devices and ranks, with the datamodule's transfer hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from lightning_al.host.before_setup import BeforeSetup
from lightning_al.host.found_checkpoints import from_no_checkpoint
from lightning_al.host.lightning_names import PREDICT_BATCH_LIMIT, PROFILER
from lightning_al.host.namespace import pl
from lightning_al.host.quiet import quiet
from lightning_al.host.trainer import callbacks_of, set_callbacks
from lightning_al.run.weights import copy_weights, put_matching

_METRICS = ("callback_metrics", "logged_metrics", "progress_bar_metrics")
"""What the Trainer tells of its last run."""

_TOLD = ("on_predict_start", "on_predict_epoch_start", "on_predict_epoch_end", "on_predict_end")
"""Hooks of a module that would look for predictions, and which scoring after a fit does not call."""

_MISSING = object()


def use_outside_fit(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    use: Callable[[pl.LightningModule], None],
    *,
    before_setup: Callable[[], object] = lambda: None,
) -> None:
    """Call a function in a prediction of the Trainer that reads no batch, on every rank.

    The datamodule is set up and torn down for a fit, and the module for a prediction, of which no callback, logger or
    profiler is told, nor the module itself. Layers that it builds in `setup` get the weights back that it had before.
    Trainer and weights are as before afterwards.

    Args:
        trainer: The Trainer, which runs nothing.
        module: The module.
        data: The datamodule.
        use: Is called with the module, on its device, in evaluation mode and without gradients.
        before_setup: Is called before the datamodule is set up.
    """
    state, callbacks, loggers = dict(vars(trainer.state)), list(callbacks_of(trainer)), list(trainer.loggers)
    bars = [callback for callback in callbacks if isinstance(callback, pl.callbacks.ProgressBar)]
    weights = copy_weights(module)
    metrics = {name: dict(getattr(trainer, name)) for name in _METRICS}
    setup, teardown = data.setup, data.teardown

    def act(module: pl.LightningModule) -> None:
        put_matching(module, weights)
        use(module)

    with ExitStack() as before:
        before.enter_context(_held_tensors(module))
        before.callback(vars(trainer.state).update, state)
        before.callback(_put_back_metrics, trainer, metrics)
        before.callback(set_callbacks, trainer, callbacks)
        before.callback(setattr, trainer, "loggers", loggers)
        set_callbacks(trainer, [_AtStart(before_setup, act, bars)])
        trainer.loggers = []
        before.enter_context(PROFILER.replaced(trainer, pl.profilers.PassThroughProfiler()))
        # Lightning skips a prediction of 0 batches, so the loader does not say that it has none.
        before.enter_context(PREDICT_BATCH_LIMIT.replaced(trainer, 1.0))
        before.enter_context(from_no_checkpoint(trainer))
        before.enter_context(quiet(trainer))
        before.enter_context(
            _hooks(
                data,
                setup=lambda stage: setup("fit"),
                teardown=lambda stage: teardown("fit"),
                predict_dataloader=lambda: iter(()),
            )
        )
        before.enter_context(_hooks(module, configure_callbacks=list, **dict.fromkeys(_TOLD, lambda: None)))
        trainer.predict(module, datamodule=data, return_predictions=False)


def _put_back_metrics(trainer: pl.Trainer, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    for name, values in metrics.items():
        getattr(trainer, name).update(values)


class _AtStart(BeforeSetup):
    """Call a function when a prediction starts. It finds the Trainer's progress bars, which show no other progress."""

    def __init__(
        self,
        first: Callable[[], object],
        act: Callable[[pl.LightningModule], None],
        bars: Sequence[pl.Callback],
    ) -> None:
        self._first = first
        self._act = act
        self._bars = bars

    @override
    def before_setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Call what comes first. That there is such a callback tells the data that this is active learning."""
        self._first()

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        alone = callbacks_of(trainer)
        set_callbacks(trainer, [*alone, *self._bars])
        try:
            # In inference mode, convolutions of images kept channels last take six times as long.
            with torch.inference_mode(False), torch.no_grad():
                self._act(pl_module)
        finally:
            set_callbacks(trainer, alone)


@contextmanager
def _hooks(owner: Any, **hooks: Callable[..., Any]) -> Iterator[None]:
    """Give a module or a datamodule other hooks for a while."""
    before = {name: vars(owner).get(name, _MISSING) for name in hooks}
    vars(owner).update(hooks)
    try:
        yield
    finally:
        for name, hook in before.items():
            vars(owner).pop(name)
            if hook is not _MISSING:
                vars(owner)[name] = hook


@contextmanager
def _held_tensors(module: nn.Module) -> Iterator[None]:
    """Put the weights of a module back to where they lay, which moving a module changes in place."""
    before = [(weight, weight.data) for weight in module.parameters()]
    try:
        yield
    finally:
        for weight, data in before:
            weight.data = data
