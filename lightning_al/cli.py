"""The command line: one active learning run, or many of them compared, put together by Hydra from conf/.

Only Hydra and the standard library are imported at the top, so that help and tab completion answer at once.
"""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, ConfigCompositionException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

if TYPE_CHECKING:
    from rich.console import Console

    from lightning_al._lightning import pl
    from lightning_al.callback import ActiveLearning
    from lightning_al.datamodule import ActiveDataModule
    from lightning_al.history import History

PARTS = ("acquisition", "posterior", "oracle", "model", "data", "trainer", "callbacks", "logger", "pool", "active")
VALUES = ("folder", "seed", "name", "metric", "threads", "allow")
MAY_GROW = ("active.budget", "active.max_rounds")
ONLY_SHOWN = ("metric", "name")
PLACED = ("folder", "data.root", "logger", "callbacks.progress", "trainer.enable_progress_bar")
THIS_TIME = ("allow", "active.force")
WITH_FORCE = ("acquisition", "posterior", "data", "active.query_size", "active.last_layer", "active.reset")

CONFIG = "config.yaml"

# Everything is held against a narrower list than Hydra's own before it is made. Hydra 1.4 has to be told to add none.
_UNCHECKED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
_ALL_ALLOWED: dict[str, Any] = {} if _UNCHECKED is None else {"execution_whitelist": _UNCHECKED}


@hydra.main(version_base="1.3", config_path="pkg://lightning_al.conf", config_name="config", **_ALL_ALLOWED)
def main(config: DictConfig) -> float:
    """Run active learning to its budget, show what came of it, and return the area under the curve.

    A folder with a run in it goes on with that run; where it has finished, it is shown. A cell of a sweep that fails
    leaves its error in its folder and returns NaN, and the sweep goes on with the others.
    """
    from lightning_al.stopping import StoppedError, Stopping

    folder = Path(HydraConfig.get().runtime.output_dir)
    stopping = Stopping()
    stopping.begin()
    try:
        return _main_of_cell(config, folder) if _is_cell() else _main(config, folder)
    except StoppedError as stopped:
        if _is_cell():
            # Cells in processes of their own leave it to the process of the sweep.
            if _is_multirun() and HydraConfig.get().launcher._target_.endswith(".BasicLauncher"):
                _say_at_exit_how_to_sweep_on(stopped.name, HydraConfig.get().sweep.dir)
        elif _is_first_rank():
            _console().print(f"Stopped by {stopped.name}. Go on by: {_command(folder)}", soft_wrap=True)
        raise
    finally:
        stopping.end()


def _main(config: DictConfig, folder: Path) -> float:
    overrides = list(HydraConfig.get().overrides.task)
    _check_names(config)
    this_time = _take_this_time(config, overrides)
    stored = _read_config(folder)
    if stored is not None:
        config = _agree(stored, config, overrides, folder, force=this_time.force, is_cell=_is_cell())
    else:
        config.name = config.name  # as this command line resolves it; another one may not
        config.folder = MISSING
    finished = stored is not None and stored.active == config.active and _has_finished(folder)
    if finished and stored == config and _is_reported(config, folder):
        return _show(folder)
    with _threads(config.threads):
        return _run(config, folder, this_time, fit=not finished)


# A sweep, and its cells.


