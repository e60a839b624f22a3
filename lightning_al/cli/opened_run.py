"""The settings of a run of the command line, read from its folder; and its model, for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lightning_al.host.namespace import pl


def load_model(
    folder: str | os.PathLike[str], *settings: str, allow: Sequence[str] = ()
) -> tuple[pl.LightningModule, list[str]]:
    """Return the model of a run of the command line as its last fit ended, and the names of the classes.

    It is made by the settings in the run's folder. The data have to be where they were, since sizes come from them.

    Args:
        folder: The run's folder.
        settings: Settings that the folder may not set by itself, as for ``lightning-al``.
        allow: Packages, classes and functions of your own that the settings may name.

    Returns:
        The model in evaluation mode, on the CPU, and the class names in the order of its outputs; empty where classes
        have no names.

    Raises:
        FileNotFoundError: If the folder holds no run.
        HydraException: If its settings need more than they may have; the message says what to add.
        RuntimeError: If a process runs the run, or its journal is damaged.
        ValueError: If its run is not of the command line, or it has no weights.
    """
    from lightning_al.cli.recorded_run import put_last_weights
    from lightning_al.cli.run import make_objects
    from lightning_al.run.journal import Journal
    from lightning_al.run.run_command import run_command
    from lightning_al.task.class_names import Classes

    folder = Path(folder).absolute()
    records = Journal.read(folder)
    if records.header is None:
        raise ValueError(f"The run in {folder} has not begun. Run `{run_command(folder)}` first.")
    with composed_for(folder, settings) as composed:
        _, resolved = settings_of(folder, settings, allow, composed)
        objects = make_objects(resolved, folder, force=False)
    put_last_weights(records, folder, objects.active, objects.model)
    names = Classes.from_dict(records.header.get("classes")).names
    return objects.model.eval(), [name for _, name in sorted(names.items())]


@contextmanager
def composed_for(folder: Path, overrides: Sequence[str]) -> Iterator[DictConfig]:
    """Compose the configuration of a command with these overrides, as Hydra gives it to a run in the folder."""
    from hydra import compose, initialize_config_module
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    before = HydraConfig.instance().cfg
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        config = compose("config", [*overrides], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        config = config.copy()
    try:
        with open_dict(config):
            del config["hydra"]
            yield config
    finally:
        HydraConfig.instance().cfg = before


def settings_of(
    folder: Path, overrides: Sequence[str], allow: Sequence[str], composed: DictConfig
) -> tuple[DictConfig, DictConfig]:
    """Return the settings of the run, as they are stored and with all references resolved, without what only logs.

    Args:
        folder: The run's folder.
        overrides: Settings that the folder may not set by itself.
        allow: Packages, classes and functions of the user's own that the settings may name.
        composed: The configuration that `composed_for` gave.

    Raises:
        ConfigCompositionException: If the folder's settings need more than they may have; the message says what to add.
        ValueError: If the folder has none.
    """
    from lightning_al.cli.configuration import agree, check_names, read_config, resolve_allowed, take_command_options
    from lightning_al.cli.recorded_classes import with_recorded_classes
    from lightning_al.cli.references import write_hydra_values
    from lightning_al.cli.secrets import remember
    from lightning_al.cli.string_settings import with_strings

    found = read_config(folder)
    if found is None:
        raise ValueError(
            f"{folder} has no config.yaml, so its run is not of the command line. Call `lightning_al.score_pool` "
            "in the program of the run, or load its model.ckpt there by `load_from_checkpoint` of the module's class."
        )
    remember(composed)
    check_names(composed)
    options = take_command_options(composed, [*overrides])
    write_hydra_values(composed)
    now, stored = with_strings(composed), with_strings(with_recorded_classes(found, folder))
    for config in (now, stored):  # neither is used, nor may it have to be said again
        config.callbacks, config.logger = {}, {}
    agreed = agree(stored, now, [*overrides], folder, force=False, is_cell=False)
    return agreed, resolve_allowed(agreed, [*options.allow, *allow], folder, now)
