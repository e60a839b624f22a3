"""Runs of one task, grouped by method and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_al.report.comparison import BASELINE, Method, Pair, baseline_of, common_mode, compare, compare_pairs
from lightning_al.report.direction import Mode, guess_mode
from lightning_al.report.recorded import LeftOut, RecordedRun
from lightning_al.report.runs import Run, group_runs
from lightning_al.report.settings import differing, of_task, tells_apart
from lightning_al.report.statistics import MOST_PAIRS

MOST_IN_TITLE = 3


@dataclass(frozen=True)
class Study:
    """The runs of one task, with the same data, model and training, by several methods and seeds.

    Attributes:
        title: Name of the data, with settings that tell the task from others of the report.
        metric: Metric of the curves.
        with_validation_labels: Whether validation labels count as well.
        recorded: The runs of each method, in the order of their seeds.
        curves: The learning curves of the same runs.
        between: Fewest and most labels that are compared.
        compared: Each method's runs that cover this range, the baseline first.
        differing: The settings in which the methods differ.
        mode: Whether less or more of the metric is better, or None if that is not known.
    """

    title: str
    metric: str
    with_validation_labels: bool
    recorded: dict[str, list[RecordedRun]]
    curves: dict[str, list[Run]]
    between: tuple[int, int]
    compared: list[Method]
    differing: list[str]
    mode: Mode | None = None

    @property
    def baseline(self) -> Method | None:
        """Random choice, if the others are compared with it."""
        return baseline_of(self.compared)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Comparisons of every two methods other than the baseline, but for those of `too_many_seeds`."""
        left_out = {*self.too_many_seeds, *([] if self.baseline is None else [self.baseline.name])}
        return compare_pairs([row for row in self.compared if row.name not in left_out])

    @property
    def too_many_seeds(self) -> list[str]:
        """The methods with more seeds than the exact test can take."""
        return list(dict.fromkeys(row.name for row in self.compared if len(row.all_runs) > MOST_PAIRS))

    @property
    def has_random_choice(self) -> bool:
        """Whether random choice is among the methods compared."""
        return bool(self.compared) and self.compared[0].acquisition == BASELINE

    @property
    def too_short(self) -> list[RecordedRun]:
        """The runs that are not compared, since they do not cover the range."""
        return [
            run
            for method, curves in self.curves.items()
            for run, curve in zip(self.recorded[method], curves, strict=True)
            if not _covers(curve, self.between)
        ]

    @property
    def num_runs(self) -> int:
        """Number of all runs."""
        return sum(map(len, self.recorded.values()))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all runs share."""
        runs = [run for same in self.recorded.values() for run in same]
        return {
            key: value for key, value in runs[0].settings.items() if all(run.settings.get(key) == value for run in runs)
        }

    @property
    def versions(self) -> dict[str, list[str]]:
        """The versions of each package that the finished runs used."""
        runs = [run for same in self.recorded.values() for run in same if run.versions]
        packages = dict.fromkeys(name for run in runs for name in run.versions)
        return {name: sorted({run.versions.get(name, "unknown") for run in runs}) for name in packages}


def make_studies(
    recorded: Sequence[RecordedRun],
    *,
    metric: str | None = None,
    with_validation_labels: bool = False,
    up_to: int | None = None,
    mode: Mode | None = None,
    chance: float | None = None,
) -> tuple[list[Study], list[LeftOut]]:
    """Group runs by task, and compare the methods of each task.

    Args:
        recorded: The runs.
        metric: Metric of the curves; by default the one that the runs of a task name.
        with_validation_labels: Whether to count validation labels as well.
        up_to: Most labels to compare; by default where the shortest finished run of the task ends, or the shortest run
            if none has finished.
        mode: Whether less or more of the metric is better; by default as the runs say, or else as the metric's name.
        chance: The height at which a diverged run counts; by default chance level, if it is known.

    Returns:
        The tasks, and the runs that are left out.

    Raises:
        ValueError: If no run has the metric, if runs of a task name different metrics, or if two runs with the same
            settings and seed differ.
    """
    known = sorted({name for run in recorded for name in run.metrics})
    if metric is not None and metric not in known:
        raise ValueError(f"No run has the metric {metric}. Choose one of: {', '.join(known) or 'none'}.")
    by_task: dict[str, list[RecordedRun]] = {}
    for run in recorded:
        by_task.setdefault(repr(sorted(of_task(run.settings).items())), []).append(run)
    titles = _titles([runs[0] for runs in by_task.values()])
    studies: list[Study] = []
    left_out: list[LeftOut] = []
    for title, runs in zip(titles, by_task.values(), strict=True):
        study = _study(runs, title, metric, with_validation_labels, up_to, left_out, mode, chance)
        if study is not None:
            studies.append(study)
    return studies, left_out


def _study(
    runs: list[RecordedRun],
    title: str,
    metric: str | None,
    with_validation_labels: bool,
    up_to: int | None,
    left_out: list[LeftOut],
    mode: Mode | None,
    chance: float | None,
) -> Study | None:
    own = sorted({run.metric for run in runs if run.metric is not None})
    if metric is None and len(own) > 1:
        common = set.intersection(*(run.metrics for run in runs))
        raise ValueError(
            f"The runs of {title} name different metrics: {', '.join(own)}. Choose one by --metric; all runs have: "
            f"{', '.join(sorted(common)) or 'none'}."
        )
    if metric is None and not own:
        left_out += [LeftOut(run.folder, "it has measured nothing") for run in runs]
        return None
    metric = own[0] if metric is None else metric
    curve_of: dict[int, Run] = {}
    for run in runs:
        try:
            curve_of[id(run)] = run.run(metric, with_validation_labels=with_validation_labels)
        except ValueError as error:
            left_out.append(LeftOut(run.folder, str(error)))
    there = _without_repeats([run for run in runs if id(run) in curve_of], left_out)
    if not there:
        return None
    recorded = _grouped(there)
    curves = {method: [curve_of[id(run)] for run in same] for method, same in recorded.items()}
    between = _between([(run, curve_of[id(run)]) for run in there], up_to)
    complete = {method: [curve for curve in same if _covers(curve, between)] for method, same in curves.items()}
    complete = {method: same for method, same in complete.items() if same}
    mode = mode or common_mode([curve_of[id(run)] for run in there]) or guess_mode(metric)
    return Study(
        title=title,
        metric=metric,
        with_validation_labels=with_validation_labels,
        recorded=recorded,
        curves=curves,
        between=between,
        compared=compare(complete, between=between, mode=mode, chance=chance) if complete else [],
        differing=differing([tells_apart(run.settings) for run in there]),
        mode=mode,
    )


def _grouped(runs: list[RecordedRun]) -> dict[str, list[RecordedRun]]:
    methods = group_runs(runs)
    return dict(sorted(methods.items(), key=lambda method: method[1][0].acquisition != BASELINE))


def _without_repeats(runs: list[RecordedRun], left_out: list[LeftOut]) -> list[RecordedRun]:
    """Leave out runs that another run with the same settings and seed continues, as with a larger budget.

    Raises:
        ValueError: If two such runs queried different points.
    """
    longest: dict[tuple[str, int, str], RecordedRun] = {}
    for run in sorted(runs, key=lambda run: len(run.history), reverse=True):
        key = run.name, run.seed, repr(sorted(tells_apart(run.settings).items()))
        other = longest.setdefault(key, run)
        if other is run:
            continue
        if _queried(run) != _queried(other)[: len(_queried(run))]:
            raise ValueError(
                f"Two runs of {run.name} have the seed {run.seed} and the same settings, but queried different points: "
                f"{other.folder} and {run.folder}. Leave one of them out."
            )
        left_out.append(LeftOut(run.folder, f"it is part of the run in {other.folder}"))
    kept = {id(run) for run in longest.values()}
    return [run for run in runs if id(run) in kept]


def _queried(run: RecordedRun) -> list[int]:
    return [index for round in run.history for index in round.indices]


def _between(runs: list[tuple[RecordedRun, Run]], up_to: int | None) -> tuple[int, int]:
    """Return the range of labels to compare; its low end is above its high end if the runs have no range in common."""
    finished = [curve for run, curve in runs if run.state == "finished"] or [curve for _, curve in runs]
    high = up_to or min(curve.labels[-1] for curve in finished)
    return max(curve.labels[0] for _, curve in runs), high


def _covers(curve: Run, between: tuple[int, int]) -> bool:
    return curve.labels[0] <= between[0] <= between[1] <= curve.labels[-1]


def _titles(runs: list[RecordedRun]) -> list[str]:
    """Name each task by its data, with some of the settings that differ where several tasks have the same data."""
    data = [str(run.settings.get("data._target_", run.settings.get("pool.data._target_", "One task"))) for run in runs]
    names = [name.split(".")[-1] for name in data]
    titles = []
    for name, run in zip(names, runs, strict=True):
        namesakes = [of_task(other.settings) for other, its in zip(runs, names, strict=True) if its == name]
        keys = differing(namesakes)[:MOST_IN_TITLE]
        titles.append(" ".join([name, *(f"{key}={run.settings.get(key)}" for key in keys)]))
    return [
        title if titles.count(title) == 1 else f"{title} ({titles[:place].count(title) + 1})"
        for place, title in enumerate(titles)
    ]
