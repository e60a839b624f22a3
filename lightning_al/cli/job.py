"""What Hydra's job is that this process runs: a run of its own, or a cell of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from rich.console import Console


def is_cell() -> bool:
    """Return whether the run is a cell of a sweep, be it in a process of its own."""
    return not OmegaConf.is_missing(HydraConfig.get().job, "num")


def is_multirun() -> bool:
    """Return whether this process runs cells of a sweep as Hydra gives them to it."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def typed(config: DictConfig | None = None, of: Literal["task", "hydra"] = "task") -> list[str]:
    """Return what was typed on the command line, as it was typed: references in it are not read.

    Args:
        config: The configuration with Hydra's part, or None where Hydra has it.
        of: Whether what sets the run's configuration, or what sets Hydra's.
    """
    hydra = HydraConfig.get() if config is None else config.hydra
    found: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    return list(found[of])


def new_console() -> Console:
    """Return a terminal that prints text as it is."""
    from lightning_al.report.console import PlainConsole

    return PlainConsole()


def command_to_go_on(folder: Path, config: DictConfig) -> str:
    """Return the command that goes on with the run, and says again what no file can.

    Args:
        folder: The run's folder.
        config: The configuration of the run as it is kept.
    """
    from lightning_al.cli.stored import overrides_to_say_again

    allow = [override for override in typed() if override.startswith("allow=")]
    names: Any = OverridesParser.create().parse_overrides(allow)[-1].value() if allow else []
    again = overrides_to_say_again(config, folder, names)
    return " ".join(["lightning-al", f"folder={folder}", *(f"'{override}'" for override in allow), *again])