class CompareRuns(Callback):
    """Compare all finished runs in a sweep's folder when the sweep ends, and name the cells that failed.

    Args:
        process: Where this process runs a cell for another one, that process.
    """

    def __init__(self, process: int | None = None) -> None:
        self.process = process

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take over the signals, and note which cells failed before."""
        from lightning_al.cells import Failures
        from lightning_al.stopping import StoppedError, Stopping

        folder = str(config.hydra.sweep.dir)
        self.process = os.getpid()
        self._failures = Failures(Path(folder))
        self._stopping = Stopping()
        self._stopping.begin(lambda number: _say_at_exit_how_to_sweep_on(StoppedError(number).name, folder))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let a cell that another process on this machine started end with it."""
        from lightning_al.workers import end_with, number_by_joblib, start_processes_as_usual

        if number_by_joblib() is not None:
            start_processes_as_usual()
        elif _is_multirun() or not _is_first_rank():
            return
        if self.process is not None:
            end_with(self.process)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print one table, write ``comparison.csv`` and ``comparison.png`` into the folder, and name what failed."""
        folder = Path(config.hydra.sweep.dir)
        console = _console()
        try:
            _compare(folder)
            is_compared = True
        except ValueError as error:
            console.print(f"The runs in {folder} were not compared. {error}", soft_wrap=True)
            is_compared = False
        except Exception:
            traceback.print_exc()  # which Hydra would make a warning of, and leave what follows out
            is_compared = False
        failed = self._failures.since()
        if failed:
            how_many = f"{len(failed)} cells" if len(failed) > 1 else "1 cell"
            console.print(f"{how_many} failed. The same command tries again, and skips what is done.", soft_wrap=True)
        for path, said in failed.items():
            console.print(f"  {said}  (whole traceback: {path})", soft_wrap=True)
        self._stopping.end()
        if failed or not is_compared:
            raise SystemExit(1)

    def __getstate__(self) -> dict[str, Any]:
        """Tell the processes that run the cells whose they are, and no more."""
        return {"process": self.process}


def _compare(folder: Path) -> None:
    from lightning_al.report.comparison import compare, write_csv
    from lightning_al.report.pictures import axis_name, comparison_picture, save_picture
    from lightning_al.report.runs import group_runs, load_runs
    from lightning_al.report.tables import comparison_table

    found = load_runs(folder)
    runs = [run for run in found if run.versions["lightning_al"] == version("lightning_al")]
    console = _console()
    if runs:
        methods, metric = compare(group_runs(runs)), runs[0].metric
        title = f"{axis_name(metric).capitalize()} over labels, {len(runs)} runs"
        write_csv(methods, folder / "comparison.csv")
        save_picture(comparison_picture(methods, metric, title=title), folder / "comparison.png")
        console.print(comparison_table(methods, metric))
        console.print(
            f"Compared {len(runs)} runs: {folder / 'comparison.png'}, {folder / 'comparison.csv'}", soft_wrap=True
        )
    if len(runs) < len(found):
        console.print(
            f"Left out {len(found) - len(runs)} runs of other versions of lightning_al than {version('lightning_al')}.",
            soft_wrap=True,
        )


def _main_of_cell(config: DictConfig, folder: Path) -> float:
    """Run a cell, and keep its error, if it fails, in its folder."""
    from lightning_al.cells import ERROR, clear_error, read_error, write_error

    if _is_multirun():
        clear_error(folder)
    try:
        return _main(config, folder)
    except Exception as error:
        write_error(folder, error)
        if not _is_multirun():
            raise SystemExit(1) from None  # which the sweep's process waits for
        console = _console()
        console.print(f"Failed: {read_error(folder)}  (whole traceback: {folder / ERROR})", soft_wrap=True)
        if not HydraConfig.get().sweeper._target_.endswith(".BasicSweeper"):
            raise  # Optuna's sweeper counts failures, and ends at a value that is NaN
        return float("nan")


def _run_apart(folder: Path) -> float:
    """Run a cell of several ranks in a process of its own.

    Lightning starts the other ranks by the command line of the first, which must be that of the cell alone; it kills
    the first where another dies; and what it leaves in the environment is for one fit.
    """
    from lightning_al.report.runs import Run

    # The modules that are found here are found there too, and in the same order.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    with subprocess.Popen([sys.executable, "-m", "lightning_al.cli", *_arguments(folder)], env=environment) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise RuntimeError(f"The process of this cell ended with exit code {code}. Find what it said in the output.")
    return Run.read(folder).area if _has_finished(folder) else float("nan")


def _arguments(folder: Path) -> list[str]:
    """Return the command line that runs this cell alone."""
    config = HydraConfig.get()
    directories = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    overrides: Any = OmegaConf.to_container(config.overrides, resolve=False)
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [
        *(f"--config-dir={path}" for path in directories),
        f"--config-name={config.job.config_name}",
        *overrides["task"],
        *(override for override in overrides["hydra"] if not override.startswith("hydra.mode=")),
        f"hydra.run.dir='{quoted}'",
        "hydra.output_subdir=null",
        f"hydra.job.num={config.job.num}",
        f"+hydra.callbacks.comparison.process={os.getpid()}",
    ]


def _take_gpus(config: DictConfig) -> None:
    """Let a worker of joblib's see the GPUs that are its own, since each cell takes the first that it sees."""
    from lightning_al.workers import number_by_joblib, share_of_gpus

    worker, size = number_by_joblib(), config.trainer.get("devices")
    if worker is None or not isinstance(size, int) or size < 1 or config.trainer.get("accelerator") == "cpu":
        return
    gpus = share_of_gpus(_all_gpus(), worker, size)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


