"""One clock for a whole run: `max_time` holds for all rounds together."""

from __future__ import annotations

import time

from lightning_al.host.lightning_names import TIMER_ENDS, TIMER_STARTS
from lightning_al.host.namespace import pl
from lightning_al.host.trainer import callbacks_of

_TRAINING = pl.trainer.states.RunningStage.TRAINING.value


def carry_on_timers(trainer: pl.Trainer, started: float) -> None:
    """Let each `Timer` count from the start of the run.

    Args:
        trainer: The Trainer, before its fit begins.
        started: When the run started, by `time.monotonic`.
    """
    for timer in _timers(trainer):
        for times in (TIMER_STARTS, TIMER_ENDS):
            times.set(timer, dict.fromkeys(times.of(timer)))
        state = pl.callbacks.Timer.state_dict(timer)
        state["time_elapsed"][_TRAINING] = time.monotonic() - started
        pl.callbacks.Timer.load_state_dict(timer, state)  # and not what a user's subclass keeps in its state


def time_is_up(trainer: pl.Trainer) -> bool:
    """Return whether a `Timer` ended the fit, the same on every rank."""
    remaining = [timer.time_remaining() for timer in _timers(trainer)]
    return bool(trainer.strategy.broadcast(any(left is not None and left <= 0 for left in remaining)))


def _timers(trainer: pl.Trainer) -> list[pl.callbacks.Timer]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, pl.callbacks.Timer)]
