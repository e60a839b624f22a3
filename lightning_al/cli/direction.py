"""Check the direction of the metric: whether less or more is better."""

from __future__ import annotations

import sys

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from lightning_al.report.metric import checked_mode, guess_mode
from lightning_al.run.printable import printable

USUAL = "test_acc"
"""The metric of the learning curve where the configuration names none."""


def check_mode(config: DictConfig) -> None:
    """Check that `mode` is min, max or null.

    Raises:
        ConfigCompositionException: If it is something else.
    """
    try:
        checked_mode(config.mode, who="lightning-al")
    except ValueError as error:
        raise ConfigCompositionException(str(error)) from error


def check_sweeper(config: DictConfig) -> None:
    """End the program if a sweeper would search for the worst cell.

    A sweeper without a direction does not search, and one with several is not checked.
    """
    wanted = str(config.hydra.sweeper.get("direction")).rpartition(".")[2].lower()
    metric = config.metric or USUAL
    best = config.mode or guess_mode(str(metric))
    if best is None or wanted not in ("minimize", "maximize") or wanted.startswith(best):
        return
    better = "less" if best == "min" else "more"
    # Hydra turns a callback's error into a warning and continues.
    sys.stderr.write(
        f"lightning-al: the sweeper is to {wanted} {printable(metric)}, of which {better} is better. Give "
        f"hydra.sweeper.direction={best}imize, or say by `mode` that it is the other way round.\n"
    )
    raise SystemExit(1)
