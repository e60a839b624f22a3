"""One log for a whole run: its loggers resume after an interruption, and end only with the run.

Each of Lightning's loggers resumes in its own way. The guide to loggers says how well each one does.
"""

from __future__ import annotations

import csv
import json
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from lightning_utilities.core.imports import compare_version

from lightning_al.host.lightning_names import CSV_ROWS, LOGS_BY_ITSELF
from lightning_al.host.namespace import NAMESPACE, pl
from lightning_al.run.files import LARGEST_TABLE, open_plain, read_json, replacing
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal

NAME = "loggers.json"

_RUN_ARGUMENTS = {pl.loggers.MLFlowLogger: "run_id", pl.loggers.WandbLogger: "id"}


def arguments_to_resume(made_by: Any, name: str, folder: Path) -> dict[str, Any]:
    """Return the arguments by which a logger resumes the run in a folder, or none if it did not log the run before.

    Args:
        made_by: The logger's class. For a function that makes it, there are no arguments.
        name: The name of the logger in `one_log`.
        folder: The run's folder.
    """
    known = _read(folder)
    if name not in known or not isinstance(made_by, type):
        return {}
    if issubclass(made_by, pl.loggers.TensorBoardLogger):
        # Otherwise the curves would show an interrupted round twice: before and after it started again.
        return {"purge_step": _steps(_kept_rounds(folder)) + 1}
    return {argument: known[name] for cls, argument in _RUN_ARGUMENTS.items() if issubclass(made_by, cls)}


@contextmanager
def one_log(loggers: Mapping[str, pl.loggers.Logger], folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Start the log of a run or resume it, and end it with the run.

    Args:
        loggers: The loggers by name, made with `arguments_to_resume`.
        folder: The run's folder, which keeps the names of the loggers.
        settings: The hyperparameters, logged at the start of the run or of a logger's file.
    """
    known = _read(folder)
    for name, logger in loggers.items():
        if name in known:
            _resume(logger, _kept_rounds(folder))
        if name not in known or isinstance(logger, pl.loggers.CSVLogger):  # which starts a new file of them
            logger.log_hyperparams(dict(settings))
    if loggers:
        _write(folder, {**known, **{name: logger.version for name, logger in loggers.items()}})
    code = 1
    try:
        yield
        code = 0
    finally:
        for logger in loggers.values():
            # Otherwise the next run of a sweep, in the same process, would log to this run.
            if isinstance(logger, pl.loggers.WandbLogger):
                logger.experiment.finish(exit_code=code)


@contextmanager
def held_open(trainer: pl.Trainer) -> Iterator[None]:
    """Let fits and tests inside another fit neither end the Trainer's loggers nor log the hyperparameters again.

    Otherwise MLflow shows the run as finished in its first round, and TensorBoard starts two files a round.
    """
    loggers = list(trainer.loggers)
    for logger in loggers:
        logger.finalize = _not_yet  # type: ignore[method-assign]
    has_switch = compare_version(NAMESPACE, operator.ge, "2.5.2")
    try:
        with LOGS_BY_ITSELF.replaced(trainer, False) if has_switch else nullcontext():
            yield
    finally:
        for logger in loggers:
            vars(logger).pop("finalize", None)


def log_over_labels(loggers: Iterable[pl.loggers.Logger], round: Round) -> None:
    """Log a round's metrics over the number of labels, for loggers that draw curves over the step alone."""
    metrics = {f"over_labels/{name}": value for name, value in round.metrics.items()}
    for logger in loggers:
        if isinstance(logger, pl.loggers.TensorBoardLogger | pl.loggers.MLFlowLogger):
            logger.log_metrics(metrics, step=round.spent)


def _not_yet(status: str) -> None:
    """Stand in for a logger's `finalize` until the run ends."""


def _resume(logger: pl.loggers.Logger, rounds: list[Round]) -> None:
    steps = _steps(rounds)
    if isinstance(logger, pl.loggers.TensorBoardLogger):
        # `purge_step` removes the rest of every curve, also of those over labels.
        for round in rounds:
            if round.spent > steps:
                log_over_labels([logger], round)
    elif isinstance(logger, pl.loggers.CSVLogger):
        keep_rows(logger, steps)
    elif isinstance(logger, pl.loggers.MLFlowLogger):
        logger.experiment.update_run(logger.run_id, "RUNNING")


def keep_rows(logger: pl.loggers.CSVLogger, steps: int) -> None:
    """Keep the rows of a CSVLogger's file up to a step. By itself the logger would start a new file."""
    table = Path(logger.log_dir) / "metrics.csv"
    try:
        rows = [row for row in _rows_of(table) if int(row["step"]) <= steps]
    except FileNotFoundError:
        rows = []
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(
            f"{table} is not the table that a CSVLogger wrote: {type(error).__name__}: {error}. Remove it: the run "
            "then resumes with a new table."
        ) from None
    CSV_ROWS.of(logger.experiment).extend(rows)  # making the experiment removes the file
    logger.save()


def _rows_of(table: Path) -> list[dict[str, Any]]:
    with TextIOWrapper(open_plain(table, LARGEST_TABLE), newline="") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        # A process that was killed may leave half a row.
        return [dict(zip(columns, cells, strict=True)) for cells in rows if len(cells) >= len(columns)]


def _kept_rounds(folder: Path) -> list[Round]:
    """Return the rounds that are not run again. A last round without a query is, if the budget has grown."""
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
        f"{path} should name the loggers of the run, but is damaged. Remove it: the run then resumes with new logs."
    )


def _write(folder: Path, known: Mapping[str, Any]) -> None:
    with replacing(folder / NAME) as path:
        path.write_text(json.dumps(known))
