"""Refuse the strategies of Lightning that cannot fit round after round."""

from __future__ import annotations

from typing import Any

from lightning_al.host.lightning_names import START_METHOD
from lightning_al.host.namespace import pl


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse a Trainer whose strategy cannot fit again or may hold only parts of the weights.

    Raises:
        ValueError: If it cannot. The message names strategies that can.
    """
    strategy = trainer.strategy
    is_ddp = isinstance(strategy, pl.strategies.DDPStrategy)
    _check(type(strategy), START_METHOD.of(strategy) if is_ddp else None)


def check_strategy_name(name: Any) -> None:
    """Refuse a strategy by its name, before there is a Trainer. Anything but a known name passes.

    Raises:
        ValueError: If it cannot fit again.

    >>> check_strategy_name("ddp"), check_strategy_name("auto"), check_strategy_name("unknown")
    (None, None, None)
    >>> check_strategy_name("ddp_spawn")
    Traceback (most recent call last):
        ...
    ValueError: `ActiveLearning` cannot fit round after round under a strategy that starts processes by 'spawn', ...
    """
    known = pl.strategies.StrategyRegistry
    if isinstance(name, str) and name in known:
        _check(known[name]["strategy"], known[name]["init_params"].get("start_method"))


def refuse_spawning() -> None:
    """Refuse to be pickled for a process that is being spawned, the first that `ddp_spawn` does with a callback.

    Raises:
        ValueError: If a process is being spawned.
    """
    # The standard library starts torch's processes, and tells here which one it is pickling for.
    from multiprocessing.context import get_spawning_popen

    if get_spawning_popen() is not None:
        _check(pl.strategies.DDPStrategy, "spawn")


def _check(strategy: type, start_method: str | None) -> None:
    if start_method not in (None, "popen"):
        raise ValueError(
            f"`ActiveLearning` cannot fit round after round under a strategy that starts processes by "
            f"{start_method!r}, such as `ddp_spawn` and `ddp_notebook`: their fits cannot be nested. "
            'Use `strategy="ddp"` in a script, or one device.'
        )
    if strategy not in (pl.strategies.SingleDeviceStrategy, pl.strategies.DDPStrategy):
        raise ValueError(
            f"`ActiveLearning` works on one device or under `DDPStrategy`, but the Trainer has "
            f"`{strategy.__name__}`, which may hold only parts of the weights that a round must reset. Use "
            '`strategy="ddp"` or `devices=1`.'
        )