@cache
def _all_gpus() -> list[str]:
    """Return the GPUs that the sweep may use, as they were before the first cell in this process took its own."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(map(str, range(torch.cuda.device_count()))) if visible is None else visible.split(",")


def _cell(*, _root_: DictConfig) -> str:
    """Name a cell's folder, for `hydra.sweep.subdir`."""
    from lightning_al.cells import cell_folder

    settings: Any = OmegaConf.to_container(_root_, resolve=False)
    typed = OverridesParser.create().parse_overrides(settings.pop("hydra")["overrides"]["task"])
    left_out = (*PLACED, *ONLY_SHOWN, *THIS_TIME, *MAY_GROW)
    overrides = sorted(str(parsed.input_line) for parsed in typed if parsed.key_or_group not in left_out)
    for name in left_out:
        owner, key = _owner(settings, name), name.split(".")[-1]
        if key in owner:
            owner[key] = None  # others may refer to it
    # Where the folder is follows from its name.
    text = OmegaConf.to_yaml(OmegaConf.create(settings)).replace("${hydra:runtime.output_dir}", ".")
    # What cannot be resolved, the cell itself will name.
    with suppress(OmegaConfBaseException):
        settings = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    for name in left_out:
        _owner(settings, name).pop(name.split(".")[-1], None)
    return cell_folder(Path(_root_.hydra.sweep.dir), "_".join(overrides), settings, version("lightning_al"))


def _owner(settings: Any, name: str) -> dict[Any, Any]:
    for key in name.split(".")[:-1]:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}


def _register(name: str, resolver: Callable[..., Any], *, use_cache: bool = False) -> None:
    try:
        register: Any = OmegaConf.register_resolver  # as it is from OmegaConf 2.4 on
        register(name, resolver, replace=True, use_cache=use_cache)
    except TypeError:
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=use_cache)


_register("lightning_al.cell", _cell)
# Seconds do not tell apart runs that are started together. The configuration remembers it, so that all cells of a sweep
# are told that of the sweep.
_register("lightning_al.process", os.getpid, use_cache=True)


def _is_cell() -> bool:
    """Return whether the run is a cell of a sweep, be it in a process of its own."""
    return not OmegaConf.is_missing(HydraConfig.get().job, "num")


def _is_multirun() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _is_first_rank() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _say_at_exit_how_to_sweep_on(signal_name: str, folder: str) -> None:
    """Leave it to the end, since a signal comes where a line may be half printed, and may be heard of twice."""
    atexit.unregister(_say_how_to_sweep_on)
    atexit.register(_say_how_to_sweep_on, signal_name, folder)


def _say_how_to_sweep_on(signal_name: str, folder: str) -> None:
    command = ["lightning-al", *sys.argv[1:]]
    if not any(argument.startswith(("folder=", "hydra.sweep.dir=")) for argument in command):
        command.append(f"folder={folder}")
    _console().print(f"Stopped by {signal_name}. Go on with the sweep by: {shlex.join(command)}", soft_wrap=True)


# A run.


@dataclass(frozen=True)
class _ThisTime:
    """What holds for one command alone, so that a folder's stored configuration can neither have it nor widen it."""

    allow: tuple[str, ...]
    force: bool


@dataclass
class _Objects:
    model: pl.LightningModule
    data: ActiveDataModule
    active: ActiveLearning
    trainer: pl.Trainer
    loggers: dict[str, pl.loggers.Logger]


