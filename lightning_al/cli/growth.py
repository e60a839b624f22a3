"""How far a run goes: a larger budget is stored once the run has accepted it, and not by a command that fails."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig
from typing_extensions import override

from lightning_al.host.namespace import pl
from lightning_al.run.identity import GROWS


class OnceAccepted(pl.Callback):
    """Call a function once a run has accepted its arguments: when its first fit starts, or waits for answers.

    A run that had finished is unfinished by then, so it is never taken for one that reached the larger budget.

    Args:
        then: The function, which the first rank calls.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.then: Callable[[], None] | None = then

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Call the function where it was not called yet."""
        if self.then is not None and trainer.is_global_zero:
            self.then()
        self.then = None


def as_far_as(config: DictConfig, stored: DictConfig) -> DictConfig:
    """Return a configuration that goes as far as the stored one, and is otherwise the same."""
    kept = config.copy()
    for name in GROWS:
        if name in stored.active and kept.active.get(name) != stored.active.get(name):
            kept.active[name] = stored.active.get(name)
    return kept
