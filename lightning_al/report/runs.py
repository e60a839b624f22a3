"""Runs, finished or still going, read from their folders. Reading writes nothing and runs no code of a folder.

The module stays whole: the functions read and check, field by field, what `Run` holds.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_al.report.curves import area_or_nan
from lightning_al.report.metric import USUAL, Mode, checked_mode, usual_metric
from lightning_al.report.people import Person, people_in
from lightning_al.report.settings import absurd_numbers, flat, read_config, settings_of_header
from lightning_al.run.files import LARGEST_TEXT, is_absurd, open_plain, read_json, replacing
from lightning_al.run.folder import CONFIG, COPY, ERROR, JOURNAL, LINES, SUMMARY
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal
from lightning_al.run.journal_reading import read_header, read_lines
from lightning_al.run.lock import InUseError
from lightning_al.run.printable import printable
from lightning_al.run.run_command import setting
from lightning_al.task.class_names import Classes

PACKAGES = ("lightning_al", "pytorch-lightning", "torch", "torchmetrics", "scikit-learn", "numpy")

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, sqlite3.Error, yaml.YAMLError)

State = Literal["finished", "going", "failed", "stopped"]


@dataclass(frozen=True)
class Run:
    """A run: its method, its learning curve, and what it queried.

    Attributes:
        name: Name of its method.
        acquisition: Class of the acquisition function.
        seed: Seed of the run; runs with the same seed are compared as a pair.
        metric: Name of the metric on the curve; empty where nothing was measured, and of a program's run as it is read,
            since a program names none.
        labels: Labels paid for at each recorded round.
        values: The metric after the fit with so many labels; none where nothing was measured.
        area: Normalised area under the curve, the endpoint; NaN if the run diverged.
        initial: Dataset indices labelled at the start.
        indices: Dataset indices queried after each round, in the order of choice.
        validation_labels: Number of validation labels that the run used as well.
        seconds: Wall time over all rounds.
        settings: All settings of the run, flat, by their dotted name.
        versions: Version of each package that the result depends on.
        mode: Whether less or more of the metric is better ("min" or "max"), if that was given.
        num_classes: Least number of classes that its training labels imply, or None if they are not class numbers.
        folder: Folder that the run was read from.
        state: `finished`; `going` in another process; `failed` as a cell of a sweep; or `stopped` before its end.
        history: The rounds; none if only the summary was read.
        classes: The names of classes by their numbers, as far as the journal has them.
        people: Who labelled, if the journal can be read and any answer names anybody.
    """

    name: str
    acquisition: str
    seed: int
    metric: str
    labels: list[int]
    values: list[float]
    area: float
    initial: list[int]
    indices: list[list[int]]
    validation_labels: int
    seconds: float
    settings: dict[str, Any]
    versions: dict[str, str]
    mode: Mode | None = None
    num_classes: int | None = None
    # Neither compared nor in a summary.
    folder: Path = field(default=Path(), compare=False)
    state: State = field(default="finished", compare=False)
    history: History = field(default_factory=History, compare=False, repr=False)
    classes: dict[int, str] = field(default_factory=dict, compare=False, repr=False)
    people: list[Person] = field(default_factory=list, compare=False, repr=False)

    @property
    def label_seconds(self) -> float:
        """How long the answers before the last fit took, in seconds, as far as they say it."""
        return self.history[-1].label_seconds if len(self.history) > 0 else 0.0

    @property
    def has_diverged(self) -> bool:
        """Whether the metric is NaN or infinite in some round."""
        return not all(map(isfinite, self.values))

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics of all rounds."""
        return {name for round in self.history for name in round.metrics}

    @classmethod
    def from_history(
        cls,
        history: History,
        *,
        name: str,
        acquisition: str,
        seed: int,
        metric: str,
        initial: Sequence[int],
        settings: Mapping[str, Any],
        mode: Mode | None = None,
    ) -> Run:
        """Make a run of its rounds, with the packages that are installed; the arguments are attributes of the run.

        Raises:
            KeyError: If no round has the metric; the message lists those there are.
        """
        run = cls._without_curve(
            history,
            name=name,
            acquisition=acquisition,
            seed=seed,
            metric=metric,
            initial=list(initial),
            settings=dict(settings),
            mode=mode,
            versions={package: version(package) for package in PACKAGES},
        )
        return run.on(metric)

    @classmethod
    def _without_curve(cls, history: History, **known: Any) -> Run:
        return cls(
            labels=[],
            values=[],
            area=nan,
            indices=[list(round.indices) for round in history],
            validation_labels=0,
            seconds=sum(sum(round.seconds.values()) for round in history),
            num_classes=max((label + 1 for round in history for label in round.class_counts or {}), default=None),
            history=history,
            **known,
        )

    def on(self, metric: str, *, with_validation_labels: bool = False) -> Run:
        """Return the run with the curve of a metric, whose counts may include validation labels.

        The run's mode is that of its own metric, and is left out with another one. Without a metric ("") there are the
        labels of all rounds, and no values.

        Raises:
            KeyError: If no round has the metric; the message lists those there are.
        """
        values = self.history.curve(metric)[1] if metric else []
        measured = {round.spent: round for round in self.history if not metric or metric in round.metrics}
        labels = [spent + with_validation_labels * round.validation_labels for spent, round in measured.items()]
        return replace(
            self,
            metric=metric,
            mode=self.mode if metric == self.metric else None,
            labels=labels,
            values=values,
            area=area_or_nan(labels, values) if metric else nan,
            validation_labels=0 if with_validation_labels else max(round.validation_labels for round in self.history),
        )

    def write(self, folder: Path) -> None:
        """Write the run into its folder as ``summary.json``, with null for NaN and infinity, which JSON lacks."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.compare}
        plain["values"] = [value if isfinite(value) else None for value in self.values]
        plain["area"] = self.area if isfinite(self.area) else None
        with replacing(folder / SUMMARY) as path:
            path.write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the summary of the run in a folder.

        Raises:
            FileNotFoundError: If no run has finished there.
            ValueError: If the file is not a whole summary.
        """
        path = folder / SUMMARY
        try:
            plain = read_json(path)
            names = [field.name for field in fields(cls) if field.compare]
            # An earlier version wrote neither of these two.
            known = {name: plain[name] for name in names if name in plain or name not in ("mode", "num_classes")}
            for name in ("name", "metric"):  # an earlier version wrote names that look like numbers as numbers
                known[name] = str(known[name]) if type(known[name]) in (int, float) else known[name]
            known["values"] = [nan if value is None else value for value in known["values"]]
            known["area"] = nan if known["area"] is None else known["area"]
            run = cls(**known, folder=folder)
            _check_summary(run)
            return run
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # not JSON, or not text
            reason = str(error).rstrip(".")
            raise ValueError(
                f"{path} is not the summary of a run: {type(error).__name__}: {reason}. Remove it and run again with "
                f"{setting('folder', str(folder))} to have it written anew."
            ) from error


