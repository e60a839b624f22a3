"""A sweep: the folders of its cells, cells that fail, and the comparison at the end."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_al.cli.cells import Failures, cell_folder, clear_error, read_error, write_error
from lightning_al.cli.configuration import COMMAND_ONLY
from lightning_al.cli.direction import check_sweeper
from lightning_al.cli.external_launch import is_first_rank, on_first_rank, shared_folder
from lightning_al.cli.job import is_multirun, new_console
from lightning_al.cli.one_line_errors import in_one_line
from lightning_al.cli.references import shown, write_hydra_values
from lightning_al.cli.run import run_to_budget
from lightning_al.cli.waiting import refuse_waiting_oracle
from lightning_al.cli.workers import end_with, number_by_joblib, start_processes_as_usual
from lightning_al.report.settings import INDIFFERENT, ONLY_SHOWN, PLACED
from lightning_al.run.folder import ERROR
from lightning_al.run.run_command import setting


class CompareRuns(Callback):
    """Compare all finished runs in a sweep's folder when the sweep ends, and name the cells that failed.

    Args:
        process: The id of the process that this one runs a cell for, if any.
    """

    def __init__(self, process: int | None = None) -> None:
        self.process = process

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Handle signals, and record which cells failed before."""
        from lightning_al.run.stopping import StoppedError, Stopping

        check_sweeper(config)
        refuse_waiting_oracle(config)
        folder = str(config.hydra.sweep.dir)
        self.process = os.getpid()
        self._failures = Failures(Path(folder))
        self._stopping = Stopping()
        self._stopping.begin(lambda number: say_at_exit_how_to_sweep_on(StoppedError(number).name, folder))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let a cell end with the process on this machine that started it."""
        if number_by_joblib() is not None:
            start_processes_as_usual()
        elif is_multirun() or not is_first_rank(config):
            return
        if self.process is not None:
            end_with(self.process)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print a table, write ``comparison.csv`` and ``comparison.png`` into the folder, and name failed cells."""
        folder = Path(config.hydra.sweep.dir)
        console = new_console()
        try:
            _compare(folder)
            is_compared = True
        except ValueError as error:
            console.print(f"The runs in {folder} were not compared. {error}", soft_wrap=True)
            is_compared = False
        except Exception:
            # Hydra would turn the error into a warning, and skip what follows.
            console.print(traceback.format_exc(), soft_wrap=True)
            is_compared = False
        failed = self._failures.since()
        if failed:
            how_many = _cells(sum(map(len, failed.values())))
            console.print(
                f"{how_many} failed. The same command runs them again, and skips finished cells.", soft_wrap=True
            )
        for said, paths in failed.items():
            where = f"{_cells(len(paths))}, the first's whole traceback" if len(paths) > 1 else "whole traceback"
            console.print(f"  {said}  ({where}: {paths[0]})", soft_wrap=True)
        self._stopping.end()
        if failed or not is_compared:
            raise SystemExit(1)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the process id, for the processes that run the cells."""
        return {"process": self.process}


def _cells(number: int) -> str:
    return f"{number} cells" if number > 1 else "1 cell"


def _compare(folder: Path) -> None:
    from lightning_al.report.comparison import compare, mode_of
    from lightning_al.report.console import comparison_table
    from lightning_al.report.curve_pictures import comparison_picture
    from lightning_al.report.frames import comparison_frame, write_table
    from lightning_al.report.metric import axis_name
    from lightning_al.report.pictures import save_picture
    from lightning_al.report.runs import load_runs
    from lightning_al.report.sentences import of_diverged
    from lightning_al.report.study import group_runs

    found = load_runs(folder)
    runs = [run for run in found if run.versions["lightning_al"] == version("lightning_al")]
    console = new_console()
    if runs:
        methods, metric = compare(group_runs(runs)), runs[0].metric
        title = f"{axis_name(metric).capitalize()} over labels, {len(runs)} runs"
        write_table(comparison_frame(methods), folder / "comparison.csv")
        save_picture(comparison_picture(methods, metric, title=title), folder / "comparison.png")
        mode = mode_of(runs)
        console.print(comparison_table(methods, metric, mode=mode))
        for said in of_diverged(methods, metric, mode):
            console.print(said, soft_wrap=True)
        console.print(
            f"Compared {len(runs)} runs: {folder / 'comparison.png'}, {folder / 'comparison.csv'}", soft_wrap=True
        )
    if len(runs) < len(found):
        console.print(
            f"Left out {len(found) - len(runs)} runs of other versions of lightning_al than {version('lightning_al')}.",
            soft_wrap=True,
        )


def run_cell(config: DictConfig, folder: Path) -> float:
    """Run a cell, and write its error into its folder if it fails."""
    if is_multirun():
        clear_error(folder)
    try:
        with in_one_line(folder):
            area = run_to_budget(config, folder)
    except Exception as error:
        write_error(folder, error)
        if not is_multirun():
            raise SystemExit(1) from None  # the sweep's process waits for the exit code
        console = new_console()
        console.print(f"Failed: {read_error(folder)}  (whole traceback: {folder / ERROR})", soft_wrap=True)
        if _is_searched():
            raise  # Optuna's sweeper counts failures, and ends at a NaN
        return float("nan")
    if isnan(area) and is_multirun() and _is_searched():
        raise CompactHydraException(
            f"The run in {folder} has no area under its curve, since it diverged or was stopped before its budget. Let "
            "the sweeper skip failed cells: `hydra.sweeper.max_failure_rate=1`."
        )
    return area


def _is_searched() -> bool:
    """Return whether the sweeper searches for the best cell, instead of running a given list."""
    return not HydraConfig.get().sweeper._target_.endswith(".BasicSweeper")


def _name_cell(*, _root_: DictConfig) -> str:
    """Return the name of a cell's folder, for `hydra.sweep.subdir`."""
    settings: Any = OmegaConf.to_container(_root_, resolve=False)
    typed = OverridesParser.create().parse_overrides(settings.pop("hydra")["overrides"]["task"])
    left_out = (*PLACED, *ONLY_SHOWN, *INDIFFERENT, *COMMAND_ONLY)
    overrides = sorted(str(parsed.input_line) for parsed in typed if parsed.key_or_group not in left_out)
    for name in left_out:
        owner, key = _owner(settings, name), name.split(".")[-1]
        if key in owner:
            owner[key] = None  # other settings may refer to it
    # The folder's path depends on its name.
    text = OmegaConf.to_yaml(OmegaConf.create(settings)).replace("${hydra:runtime.output_dir}", ".")
    # The cell itself reports what cannot be resolved.
    with suppress(OmegaConfBaseException):
        composed: Any = OmegaConf.create(text)
        write_hydra_values(composed)
        settings = shown(composed)
    for name in left_out:
        _owner(settings, name).pop(name.split(".")[-1], None)
    return cell_folder(Path(_root_.hydra.sweep.dir), "_".join(overrides), settings, version("lightning_al"))


