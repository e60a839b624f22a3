"""Check that the command line may write into a folder: before Hydra does, and again for the stored configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.configuration import read_config
from lightning_al.cli.hydra_files import check_hydra_files, is_of_command
from lightning_al.run.folder import CONFIG, OF_COMMAND, OF_JOURNAL, OF_LOCK, check_files, check_is_a_run, check_tree
from lightning_al.run.folder_path import check_can_be_folder
from lightning_al.run.hard_links import break_links_below

USUAL = ("csv", "tensorboard", "wandb", "mlflow", "mlruns", "checkpoints", "lightning_logs")
"""Default names of loggers' and checkpoints' folders in a run's folder."""

OF_SWEEP = re.compile(r"multirun\.yaml|optimization_results\.yaml|comparison\.(csv|png)")
"""The files of a sweep in its own folder."""

_OUTPUT = "${hydra:runtime.output_dir}"


def check_before_hydra(config: DictConfig, folder: Path) -> None:
    """Check the folder of a run before Hydra writes there.

    Args:
        config: The configuration with Hydra's part.
        folder: The folder of the run.

    Raises:
        ValueError: If something in it links elsewhere, or if it has files that are not a run's.
    """
    check_can_be_folder(folder)
    check_command_folder(folder, config, *_of_hydra(config))
    read_config(folder)
    check_hydra_files(folder, config.hydra.output_subdir)
    if not os.path.lexists(folder / CONFIG):
        # A cell that failed before it began has only its error.
        check_is_a_run(folder, OF_JOURNAL, re.compile(rf"(?!error\.txt|{CONFIG})({OF_COMMAND.pattern})|csv"))


def check_sweep_folder(config: DictConfig, folder: Path) -> None:
    """Check the folder of a sweep, and those of its cells, before Hydra writes there.

    Raises:
        ValueError: If something in it links elsewhere, or if it has files that are not a sweep's.
    """
    check_can_be_folder(folder)
    check_files(folder, OF_SWEEP)
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = {path.name for path in entries}
    for path in entries:
        if path.is_symlink():
            check_tree(folder, path)
        elif path.is_dir():
            check_command_folder(path, config, *_of_hydra(config))
    # An empty file is from a sweep that was interrupted as it began.
    found = sorted(name for name in names if OF_SWEEP.fullmatch(name) and (folder / name).stat().st_size > 0)
    is_sweep = is_of_command(folder / "multirun.yaml")
    is_sweep |= "multirun.yaml" not in found and any(is_of_command(path / CONFIG) for path in entries)
    if found and not is_sweep:
        raise ValueError(
            f"The folder {folder} has {', '.join(found)}, which a sweep would overwrite, but no cells, so it "
            "is not the folder of a sweep. Choose another folder."
        )


def check_command_folder(folder: Path, config: DictConfig, *others: str) -> None:
    """Check that nothing in a run's folder links elsewhere that a run, Hydra, a logger or a checkpoint uses.

    Args:
        folder: The folder of the run.
        config: Its configuration, which names more places in the folder.
        others: Names of more places.

    Raises:
        ValueError: If something does; the message names it.
    """
    if not folder.is_dir():
        return
    check_files(folder, OF_JOURNAL, OF_LOCK, OF_COMMAND)
    for place in _places(folder, config, *others):
        check_tree(folder, place)
        if place.name in USUAL and place.is_file():
            raise ValueError(
                f"The run folder {folder} has a file named {place.name}, where a logger or checkpoint needs a folder. "
                "Remove it, or choose another folder."
            )


def break_command_links(folder: Path, config: DictConfig, *others: str) -> None:
    """Replace hard links that loggers and checkpoints would write through by copies; arguments as above."""
    for place in _places(folder, config, *others):
        break_links_below(place)


def break_hydras_links(folder: Path, config: DictConfig) -> None:
    """Replace hard links that Hydra would write through in a run's or sweep's folder by copies."""
    for name in (*_of_hydra(config), "multirun.yaml", "optimization_results.yaml"):
        break_links_below(folder / name)
    if folder.is_dir():
        for cell in folder.iterdir():
            if is_of_command(cell / CONFIG):
                break_links_below(cell / next(_first(str(config.hydra.output_subdir)), ".hydra"))


def _places(folder: Path, config: DictConfig, *others: str) -> Iterator[Path]:
    for name in dict.fromkeys((*USUAL, *others, *_named(config, folder))):
        if os.path.lexists(folder / name):
            yield folder / name


def _of_hydra(config: DictConfig) -> Iterator[str]:
    hydra: Any = config.hydra
    yield f"{hydra.job.name}.log"
    if hydra.output_subdir is not None:
        yield from _first(str(hydra.output_subdir))


def _named(config: DictConfig, folder: Path) -> Iterator[str]:
    """Yield the names in the folder that loggers, callbacks and the Trainer are told to write."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    for part in ("logger", "callbacks", "trainer"):
        for value in _strings(plain.get(part)):
            for beginning in (_OUTPUT, str(folder), str(folder.absolute())):
                _, found, rest = value.partition(f"{beginning}/")
                yield from _first(rest) if found else ()
            if part == "logger":
                yield from _first(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _first(path: str) -> Iterator[str]:
    """Yield the first part of a relative path, if it leads into the folder."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if parts and not path.startswith("/") and parts[0] != ".." and len(parts[0]) < 256 and "\0" not in parts[0]:
        yield parts[0]
