"""Which of Lightning's strategies can fit round after round, and how the others are refused."""

from __future__ import annotations

from typing import Any

from lightning_al.host.lightning_names import START_METHOD
from lightning_al.host.namespace import pl


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse a Trainer whose strategy cannot fit again, or may hold only parts of the weights.

    Raises:
        ValueError: If it cannot; the message names what can.
    """
    strategy = trainer.strategy
    is_ddp = isinstance(strategy, pl.strategies.DDPStrategy)
    _check(type(strategy), START_METHOD.of(strategy) if is_ddp else None)


def check_strategy_name(name: Any) -> None:
    """Refuse a strategy by the name that a Trainer would be given, before there is one; other things pass.

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
    """Refuse to be pickled for a process that is being spawned, which is where `ddp_spawn` meets a callback first.

    Raises:
        ValueError: If a process is being spawned.
    """
    # torch's processes are started by the standard library, which notes which one it pickles for.
    from multiprocessing.context import get_spawning_popen

    if get_spawning_popen() is not None:
        _check(pl.strategies.DDPStrategy, "spawn")


def _check(strategy: type, start_method: str | None) -> None:
    if start_method not in (None, "popen"):
        raise ValueError(
            f"`ActiveLearning` cannot fit round after round under a strategy that starts processes by "
            f"{start_method!r}, as `ddp_spawn` and `ddp_notebook` do, since these fits cannot be nested. "
            'Use `strategy="ddp"` from a script, or one device.'
        )
    if strategy not in (pl.strategies.SingleDeviceStrategy, pl.strategies.DDPStrategy):
        raise ValueError(
            f"`ActiveLearning` works on one device or under `DDPStrategy`, but the Trainer has "
            f"`{strategy.__name__}`, which may hold only parts of the weights that a round must reset. Use "
            '`strategy="ddp"` or `devices=1`.'
        )
