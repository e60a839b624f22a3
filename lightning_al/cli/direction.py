"""Whether less or more of the metric that a run is shown by is better, as the command line may say it."""

from __future__ import annotations

import sys

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from lightning_al.report.direction import checked_mode, guess_mode
from lightning_al.report.printable import printable


def check_mode(config: DictConfig) -> None:
    """Check that the configuration says min, max or nothing.

    Raises:
        ConfigCompositionException: If it says something else.
    """
    try:
        checked_mode(config.mode, who="lightning-al")
    except ValueError as error:
        raise ConfigCompositionException(str(error)) from error


def check_sweeper(config: DictConfig) -> None:
    """End the program where a sweeper is to look for the worst cell.

    A sweeper without a direction looks for nothing, and one with several is not judged.
    """
    wanted = str(config.hydra.sweeper.get("direction")).rpartition(".")[2].lower()
    best = config.mode or guess_mode(str(config.metric))
    if best is None or wanted not in ("minimize", "maximize") or wanted.startswith(best):
        return
    better = "less" if best == "min" else "more"
    # Hydra makes a warning of a callback's error, and goes on.
    sys.stderr.write(
        f"lightning-al: the sweeper is to {wanted} {printable(config.metric)}, of which {better} is better. Give "
        f"hydra.sweeper.direction={best}imize, or say by `mode` that it is the other way round.\n"
    )
    raise SystemExit(1)