def _run(config: DictConfig, folder: Path, this_time: _ThisTime, *, fit: bool) -> float:
    """Make every object, fit to the budget unless that is done, and report."""
    from lightning_al.journal import Journal
    from lightning_al.loggers import one_log
    from lightning_al.report.curves import area_under_curve

    _silence()
    if _is_cell():
        _take_gpus(config)
    objects = _make(_checked(config, this_time.allow), folder, force=this_time.force)
    active, data, trainer = objects.active, objects.data, objects.trainer
    console = _console()
    if fit and _is_multirun() and trainer.strategy.launcher is not None:
        return _run_apart(folder)
    if trainer.is_global_zero:
        _write_config(config, folder)
        hint = "" if _is_cell() else f"  (cut off, it goes on by: {_command(folder)})"
        console.print(f"Run folder: {folder}{hint}", soft_wrap=True)
    if fit:
        loggers = objects.loggers if trainer.is_global_zero else {}
        try:
            with one_log(loggers, folder, _hyperparameters(config)):
                trainer.fit(objects.model, datamodule=data)
        except FileNotFoundError as error:
            # Data that are not there need no traceback.
            raise CompactHydraException(str(error)) from error
        history = active.history
    else:
        data.prepare_data()
        data.setup("fit")
        history = active.tidy(trainer) if trainer.is_global_zero else Journal.read_history(folder)
    if not history or history[-1].indices:
        console.print(f"Stopped after {len(history)} rounds. Go on by: {_command(folder)}", soft_wrap=True)
        return float("nan")
    if not trainer.is_global_zero:
        return area_under_curve(*history.curve(config.metric))
    _report(config, active, data, history, folder)
    return _show(folder)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads, and put back how many there were, since the next cell may leave it to torch."""
    import torch

    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checked(config: DictConfig, allow: Sequence[str]) -> DictConfig:
    """Return the configuration with all references resolved, once nothing in it names what is not allowed."""
    from lightning_al.allow_list import AllowList

    plain = OmegaConf.to_container(config, resolve=True)
    try:
        AllowList(allow).check(plain)
    except ValueError as error:
        raise ConfigCompositionException(f"lightning-al: {error}") from error
    checked = OmegaConf.create(plain)
    assert isinstance(checked, DictConfig)
    return checked


def _make(config: DictConfig, folder: Path, *, force: bool) -> _Objects:
    """Make every object of the configuration, before anything is run."""
    from lightning_al.loggers import arguments_to_go_on
    from lightning_al.seeds import derive, seeded

    with seeded(derive(config.seed, "weights")):
        model = _instantiate(config, "model")
    active = _instantiate(config, "active", folder=str(folder), force=force)
    callbacks = [active, *(_instantiate(config, f"callbacks.{key}") for key in config.callbacks or {})]
    loggers = {}
    for key in map(str, config.logger or {}):
        made_by = hydra.utils.get_object(_node(config, f"logger.{key}")._target_)
        loggers[key] = _instantiate(config, f"logger.{key}", **arguments_to_go_on(made_by, key, folder))
    trainer = _instantiate(config, "trainer", callbacks=callbacks, logger=list(loggers.values()) or False)
    return _Objects(model, _instantiate(config, "pool"), active, trainer, loggers)


def _instantiate(config: DictConfig, key: str, **arguments: Any) -> Any:
    return hydra.utils.instantiate(_node(config, key), _convert_="all", **arguments)


def _node(config: DictConfig, key: str) -> DictConfig:
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigCompositionException(
            f"lightning-al expects `{key}` to be a class and its arguments, but got {node!r}. Give it a `_target_`, or "
            "leave it out."
        )
    return node


def _silence() -> None:
    """Keep what Lightning says about hardware and tips, once a fit, out of the output."""
    from lightning_al._lightning import NAMESPACE

    for name in (NAMESPACE, NAMESPACE.replace("pytorch", "fabric"), "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A small set in memory needs no workers, and a short epoch no line in the log.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*number of training batches .* smaller than the logging interval")
    warnings.filterwarnings("ignore", message=".*(Experiment logs|Checkpoint) directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    # The demo tasks have no validation labels.
    warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`")


# The configuration of a run, and of the run that a folder holds.


def _check_names(config: DictConfig) -> None:
    unknown = sorted(set(map(str, config)) - {*PARTS, *VALUES})
    if unknown:
        raise ConfigCompositionException(
            f"lightning-al knows no setting named {', '.join(unknown)}. Choose one of: {', '.join((*VALUES, *PARTS))}."
        )


def _take_this_time(config: DictConfig, overrides: list[str]) -> _ThisTime:
    """Take out of the configuration what the command line alone may say.

    Raises:
        ConfigCompositionException: If a file of the configuration says it.
    """
    typed = [parsed for parsed in OverridesParser.create().parse_overrides(overrides) if parsed.key_or_group == "allow"]
    given = typed[-1].value() if typed else []
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or config.allow != given:
        raise ConfigCompositionException(
            f"lightning-al takes `allow` from the command line alone, as a list of names, but got {config.allow}. Give "
            "it as 'allow=[my_package]'."
        )
    force = config.active.force
    if not isinstance(force, bool):
        raise ConfigCompositionException(
            f"lightning-al takes `active.force` as true or false, but got {force!r}. Set it to one of them."
        )
    config.allow, config.active.force = [], False
    return _ThisTime(allow=tuple(map(str, given)), force=force)


def _has_finished(folder: Path) -> bool:
    from lightning_al.journal import Journal

    try:
        history = Journal.read_history(folder)
    except FileNotFoundError:
        return False
    return len(history) > 0 and not history[-1].indices


def _is_reported(config: DictConfig, folder: Path) -> bool:
    """Return whether the folder's summary is of all its rounds, and of the metric that is asked for."""
    from lightning_al.journal import Journal
    from lightning_al.report.runs import Run

    if not (folder / "summary.json").exists():
        return False
    run = Run.read(folder)
    return run.metric == config.metric and run.indices == [round.indices for round in Journal.read_history(folder)]


