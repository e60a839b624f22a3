"""Runs as their folders record them, finished or still running. Reading writes nothing and runs no code of a folder."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_al.report.direction import Mode, checked_mode
from lightning_al.report.printable import printable
from lightning_al.report.runs import Run
from lightning_al.report.settings import flat, leaves
from lightning_al.report.settings_file import COPY, check_numbers, read_settings
from lightning_al.run.files import LARGEST_TEXT, is_absurd, open_plain, parse_json, read_json, read_text
from lightning_al.run.folder import CONFIG, ERROR, JOURNAL, SUMMARY
from lightning_al.run.history import History, Round
from lightning_al.run.hostile_database import has_program
from lightning_al.run.identity import OF_ACTIVE_LEARNING, Recorded, described
from lightning_al.run.journal import Journal
from lightning_al.run.lock import InUseError

LINES = "history.jsonl"

USUAL_METRICS = ("test_acc", "posterior_accuracy", "val_acc")
"""Metrics for the curve of a run that does not name one, the first known first."""

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, sqlite3.Error, yaml.YAMLError)


State = Literal["finished", "going", "failed", "stopped"]


@dataclass(frozen=True)
class RecordedRun:
    """A run as its folder records it.

    Attributes:
        folder: Folder of the run.
        name: Name of its method.
        acquisition: Class of the acquisition function.
        seed: Seed of the run.
        metric: Metric that the run names, or None.
        state: `finished`; `going` in another process; `failed` as a cell of a sweep; or `stopped` before its end.
        history: The rounds so far.
        settings: Settings by dotted name; references are not resolved.
        versions: Version of each package that the result depends on, once it has finished.
        mode: Whether less or more of the run's own metric is better, if that was given.
    """

    folder: Path
    name: str
    acquisition: str
    seed: int
    metric: str | None
    state: State
    history: History
    settings: dict[str, Any]
    versions: dict[str, str]
    mode: Mode | None = None

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics of all rounds."""
        return {name for round in self.history for name in round.metrics}

    def run(self, metric: str, *, with_validation_labels: bool = False) -> Run:
        """Return the learning curve of the run so far.

        Args:
            metric: Metric of the curve.
            with_validation_labels: Whether the validation labels of each round count as well.

        Raises:
            ValueError: If no round has the metric.
        """
        if metric not in self.metrics:
            known = ", ".join(sorted(self.metrics)) or "none"
            raise ValueError(f"it has no metric {metric}. Choose by --metric one of: {known}.")
        return Run.from_history(
            self.history,
            name=self.name,
            acquisition=self.acquisition,
            seed=self.seed,
            metric=metric,
            initial=[],
            settings=self.settings,
            mode=self.mode if metric == self.metric else None,
            versions=self.versions,
            with_validation_labels=with_validation_labels,
        )


@dataclass(frozen=True)
class LeftOut:
    """A folder whose run is not in the report, and the reason."""

    folder: Path
    reason: str


