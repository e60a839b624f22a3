"""Runs whose answers come between two commands: they end with an exit code of their own, and cannot be swept."""

from __future__ import annotations

import sys
from math import isnan
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.job import new_console

if TYPE_CHECKING:
    from lightning_al.callback import ActiveLearning
    from lightning_al.oracle.query import Query

WAITING = 75
"""The exit code of a command whose run awaits answers: that of a temporary failure, after which one tries again."""

IN_A_SWEEP = (
    "lightning-al: `oracle={}` is answered between two commands, so it cannot answer the cells of a sweep (`-m`). "
    "Run each with a command of its own, or choose an oracle that answers at once, such as `oracle=revealed`."
)


def refuse_waiting_oracle(config: DictConfig) -> None:
    """End the program if the oracle of a sweep is answered between two commands, before the first cell."""
    target = OmegaConf.select(config, "oracle._target_", throw_on_missing=False)
    if isinstance(target, str) and target.startswith("lightning_al.") and leaves_open(_found(target)):
        # Hydra turns a callback's error into a warning and continues.
        sys.stderr.write(IN_A_SWEEP.format(target.rpartition(".")[2].lower()) + "\n")
        raise SystemExit(1)


def leaves_open(oracle: Any) -> bool:
    """Return whether an oracle, or a class of one, is answered between two commands."""
    return bool(getattr(oracle, "leaves_open", False))


def end_waiting(active: ActiveLearning, command: str) -> SystemExit:
    """Say in a line what is awaited and what to do, and return what ends the process.

    Args:
        active: The run, which has a pending query.
        command: The command that resumes it.
    """
    query = active.pending
    assert query is not None
    of = "the initial points" if query.round < 0 else f"round {query.round}"
    how = getattr(active.oracle, "how_to_answer", lambda query: "Label them")(query)
    new_console().print(f"Waiting for {answers_to(query)} for {of}. {how}, then run: {command}", soft_wrap=True)
    return SystemExit(WAITING)


def answers_to(query: Query) -> str:
    """Return how many answers a query awaits, and how many of them are audit points', which are never trained on.

    >>> from lightning_al.oracle.query import Query
    >>> answers_to(Query(0, [7, 3, 5], scores=[0.5, 0.2, float("nan")]))
    '3 answers (2 to learn from, 1 to measure accuracy)'
    """
    num_audit = sum(map(isnan, query.scores))
    parts = f" ({len(query) - num_audit} to learn from, {num_audit} to measure accuracy)" if num_audit else ""
    return f"{len(query)} answers{parts}"


def _found(target: str) -> Any:
    try:
        return get_class(target)
    except (ImportError, ValueError, HydraException):  # each cell says what is wrong with it
        return None