def _read_config(folder: Path) -> DictConfig | None:
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        stored = OmegaConf.load(path)
    except (OSError, ValueError, YAMLError) as error:
        raise _damaged(folder, str(error)) from error
    if not isinstance(stored, DictConfig):
        raise _damaged(folder, "it holds a list")
    missing = sorted({*PARTS, *VALUES} - {"allow"} - set(map(str, stored)))
    if missing:
        raise _damaged(folder, f"it lacks {', '.join(missing)}")
    return stored


def _damaged(folder: Path, reason: str) -> ConfigCompositionException:
    return ConfigCompositionException(
        f"{folder / CONFIG} is not the configuration of a run: {reason}. Put back a copy of it from before, or choose "
        "another folder."
    )


def _write_config(config: DictConfig, folder: Path) -> None:
    from lightning_al.journal import replacing

    with replacing(folder / CONFIG) as path:
        OmegaConf.save(config, path)


def _agree(
    stored: DictConfig, config: DictConfig, overrides: list[str], folder: Path, *, force: bool, is_cell: bool
) -> DictConfig:
    """Return the configuration to go on with: the stored one, with what the overrides may change of it.

    The configuration of a cell is given whole, so that all of it has to agree, but for what only shows or places.

    Raises:
        ConfigCompositionException: If an override contradicts the stored configuration in more than `force` allows.
    """
    asked = {key: value for key, value in _flat(config).items() if key != "folder"}
    known = _flat(stored)
    keys = [parsed.key_or_group for parsed in OverridesParser.create().parse_overrides(overrides)]
    for key in keys:
        # A group such as experiment reaches everywhere, so that all of it has to agree.
        if key != "folder" and OmegaConf.select(config, key, default=None) is None:
            keys = [*keys, *asked, *known]
    named = {name for name in {*asked, *known} for key in keys if is_cell or _is_part(name, key)}
    differing = sorted(name for name in named - {"folder", *THIS_TIME} if asked.get(name) != known.get(name))
    forced = [name for name in differing if _may_be_forced(name)]
    refused = [
        name
        for name in differing
        if not any(_is_part(name, free) for free in (*ONLY_SHOWN, *(PLACED if is_cell else ())))
        and not _grows(name, known.get(name), asked.get(name))
        and not (force and name in forced)
    ]
    if refused:
        with_force = " Of these, `active.force=true` lets through: " + ", ".join(forced) + "." if forced else ""
        raise ConfigCompositionException(
            f"The run in {folder} was started with other settings: {_changes(refused, known, asked)}. Go on with it by "
            f"`lightning-al folder={folder}` and nothing else, or with a larger {' or '.join(MAY_GROW)}, or choose "
            f"another folder.{with_force}"
        )
    if forced:
        from lightning_al._lightning import rank_zero_warn

        rank_zero_warn(
            f"`active.force=true`: the run in {folder} goes on with other settings than it was started with: "
            f"{_changes(forced, known, asked)}."
        )
    if is_cell:
        config.name = config.name
        config.folder = MISSING
        return config
    agreed = stored.copy()
    agreed.allow = []
    for name in differing:
        if name in asked:
            OmegaConf.update(agreed, name, asked[name])
    # Another class has other arguments, even where those left out were null.
    for name in sorted(named & set(known) - set(asked)):
        if forced and _may_be_forced(name):
            owner, key = name.rsplit(".", 1)
            OmegaConf.select(agreed, owner).pop(key)
    return agreed


