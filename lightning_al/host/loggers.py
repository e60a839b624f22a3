"""One log of a run: its loggers go on where it was cut off, and are not told of an end before the end.

Each of Lightning's loggers goes on in a way of its own; how much of it works is said in the README.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from lightning_al.host.namespace import pl
from lightning_al.run.files import LARGEST_TABLE, open_plain, read_json, replacing
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal

NAME = "loggers.json"

_RUN_ARGUMENTS = {pl.loggers.MLFlowLogger: "run_id", pl.loggers.WandbLogger: "id"}


def arguments_to_go_on(made_by: Any, name: str, folder: Path) -> dict[str, Any]:
    """Return the arguments by which a logger goes on with the run in a folder; none where it did not log it before.

    Args:
        made_by: The logger's class, or a function that makes it, which is left alone.
        name: What `one_log` calls the logger.
        folder: The run's folder.
    """
    known = _read(folder)
    if name not in known or not isinstance(made_by, type):
        return {}
    if issubclass(made_by, pl.loggers.TensorBoardLogger):
        # What the round that was cut off has logged would be drawn beside what it logs when it is begun again.
        return {"purge_step": _steps(_kept_rounds(folder)) + 1}
    return {argument: known[name] for cls, argument in _RUN_ARGUMENTS.items() if issubclass(made_by, cls)}


@contextmanager
def one_log(loggers: Mapping[str, pl.loggers.Logger], folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Begin the log of a run, or go on with it, and end it with the run.

    Args:
        loggers: The loggers by name, made with `arguments_to_go_on`.
        folder: The run's folder, which remembers the loggers.
        settings: The hyperparameters, logged where the run, or its file, begins.
    """
    known = _read(folder)
    for name, logger in loggers.items():
        if name in known:
            _go_on(logger, _kept_rounds(folder))
        if name not in known or isinstance(logger, pl.loggers.CSVLogger):  # which begins a new file of them
            logger.log_hyperparams(dict(settings))
    if loggers:
        _write(folder, {**known, **{name: logger.version for name, logger in loggers.items()}})
    code = 1
    try:
        yield
        code = 0
    finally:
        for logger in loggers.values():
            # The next run of a sweep, in the same process, would write into this one's.
            if isinstance(logger, pl.loggers.WandbLogger):
                logger.experiment.finish(exit_code=code)


@contextmanager
def held_open(trainer: pl.Trainer) -> Iterator[None]:
    """Let fits and tests inside another fit neither end the Trainer's loggers nor log the hyperparameters again.

    Otherwise MLflow shows the run as finished in its first round, and TensorBoard begins two files a round.
    """
    logs_hyperparameters = getattr(trainer, "enable_autolog_hparams", True)
    loggers = list(trainer.loggers)
    trainer.enable_autolog_hparams = False
    for logger in loggers:
        logger.finalize = _not_yet  # type: ignore[method-assign]
    try:
        yield
    finally:
        trainer.enable_autolog_hparams = logs_hyperparameters
        for logger in loggers:
            vars(logger).pop("finalize", None)


def log_over_labels(loggers: Iterable[pl.loggers.Logger], round: Round) -> None:
    """Log a round's metrics with the number of labels as the step, where a curve can be drawn over the step alone."""
    metrics = {f"over_labels/{name}": value for name, value in round.metrics.items()}
    for logger in loggers:
        if isinstance(logger, pl.loggers.TensorBoardLogger | pl.loggers.MLFlowLogger):
            logger.log_metrics(metrics, step=round.spent)


def _not_yet(status: str) -> None:
    """Stand in for a logger's `finalize` while the run goes on."""


def _go_on(logger: pl.loggers.Logger, rounds: list[Round]) -> None:
    steps = _steps(rounds)
    if isinstance(logger, pl.loggers.TensorBoardLogger):
        # From its step on, TensorBoard forgets every curve, those over labels too.
        for round in rounds:
            if round.spent > steps:
                log_over_labels([logger], round)
    elif isinstance(logger, pl.loggers.CSVLogger):
        keep_rows(logger, steps)
    elif isinstance(logger, pl.loggers.MLFlowLogger):
        logger.experiment.update_run(logger.run_id, "RUNNING")


def keep_rows(logger: pl.loggers.CSVLogger, steps: int) -> None:
    """Keep the rows of a CSVLogger's file up to a step; it would begin a new file."""
    table = Path(logger.log_dir) / "metrics.csv"
    try:
        rows = [row for row in _rows_of(table) if int(row["step"]) <= steps]
    except FileNotFoundError:
        rows = []
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(
            f"{table} is not the table that a CSVLogger wrote: {type(error).__name__}: {error}. Remove it: the table "
            "then begins anew, and the run itself goes on."
        ) from None
    writer: Any = logger.experiment  # which removes the file
    writer.metrics.extend(rows)
    logger.save()


def _rows_of(table: Path) -> list[dict[str, Any]]:
    with TextIOWrapper(open_plain(table, LARGEST_TABLE), newline="") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        # A killed process may have left half a row.
        return [dict(zip(columns, cells, strict=True)) for cells in rows if len(cells) >= len(columns)]


def _kept_rounds(folder: Path) -> list[Round]:
    """Return the rounds that are not run again. One that asked for nothing is, with a budget that has grown."""
    try:
        history = Journal.read_history(folder)
    except FileNotFoundError:
        history = History()
    return [round for round in history if round.indices]


def _steps(rounds: Iterable[Round]) -> int:
    return sum(round.steps for round in rounds)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    try:
        known = read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(known, dict):
        raise _damaged(path)
    return known


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} was to name the loggers of the run, but is not what was written there. Remove it: the loggers then "
        "begin anew, and the run itself goes on."
    )


def _write(folder: Path, known: Mapping[str, Any]) -> None:
    with replacing(folder / NAME) as path:
        path.write_text(json.dumps(known))
