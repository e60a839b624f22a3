"""The Hydra job that this process runs: a single run, or a cell of a sweep."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_al.run.run_command import run_command

if TYPE_CHECKING:
    from rich.console import Console


def is_cell() -> bool:
    """Return whether the run is a cell of a sweep, also in a process of its own."""
    return not OmegaConf.is_missing(HydraConfig.get().job, "num")


def is_multirun() -> bool:
    """Return whether Hydra runs the cells of a sweep in this process."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def typed(config: DictConfig | None = None, of: Literal["task", "hydra"] = "task") -> list[str]:
    """Return the overrides of the command line as they were typed, with no reference resolved.

    Args:
        config: The configuration with Hydra's part; by default that of the current job.
        of: Whether to return overrides of the run's configuration or of Hydra's.
    """
    hydra = HydraConfig.get() if config is None else config.hydra
    found: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    return list(found[of])


def new_console() -> Console:
    """Return a console that prints text unchanged."""
    from lightning_al.report.console import PlainConsole

    return PlainConsole()


def resume_command(folder: Path, config: DictConfig) -> str:
    """Return the command that resumes the run, with the overrides that no file may store.

    Args:
        folder: The run's folder.
        config: The configuration of the run as it is stored.
    """
    from lightning_al.cli.stored import overrides_to_say_again

    allow = [override for override in typed() if override.startswith("allow=")]
    names: Any = OverridesParser.create().parse_overrides(allow)[-1].value() if allow else []
    again = overrides_to_say_again(config, folder, names)
    return run_command(folder, *map(shlex.quote, allow), *again)
