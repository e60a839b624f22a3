"""One run: make its objects, and fit to the budget."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import CompactHydraException, ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.command_folder import break_command_links, check_command_folder
from lightning_al.cli.configuration import (
    CommandOptions,
    agree,
    as_stored,
    check_names,
    hyperparameters,
    read_config,
    resolve_allowed,
    take_command_options,
    write_config,
)
from lightning_al.cli.direction import check_mode
from lightning_al.cli.ended_run import area_of_run, report_run, show_run
from lightning_al.cli.external_launch import is_first_rank
from lightning_al.cli.job import is_cell, is_multirun, new_console, resume_command, typed
from lightning_al.cli.one_line_errors import of_settings
from lightning_al.cli.recorded_classes import with_recorded_classes
from lightning_al.cli.recorded_settings import check_none_is_recorded
from lightning_al.cli.references import shown, write_hydra_values
from lightning_al.cli.run_name import put_name
from lightning_al.cli.secrets import Secrets, remember
from lightning_al.cli.sizes import with_sizes
from lightning_al.cli.stored import with_how_to_fetch
from lightning_al.cli.string_settings import with_strings
from lightning_al.cli.waiting import IN_A_SWEEP, WAITING, end_waiting, leaves_open
from lightning_al.cli.workers import number_by_joblib, run_apart, take_gpus
from lightning_al.run.identity import GROWS

if TYPE_CHECKING:
    from lightning_al.callback import ActiveLearning
    from lightning_al.data.datamodule import ActiveDataModule
    from lightning_al.host.namespace import pl


def run_to_budget(config: DictConfig, folder: Path) -> float:
    """Start a run in the folder, or resume the run there, and return the area under its learning curve.

    A run that has finished is shown. The area is NaN if the run was stopped before its budget, diverged, or has no test
    data.

    Raises:
        ConfigCompositionException: If the configuration is invalid, or contradicts that of the run in the folder.
    """
    overrides = typed()
    remember(config)
    check_names(config)
    check_mode(config)
    options_now = take_command_options(config, overrides)
    write_hydra_values(config)
    put_name(config)
    config = with_strings(config)
    found, composed = read_config(folder), None
    stored = None if found is None else with_strings(with_recorded_classes(found, folder))
    if stored is None:
        config = as_stored(config)
    elif is_cell():
        config = agree(stored, config, overrides, folder, force=options_now.force, is_cell=True)
    else:
        composed = config
        config = agree(stored, config, overrides, folder, force=options_now.force, is_cell=False)
    kept, known = shown(config), None if stored is None else shown(stored)
    finished = known is not None and _goes_as_far(known, kept) and _has_finished(folder)
    if finished and known == kept and _is_reported(kept["metric"], kept["mode"], folder):
        return show_run(folder, kept) if is_first_rank(composed or config) else area_of_run(folder)
    settings = resolve_allowed(config, options_now.allow, folder, composed)
    if OmegaConf.select(settings, "trainer.fast_dev_run"):
        raise ConfigCompositionException(
            "lightning-al keeps a run in its folder, but `trainer.fast_dev_run` only tries one out. Leave it out, and "
            "try a short run in another folder: folder=try active.max_rounds=2 trainer.max_epochs=1."
        )
    check_none_is_recorded(config, settings, known, folder, options_now.allow)
    plain = OmegaConf.to_container(settings)
    # For the user's own classes, a traceback shows where they fail.
    in_a_line = nullcontext() if options_now.allow else of_settings(plain, folder, resumes=stored is not None)
    with threads(settings.threads), in_a_line:
        return fit_and_report(config, settings, folder, options_now, stored, fit=not finished)


@dataclass
class Objects:
    """The objects of a run."""

    model: pl.LightningModule
    data: ActiveDataModule
    active: ActiveLearning
    trainer: pl.Trainer
    loggers: dict[str, pl.loggers.Logger]


def fit_and_report(
    config: DictConfig,
    settings: DictConfig,
    folder: Path,
    options_now: CommandOptions,
    stored: DictConfig | None,
    *,
    fit: bool,
) -> float:
    """Make every object, fit to the budget if needed, and report.

    Args:
        config: The configuration as it is stored from now on.
        settings: The same with all references resolved.
        folder: The run's folder.
        options_now: The options that hold for this command only.
        stored: The configuration that the folder has, or None for a new run.
        fit: Whether the run is not yet finished.
    """
    from lightning_al.cli.growth import OnceAccepted, as_far_as
    from lightning_al.cli.metric import check_metric, curve_metric
    from lightning_al.host.loggers import one_log
    from lightning_al.host.trainer import callbacks_of, set_callbacks
    from lightning_al.report.curves import area_or_nan
    from lightning_al.rounds.items import recall_run
    from lightning_al.run.journal import Journal

    silence()
    if is_cell():
        take_gpus(settings)
    secrets = Secrets.of(config, settings)
    check_command_folder(folder, settings)
    if is_first_rank(settings):
        break_command_links(folder, settings)
    objects = make_objects(settings, folder, force=options_now.force)
    secrets.keep_from(objects.trainer, objects.model, getattr(objects.data, "wrapped", objects.data))
    active, data, trainer = objects.active, objects.data, objects.trainer
    if stored is None:
        data.check_earlier_classes()  # before the folder has a configuration with such classes
    if is_cell() and leaves_open(active.oracle):
        raise ConfigCompositionException(IN_A_SWEEP.format(type(active.oracle).__name__.lower()))
    console = new_console()
    if fit and is_multirun() and trainer.strategy.launcher is not None:
        run_apart(folder)
        return area_of_run(folder) if _has_finished(folder) else float("nan")
    if trainer.is_global_zero:
        write_config(config if stored is None else as_far_as(config, stored), folder)
        hint = "" if is_cell() else f"  (you may stop it at any time; to resume it: {resume_command(folder, config)})"
        console.print(f"Run folder: {folder}{hint}", soft_wrap=True)
    if fit:
        loggers = objects.loggers if trainer.is_global_zero else {}
        store = OnceAccepted(lambda: write_config(config, folder))
        set_callbacks(trainer, [*callbacks_of(trainer), store])
        try:
            with one_log(loggers, folder, hyperparameters(config)):
                trainer.fit(objects.model, datamodule=data)
        except FileNotFoundError as missing:
            # Missing data need no traceback.
            raise CompactHydraException(with_how_to_fetch(str(missing), config, settings)) from missing
        history = active.history
    else:
        recall_run(trainer, data, folder, settings.active.budget)
        data.prepare_data()
        data.setup("fit")
        history = active.tidy(trainer) if trainer.is_global_zero else Journal.read_history(folder)
    if not history.done:
        if fit and active.pending is not None:
            raise end_waiting(active, resume_command(folder, config)) if trainer.is_global_zero else SystemExit(WAITING)
        if trainer.is_global_zero:
            console.print(
                f"Stopped after {len(history)} rounds. Resume with: {resume_command(folder, config)}", soft_wrap=True
            )
        return float("nan")
    check_metric(settings.metric, history)
    metric = curve_metric(settings.metric, history)
    if not trainer.is_global_zero:
        return float("nan") if metric is None else area_or_nan(*history.curve(metric))
    report_run(config, settings, active, data, history, folder, metric)
    return show_run(folder, shown(config))


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Set the number of threads inside the context, and restore it: the next cell may leave it to torch."""
    import torch

    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_objects(config: DictConfig, folder: Path, *, force: bool) -> Objects:
    """Make every object of the configuration before anything runs."""
    from lightning_al.cli.metric import MetricIsLogged
    from lightning_al.host.loggers import arguments_to_resume
    from lightning_al.report.progress import RoundProgress
    from lightning_al.run.seeds import derive, seeded

    data = _instantiate(config, "pool")
    with seeded(derive(config.seed, "weights")):
        model = _instantiate(with_sizes(config, data), "model")
    active = _instantiate(config, "active", folder=str(folder), force=force)
    callbacks = [active, *(_instantiate(config, f"callbacks.{key}") for key in config.callbacks or {})]
    if number_by_joblib() is not None:
        for progress in (one for one in callbacks if isinstance(one, RoundProgress)):
            progress.heading = f"{folder.name}, "  # the cells of a sweep print at the same time
    callbacks.append(MetricIsLogged(config.metric, active))
    loggers = {}
    for key in map(str, config.logger or {}):
        made_by = hydra.utils.get_object(_node(config, f"logger.{key}")._target_)
        loggers[key] = _instantiate(config, f"logger.{key}", **arguments_to_resume(made_by, key, folder))
    trainer = _make_trainer(config, callbacks, list(loggers.values()))
    return Objects(model, data, active, trainer, loggers)


