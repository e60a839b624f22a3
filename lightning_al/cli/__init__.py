"""The command line: one active learning run, or a sweep of runs that are compared, composed by Hydra from conf/.

Its files import only Hydra and the standard library at the top, so help and tab completion are fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_al import __version__
from lightning_al.cli.command_line import CommandLineError, check_command_line
from lightning_al.cli.composition import composition
from lightning_al.cli.external_launch import is_first_rank
from lightning_al.cli.job import is_cell, is_multirun, new_console, resume_command
from lightning_al.cli.one_line_errors import ending_by_the_line, in_one_line
from lightning_al.cli.run import run_to_budget
from lightning_al.cli.sweep import run_cell, say_at_exit_how_to_sweep_on
from lightning_al.run.printable import printable

# `AllowList` is narrower than Hydra's own list. Hydra 1.4 needs to be told not to add its own.
_UNCHECKED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
_ALL_ALLOWED: dict[str, Any] = {} if _UNCHECKED is None else {"execution_whitelist": _UNCHECKED}


def main(config: DictConfig | None = None) -> float | None:
    """Run active learning to its budget, show the results, and return the area under the learning curve.

    If the folder holds a run, that run is resumed, or shown if it has finished. A sweep continues after a cell that
    fails: the cell writes its error into its folder and returns NaN.

    Args:
        config: The configuration. By default Hydra composes it from the command line, and nothing is returned.

    Raises:
        CompactHydraException: If the run is refused, with the line to show. A command shows it and ends with code 1.
    """
    if config is not None:
        return _run(config)
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"lightning-al {__version__}")
        return None
    try:
        check_command_line(arguments)
    except CommandLineError as error:
        sys.stderr.write(f"lightning-al: {printable(error, most=5_000)}\n")
        raise SystemExit(1) from error
    with composition.explained(arguments):
        _composed()
    return None


@hydra.main(version_base="1.3", config_path="pkg://lightning_al.conf", config_name="config", **_ALL_ALLOWED)
def _composed(config: DictConfig) -> float:
    with ending_by_the_line():
        return _run(config)


def _run(config: DictConfig) -> float:
    from lightning_al.run.stopping import StoppedError, Stopping

    folder = Path(HydraConfig.get().runtime.output_dir)
    stopping = Stopping()
    stopping.begin()
    try:
        if is_cell():
            return run_cell(config, folder)
        with in_one_line(folder):
            return run_to_budget(config, folder)
    except StoppedError as stopped:
        if is_cell():
            # A cell in a process of its own leaves the message to the sweep's process.
            if is_multirun() and HydraConfig.get().launcher._target_.endswith(".BasicLauncher"):
                say_at_exit_how_to_sweep_on(stopped.name, HydraConfig.get().sweep.dir)
        elif is_first_rank(config):
            new_console().print(
                f"Stopped by {stopped.name}. Resume with: {resume_command(folder, config)}", soft_wrap=True
            )
        raise
    finally:
        stopping.end()