def read_all(folders: Sequence[Path]) -> tuple[list[RecordedRun], list[LeftOut]]:
    """Read every run in some folders and the folders below, and return those that could not be read with a reason.

    Raises:
        ValueError: If one of the paths is not a folder, or cannot be opened.
    """
    runs: list[RecordedRun] = []
    left_out: list[LeftOut] = []
    found: dict[Path, None] = {}
    for folder in folders:
        found.update(dict.fromkeys(_run_folders(folder, left_out)))
    for folder in found:
        try:
            run = read_run(folder)
        except RecursionError:
            left_out.append(LeftOut(folder, f"its files are nested too deeply. {COPY}"))
        except UNREADABLE as error:
            left_out.append(LeftOut(folder, printable(_said(error), most=500)))
        else:
            if len(run.history) > 0:
                runs.append(run)
            else:
                left_out.append(LeftOut(folder, _failure(folder) or "it has no round yet"))
    return runs, left_out


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder itself holds a run."""
    return any(os.path.lexists(folder / name) for name in (JOURNAL, LINES, SUMMARY))


def read_run(folder: Path) -> RecordedRun:
    """Read the run of a folder.

    Raises:
        ValueError, RuntimeError, OSError, KeyError, TypeError, AttributeError: If the folder holds no whole run.
    """
    history, state = _read_history(folder)
    summary = read_json(folder / SUMMARY) if os.path.lexists(folder / SUMMARY) else {}
    config = _read_config(folder)
    if config:
        settings = flat(config)
        acquisition = str(settings["acquisition._target_"]).split(".")[-1]
        name, seed, metric = settings.get("name", acquisition.lower()), settings["seed"], settings.get("metric")
    elif summary:
        settings = dict(summary["settings"])
        name, seed, metric, acquisition = (summary[key] for key in ("name", "seed", "metric", "acquisition"))
    else:
        header = read_header(folder)
        acquisition = str(described(header, "acquisition")).split("(")[0].split(".")[-1]
        name, seed, metric, settings = acquisition.lower(), header["seed"], None, _settings_of(header)
    if not isinstance(seed, int):
        raise ValueError(f"its seed is {seed!r}, which is not a number. {COPY}")
    return RecordedRun(
        folder=folder,
        name=printable(name),
        acquisition=printable(acquisition),
        seed=seed,
        metric=_metric_of(history, metric, is_configured=bool(config)),
        state=state,
        history=history,
        settings={printable(key): _shown(value) for key, value in settings.items()},
        versions={printable(key): printable(value) for key, value in dict(summary.get("versions", {})).items()},
        mode=checked_mode(config.get("mode", summary.get("mode")), who=CONFIG if config else SUMMARY),
    )


def _run_folders(folder: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        left_out.append(LeftOut(Path(error.filename or folder), f"the folder cannot be read: {error.strerror}"))

    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder} is not a folder that can be read: {error.strerror}. Name a run's or a sweep's."
        ) from error
    for place, folders, files in os.walk(folder.resolve(), onerror=note):
        folders.sort()
        if is_run_folder(Path(place)):
            yield Path(place)
        elif ERROR in files:
            left_out.append(LeftOut(Path(place), _failure(Path(place))))


def _failure(folder: Path) -> str:
    """Return the reason why a cell failed as one line, or an empty string if it did not fail."""
    try:
        with open_plain(folder / ERROR, LARGEST_TEXT) as file:
            line = file.readline(LARGEST_TEXT).decode(errors="replace")
            return f"it failed: {printable(line.rstrip(), most=500)}"
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"it failed, and {ERROR} cannot be read: {reason}"


def _read_history(folder: Path) -> tuple[History, State]:
    is_going = False
    try:
        rounds = list(Journal.read_history(folder))
    except FileNotFoundError:
        rounds = _read_lines(folder)
    except InUseError:
        # The process that runs it holds the journal, but replaces these lines beside it after each round.
        rounds = _read_lines(folder) if (folder / LINES).exists() else []
        is_going = True
    history = History()
    for round in rounds:
        history.append(_checked(round, list(history)))
    if history.done:
        return history, "finished"
    if is_going:
        return history, "going"
    return history, "failed" if (folder / ERROR).exists() else "stopped"


def _read_lines(folder: Path) -> list[Round]:
    return [Round.from_dict(parse_json(line)) for line in read_text(folder / LINES).splitlines()]


def _read_config(folder: Path) -> dict[str, Any]:
    if not os.path.lexists(folder / CONFIG):
        return {}
    config = yaml.safe_load(read_settings(folder / CONFIG))
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} holds no settings. {COPY}")
    check_numbers(config, folder / CONFIG)
    return config


def read_header(folder: Path) -> dict[str, Any]:
    """Read the journal's first row, which describes the run and never changes, even while another process writes."""
    address = f"{(folder / JOURNAL).absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as database:
        if has_program(database):
            raise ValueError(f"the database of {JOURNAL} computes something, which no run's does. {COPY}")
        text, digest = database.execute("SELECT body, hash FROM rows WHERE number = 0").fetchone()
    if hashlib.sha256(f"\n{text}".encode()).hexdigest() != digest:
        raise ValueError(f"the first row of {JOURNAL} is damaged. {COPY}")
    header: dict[str, Any] = parse_json(text)
    return header


def _settings_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run without a configuration, under the names that a configuration gives them."""
    data = header["data"]
    named = {"acquisition": "acquisition", "posterior": "posterior"}
    settings = {
        named.get(name, f"active.{name}"): described(header, name)
        for name, argument in OF_ACTIVE_LEARNING.items()
        if isinstance(argument, Recorded)
    }
    known = {name: data[name] for name in ("length", "classes", "form")}
    pool = {"initial_size": len(header["initial"]), **header.get("datamodule", {})}
    return {**dict(leaves({**settings, "pool": pool})), **{f"data.{name}": value for name, value in known.items()}}


def _metric_of(history: History, named: Any, *, is_configured: bool) -> str | None:
    """Return the metric of a run's curve, or None if it has no curve.

    A configuration that names none means the test accuracy, which a run without test data lacks.
    """
    if named is not None:
        return printable(named)
    known = {name for round in history for name in round.metrics}
    if is_configured:
        return USUAL_METRICS[0] if USUAL_METRICS[0] in known else None
    return next((name for name in USUAL_METRICS if name in known), min(known, default=None))


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else printable(value)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: {error}"


def _checked(round: Round, before: list[Round]) -> Round:
    """Return a round with printable names, after checking its types and sizes."""
    figures: list[Any] = [*round.metrics.values(), *round.seconds.values(), *round.scores]
    counts: list[Any] = [round.labelled, round.validation_labels, *round.indices, *round.peak_bytes.values()]
    counts += [*round.corrected, *round.given_back]
    for value in round.details.values():
        figures += value if isinstance(value, list) else [value]
    if round.class_counts is not None:
        counts += [*round.class_counts, *round.class_counts.values()]
    are_right = all(isinstance(figure, int | float) for figure in figures) and all(
        isinstance(count, int) for count in counts
    )
    if are_right and any(map(is_absurd, [*figures, *counts])):
        raise ValueError(f"its round {printable(round.number)} has a number larger than any that a run records. {COPY}")
    if not are_right or len(round.scores) != len(round.indices) or (before and round.spent <= before[-1].spent):
        raise ValueError(f"its round {printable(round.number)} does not hold what a round holds. {COPY}")
    return replace(
        round,
        metrics={printable(name): value for name, value in round.metrics.items()},
        seconds={printable(name): value for name, value in round.seconds.items()},
        peak_bytes={printable(name): value for name, value in round.peak_bytes.items()},
        details={printable(name): value for name, value in round.details.items()},
    )
