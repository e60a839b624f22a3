"""The command line: one active learning run, or many of them compared, put together by Hydra from conf/.

Only Hydra and the standard library are imported at the top of its files, so that help and tab completion answer at
once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_al.cli.job import command_to_go_on, is_cell, is_multirun, new_console
from lightning_al.cli.refusals import in_one_line
from lightning_al.cli.run import run_to_budget
from lightning_al.cli.sweep import run_cell, say_at_exit_how_to_sweep_on
from lightning_al.cli.together import is_first_rank

# Everything is held against a narrower list than Hydra's own before it is made. Hydra 1.4 has to be told to add none.
_UNCHECKED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
_ALL_ALLOWED: dict[str, Any] = {} if _UNCHECKED is None else {"execution_whitelist": _UNCHECKED}


@hydra.main(version_base="1.3", config_path="pkg://lightning_al.conf", config_name="config", **_ALL_ALLOWED)
def main(config: DictConfig) -> float:
    """Run active learning to its budget, show what came of it, and return the area under the curve.

    A folder with a run in it goes on with that run; where it has finished, it is shown. A cell of a sweep that fails
    leaves its error in its folder and returns NaN, and the sweep goes on with the others.
    """
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
            # Cells in processes of their own leave it to the process of the sweep.
            if is_multirun() and HydraConfig.get().launcher._target_.endswith(".BasicLauncher"):
                say_at_exit_how_to_sweep_on(stopped.name, HydraConfig.get().sweep.dir)
        elif is_first_rank(config):
            new_console().print(
                f"Stopped by {stopped.name}. Go on by: {command_to_go_on(folder, config)}", soft_wrap=True
            )
        raise
    finally:
        stopping.end()