def _changes(names: list[str], known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} (stored {known.get(name)!r}, asked {asked.get(name)!r})" for name in names)


def _may_be_forced(name: str) -> bool:
    return any(_is_part(name, part) for part in WITH_FORCE)


def _is_part(name: str, whole: str) -> bool:
    return name == whole or name.startswith(f"{whole}.")


def _grows(name: str, known: Any, asked: Any) -> bool:
    return name in MAY_GROW and known is not None and (asked is None or asked > known)


def _flat(config: DictConfig) -> dict[str, Any]:
    """Return all settings by their dotted name, with references resolved."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return dict(_leaves(plain))


def _leaves(plain: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# What is shown at the end.


def _report(config: DictConfig, active: ActiveLearning, data: ActiveDataModule, history: History, folder: Path) -> None:
    """Draw the pictures, and last write the summary, which says that the run is finished."""
    from lightning_al.report.comparison import Method
    from lightning_al.report.pictures import asked_picture, axis_name, curve_picture, save_picture
    from lightning_al.report.runs import Run

    run = Run.from_history(
        history,
        name=config.name,
        acquisition=type(active.acquisition).__name__,
        seed=config.seed,
        metric=config.metric,
        initial=data.pool.initial,
        settings=_settings(config, folder),
    )
    title = f"{run.acquisition}, seed {run.seed}"
    curve = curve_picture(
        [Method(run.name, [run], [run.area])], run.metric, title=f"{title}: {axis_name(run.metric)} over labels"
    )
    save_picture(curve, folder / "curve.png")
    asked = [round for round in history if round.indices]
    images = [[data.target.inputs(data.dataset[index]) for index in round.indices] for round in asked]
    if asked and all(_is_image(image) for row in images for image in row):
        labels = [[data.class_of(index) for index in round.indices] for round in asked]
        headings = [f"after {round.labelled} labels" for round in asked]
        picture = asked_picture(images, labels, headings, title=f"{title}: images it asked for, in order")
        save_picture(picture, folder / "asked.png")
    run.write(folder)


def _show(folder: Path) -> float:
    """Print the rounds of a finished run and where its files are, and return the area under its curve."""
    from lightning_al.journal import Journal
    from lightning_al.report.runs import Run
    from lightning_al.report.tables import rounds_table

    run = Run.read(folder)
    console = _console()
    if not _is_cell():  # a sweep ends in one table of all its runs
        console.print(rounds_table(Journal.read_history(folder), run.metric))
    console.print(
        f"{run.acquisition}, seed {run.seed}: mean {run.metric} over {run.labels[0]} to {run.labels[-1]} labels is "
        f"{run.area:.4f}, the last {run.values[-1]:.4f}.",
        soft_wrap=True,
    )
    files = [name for name in ("curve.png", "asked.png", "summary.json") if (folder / name).exists()]
    console.print(f"Run folder: {folder}  ({', '.join(files)})", soft_wrap=True)
    return run.area


def _settings(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Return the settings that tell methods apart: not seeds, names and places, and not what only shows or logs."""
    return {
        key: value
        for key, value in _flat(config).items()
        if not any(_is_part(key, name) for name in (*ONLY_SHOWN, *PLACED))
        and key.split(".")[-1] != "seed"
        and not str(value).startswith(str(folder))
    }


def _hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Return the settings as the loggers are to have them, each once, though `pool` and `active` refer to others."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    left_out = ("folder", "metric", "allow", "logger", "callbacks")
    settings = {str(key): value for key, value in plain.items() if key not in left_out}
    for part in ("pool", "active"):
        settings[part] = {key: value for key, value in settings[part].items() if key not in plain}
    return settings


def _is_image(item: Any) -> bool:
    shape = tuple(getattr(item, "shape", ()))
    return len(shape) == 2 or shape[:-2] in ((1,), (3,))


def _command(folder: Path) -> str:
    """Return the command that goes on with the run, and allows what this one does, since no file can."""
    allowed = [f"'{override}'" for override in HydraConfig.get().overrides.task if override.startswith("allow=")]
    return " ".join(["lightning-al", f"folder={folder}", *allowed])


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False)


if __name__ == "__main__":
    # A sweep's other processes look for what they are to run in the module, not in the program.
    from lightning_al import cli

    cli.main()