@dataclass(frozen=True)
class LeftOut:
    """A folder whose run is not in the report, and the reason."""

    folder: Path
    reason: str


def load_runs(folder: Path) -> list[Run]:
    """Read the summaries of all finished runs in a folder and the folders below."""
    return [Run.read(path.parent) for path in sorted(folder.rglob(SUMMARY))]


def read_all(folders: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """Read every run in some folders and the folders below, and return those that could not be read with a reason.

    Raises:
        ValueError: If one of the paths is not a folder, or cannot be opened.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for folder in dict.fromkeys(found for top in folders for found in _run_folders(top, left_out)):
        try:
            run = read_run(folder)
        except RecursionError:
            left_out.append(LeftOut(folder, f"its files are nested too deeply. {COPY}"))
        except UNREADABLE as error:
            said = error if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: {error}"
            left_out.append(LeftOut(folder, printable(said, most=500)))
        else:
            if len(run.history) > 0:
                runs.append(run)
            else:
                left_out.append(LeftOut(folder, _failure(folder) or "it has no round yet"))
    return runs, left_out


def is_run_folder(folder: Path) -> bool:
    """Return whether the folder itself holds a run."""
    return any(os.path.lexists(folder / name) for name in (JOURNAL, LINES, SUMMARY))


def read_run(folder: Path) -> Run:
    """Read all that a run has recorded, or raise one of `UNREADABLE`; `Run.on` gives it the curve of a metric."""
    history, state, people = _read_rounds(folder)
    summary = Run.read(folder) if os.path.lexists(folder / SUMMARY) else None
    config = read_config(folder)
    metric: Any = None
    if config:
        settings = flat(config)
        acquisition = str(settings["acquisition._target_"]).split(".")[-1]
        name, seed, metric = settings.get("name", acquisition.lower()), settings["seed"], settings.get("metric")
    elif summary is not None:
        settings, acquisition = summary.settings, summary.acquisition
        name, seed, metric = summary.name, summary.seed, summary.metric
    else:
        header = read_header(folder)
        settings = settings_of_header(header)
        acquisition = str(settings["acquisition"]).split("(")[0].split(".")[-1]
        name, seed = acquisition.lower(), header["seed"]
    if not isinstance(seed, int):
        raise ValueError(f"its seed is {seed!r}, which is not a number. {COPY}")
    if metric is None and config:
        known = {name for round in history for name in round.metrics}
        # A configuration that names none means the test accuracy, or without test data that of the audit.
        metric = usual_metric(known & {USUAL[0], USUAL[-1]})
    versions = {} if summary is None else summary.versions
    mode = config.get("mode", summary and summary.mode)
    return Run._without_curve(
        history,
        name=printable(name),
        acquisition=printable(acquisition),
        seed=seed,
        metric="" if metric is None else printable(metric),
        initial=[],
        settings={
            printable(key): value if isinstance(value, bool | int | float | None) else printable(value)
            for key, value in settings.items()
        },
        versions={printable(package): printable(number) for package, number in versions.items()},
        mode=checked_mode(mode, who=CONFIG if config else SUMMARY),
        folder=folder,
        state=state,
        classes=_class_names(folder),
        people=people,
    )


def _class_names(folder: Path) -> dict[int, str]:
    with suppress(*UNREADABLE):  # of classes that cannot be read, the numbers are shown
        names = Classes.from_dict(read_header(folder).get("classes")).names
        return {int(number): printable(name) for number, name in names.items()}
    return {}


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
        return f"it failed, and {ERROR} cannot be read: {error.strerror if isinstance(error, OSError) else error}"


def _read_rounds(folder: Path) -> tuple[History, State, list[Person]]:
    is_going = False
    people: list[Person] = []
    try:
        records = Journal.read(folder)
        rounds, people = records.history, people_in(records)
    except FileNotFoundError:
        rounds = read_lines(folder)
    except InUseError:
        # The process that runs it holds the journal, but replaces these lines beside it after each round.
        rounds = read_lines(folder) if (folder / LINES).exists() else History()
        is_going = True
    history = History(map(_printable_round, rounds))
    for before, after in pairwise(history):
        if after.spent < before.spent:  # as many where every point of a query was skipped
            raise ValueError(f"its round {after.number} does not hold what a round holds. {COPY}")
    if history.done:
        return history, "finished", people
    return history, "going" if is_going else "failed" if (folder / ERROR).exists() else "stopped", people


def _printable_round(round: Round) -> Round:
    """Return a round with printable names, after checking the sizes of its numbers."""
    if any(absurd_numbers(round.to_dict())):
        raise ValueError(f"its round {round.number} has a number larger than any that a run records. {COPY}")
    fields_with_names = ("metrics", "seconds", "peak_bytes", "details", "audit")
    named: dict[str, Any] = {
        field: {printable(name): value for name, value in getattr(round, field).items()} for field in fields_with_names
    }
    return replace(round, **named)


def _check_summary(run: Run) -> None:
    """Refuse values that no run writes."""
    counts: list[Any] = [run.seed, run.validation_labels, *run.labels, *run.initial]
    counts += [index for query in run.indices for index in query]
    figures: list[Any] = [run.area, run.seconds, *run.values]
    texts: list[Any] = [run.name, run.acquisition, run.metric, *dict(run.settings)]
    texts += [text for pair in run.versions.items() for text in pair]
    for kind, found in ((int, counts), (int | float, figures), (str, texts)):
        wrong = [value for value in found if not isinstance(value, kind) or is_absurd(value)]
        if wrong:
            raise ValueError(f"it holds {wrong[0]!r:.80}. {COPY}")
    if len(run.labels) != len(run.values) or not run.labels:
        raise ValueError(f"it has {len(run.labels)} labels and {len(run.values)} values. Put back a copy from before.")