def _make_trainer(config: DictConfig, callbacks: list[pl.Callback], loggers: list[pl.loggers.Logger]) -> pl.Trainer:
    """Make the Trainer. Check its strategy by name first: making a strategy may fail if its package is missing."""
    from lightning_al.host.strategies import check_strategy, check_strategy_name

    try:
        check_strategy_name(_node(config, "trainer").get("strategy"))
        trainer: pl.Trainer = _instantiate(config, "trainer", callbacks=callbacks, logger=loggers or False)
        check_strategy(trainer)
    except ValueError as error:
        raise ConfigCompositionException(f"lightning-al: {error}") from error
    return trainer


def _instantiate(config: DictConfig, key: str, **arguments: Any) -> Any:
    return hydra.utils.instantiate(_node(config, key), _convert_="all", **arguments)


def _node(config: DictConfig, key: str) -> DictConfig:
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigCompositionException(
            f"lightning-al expects `{key}` to be a class and its arguments, but got {node!r}. Give it a `_target_`, or "
            "remove it."
        )
    return node


def silence() -> None:
    """Silence Lightning's notes on hardware and its tips, which come with every fit."""
    from lightning_al.host.namespace import NAMESPACE

    for name in (NAMESPACE, NAMESPACE.replace("pytorch", "fabric"), "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A small dataset in memory needs no workers, and a short epoch no line in the log.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*number of training batches .* smaller than the logging interval")
    warnings.filterwarnings("ignore", message=".*(Experiment logs|Checkpoint) directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    # One process needs no `srun`, and each cell of a sweep makes a Trainer.
    warnings.filterwarnings("ignore", message=".*`srun` command is available on your system but is not used")
    # The demo tasks have no validation labels.
    warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`")


def _goes_as_far(known: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    return all(known["active"].get(name) == kept["active"].get(name) for name in GROWS)


def _has_finished(folder: Path) -> bool:
    from lightning_al.run.journal import Journal

    try:
        return Journal.read_history(folder).done
    except FileNotFoundError:
        return False


def _is_reported(metric: str | None, mode: str | None, folder: Path) -> bool:
    """Return whether the folder's summary covers all rounds, with this metric and direction."""
    from lightning_al.cli.metric import curve_metric
    from lightning_al.report.runs import Run
    from lightning_al.run.journal import Journal

    history = Journal.read_history(folder)
    metric = curve_metric(metric, history)
    if metric is None or not (folder / "summary.json").exists():
        return metric is None
    run = Run.read(folder)
    # A label corrected since then may have changed only the last round's metric.
    return (
        (run.metric, run.mode) == (metric, mode)
        and run.indices == [round.indices for round in history]
        and (run.labels, run.values) == history.curve(run.metric)
    )