def _owner(settings: Any, name: str) -> dict[Any, Any]:
    for key in name.split(".")[:-1]:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}


def _register(name: str, resolver: Callable[..., Any], *, use_cache: bool = False) -> None:
    try:
        register: Any = OmegaConf.register_resolver  # from OmegaConf 2.4 on
        register(name, resolver, replace=True, use_cache=use_cache)
    except TypeError:
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=use_cache)


def say_at_exit_how_to_sweep_on(signal_name: str, folder: str) -> None:
    """Print at exit: a signal can arrive in the middle of a line, and twice."""
    atexit.unregister(_say_how_to_sweep_on)
    atexit.register(_say_how_to_sweep_on, signal_name, folder)


def _say_how_to_sweep_on(signal_name: str, folder: str) -> None:
    command = shlex.join(["lightning-al", *sys.argv[1:]])
    if not any(argument.startswith(("folder=", "hydra.sweep.dir=")) for argument in sys.argv[1:]):
        command += f" {setting('folder', folder)}"
    new_console().print(f"Stopped by {signal_name}. Resume the sweep with: {command}", soft_wrap=True)


_register("lightning_al.cell", _name_cell)
_register("lightning_al.shared", shared_folder)
_register("lightning_al.home", os.path.expanduser)
_register("lightning_al.on_first_rank", on_first_rank)
# Runs that start in the same second need different names. The value is cached in the configuration, so all cells of a
# sweep get that of the sweep.
_register("lightning_al.process", os.getpid, use_cache=True)
