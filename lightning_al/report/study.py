"""Runs of one task, grouped by method and compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_al.report.arguments import spread
from lightning_al.report.comparison import BASELINE, Method, Pair, baseline_of, compare, compare_pairs, mode_of
from lightning_al.report.metric import USUAL, Mode, usual_metric
from lightning_al.report.repeats import without_repeats
from lightning_al.report.runs import LeftOut, Run
from lightning_al.report.settings import differing, is_of_program, tells_apart
from lightning_al.report.statistics import MOST_PAIRS
from lightning_al.report.tasks import make_tasks


@dataclass(frozen=True)
class Study:
    """The runs of one task, with the same data, model and training, by several methods and seeds.

    Attributes:
        title: Name of the data, with settings that tell the task from others of the report.
        metric: Metric of the curves; empty if no run measured the one it names, so that there are no curves.
        with_validation_labels: Whether validation labels count as well.
        methods: The runs of each method, random choice first, in the order of their seeds.
        between: Fewest and most labels that are compared.
        compared: Each method's runs that cover this range, the baseline first.
        differing: The settings in which the methods differ.
        mode: Whether less or more of the metric is better, or None if that is not known.
        by_seed: The settings in which the runs differ only because their seeds do, as where each draws its data.
    """

    title: str
    metric: str
    with_validation_labels: bool
    methods: dict[str, list[Run]]
    between: tuple[int, int]
    compared: list[Method]
    differing: list[str]
    mode: Mode | None = None
    by_seed: frozenset[str] = frozenset()

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for same in self.methods.values() for run in same]

    @property
    def common_range(self) -> tuple[int, int]:
        """The range of labels that all runs have, as compared by default; its low end is above its high end if none."""
        return _between(self.runs, None)

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

    def is_too_short(self, run: Run) -> bool:
        """Return whether a run is not compared, since it does not cover the range."""
        return not _covers(run, self.between)

    @property
    def too_short(self) -> list[Run]:
        """The runs that are not compared."""
        return [run for run in self.runs if self.is_too_short(run)]

    @cached_property
    def class_names(self) -> dict[int, str]:
        """The names of classes by their numbers, where the runs that have a name of a class agree on it."""
        found: dict[int, set[str]] = defaultdict(set)
        for run in self.runs:
            for number, name in run.classes.items():
                found[number].add(name)
        return {number: next(iter(names)) for number, names in found.items() if len(names) == 1}

    @property
    def knows_label_seconds(self) -> bool:
        """Whether any answer of any run says how long it took."""
        return any(run.label_seconds > 0 for run in self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all runs share."""
        runs = self.runs
        return {
            key: value for key, value in runs[0].settings.items() if all(run.settings.get(key) == value for run in runs)
        }

    @property
    def versions(self) -> dict[str, list[str]]:
        """The versions of each package that the finished runs used."""
        runs = [run for run in self.runs if run.versions]
        packages = dict.fromkeys(name for run in runs for name in run.versions)
        return {name: sorted({run.versions.get(name, "unknown") for run in runs}) for name in packages}


def make_studies(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    with_validation_labels: bool = False,
    up_to: int | None = None,
    mode: Mode | None = None,
    chance: float | None = None,
) -> tuple[list[Study], list[LeftOut]]:
    """Group runs by task, and compare the methods of each task.

    Args:
        runs: The runs, as `read_all` returns them.
        metric: Metric of the curves; by default the one that the runs of a task name.
        with_validation_labels: Whether to count validation labels as well.
        up_to: Most labels to compare; by default where the shortest finished run of the task ends, or the shortest run
            if none has finished.
        mode: Whether less or more of the metric is better; by default as the runs say, or else as the metric's name.
        chance: The height at which a diverged run counts; by default chance level, if it is known.

    Returns:
        The tasks, and the runs that are left out.

    Raises:
        ValueError: If no run has the metric, if runs of a task name different metrics, or if every task has two
            runs with the same settings and seed that differ; other tasks are reported without such a task.
    """
    known = sorted({name for run in runs for name in run.metrics})
    if metric is not None and metric not in known:
        raise ValueError(f"No run has the metric {metric}. Choose one of: {', '.join(known) or 'none'}.")
    studies: list[Study] = []
    left_out: list[LeftOut] = []
    clashes: list[ValueError] = []
    for task in make_tasks(runs):
        title, same = task.title, task.runs
        chosen = _own_metric(same, title) if metric is None else metric
        if metric is None and not any(chosen in run.metrics for run in same):
            # A run that was to be tested, and had no test data. Without an audit there are only no curves.
            chosen = usual_metric({USUAL[0], USUAL[-1]}.intersection(*(run.metrics for run in same)))
        measured = _measured(same, chosen, left_out) if chosen else same
        try:
            there = without_repeats(measured, left_out)
        except ValueError as error:
            clashes.append(error)
            left_out += [LeftOut(run.folder, f"in its task, two runs clash. {error}") for run in measured]
            continue
        if not there:
            continue
        curves = [run.on(chosen, with_validation_labels=with_validation_labels) for run in there]
        methods = dict(sorted(group_runs(curves).items(), key=lambda method: method[1][0].acquisition != BASELINE))
        between = _between(curves, up_to)
        covering = {name: [run for run in same if _covers(run, between)] for name, same in methods.items()}
        covering = {name: same for name, same in covering.items() if same}
        known_mode = mode_of(curves, mode) if chosen else None
        study = Study(
            title=title,
            metric=chosen,
            with_validation_labels=with_validation_labels,
            methods=methods,
            between=between,
            compared=compare(covering, between=between, mode=known_mode, chance=chance) if covering and chosen else [],
            differing=differing([tells_apart(run.settings) for run in curves]),
            mode=known_mode,
            by_seed=task.by_seed,
        )
        studies.append(study)
    if clashes and not studies:
        raise clashes[0]
    return studies, left_out


def group_runs(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by method, in the order of their seeds.

    If runs of one name have different settings, these complete the name. Settings that make no other method do not
    count: seeds, budgets, paths and what is only shown. A setting is named by the last part of its dotted name where
    that is unique. Of an object that a program's run describes as text, the arguments that differ are named.

    Raises:
        ValueError: If two runs of a method have the same seed.
    """
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    methods: dict[str, list[Run]] = defaultdict(list)
    for name, namesakes in by_name.items():
        namesakes.sort(key=lambda run: run.seed)
        for run, method in zip(namesakes, _names(name, [run.settings for run in namesakes]), strict=True):
            methods[method].append(run)
    for method, same in methods.items():
        seeds = [run.seed for run in same]
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"Two runs of {method} have the same seed and settings; their seeds are {seeds}. Remove all but one of "
                "a seed."
            )
    return dict(methods)


def _names(name: str, several: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of the method of each run of one name."""
    whole = [tells_apart(settings) for settings in several]
    long = _completed(name, whole, differing(whole))
    if not all(map(is_of_program, whole)):  # a configuration has each argument as a setting of its own
        return long
    parts = spread(whole)
    short = _completed(name, parts, differing(parts))
    # The short names must tell apart all that the long ones do.
    return short if len(set(short)) == len(set(long)) == len({*zip(short, long, strict=True)}) else long


def _completed(name: str, several: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    short = _short(keys)
    return [" ".join([name, *(f"{short[key]}={settings.get(key)}" for key in keys)]) for settings in several]


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each dotted name, or all of it where the last part is ambiguous."""
    last = {key: key.split(".")[-1] for key in keys}
    alike = Counter(last.values())
    return {key: last[key] if alike[last[key]] == 1 and last[key] != "_target_" else key for key in keys}


def _own_metric(runs: Sequence[Run], title: str) -> str:
    """Return the metric that the runs of a task name, or else one that all have; it is empty if they measured nothing.

    Runs of programs name none.
    """
    own = sorted({run.metric for run in runs} - {""})
    if len(own) > 1:
        common = set.intersection(*(run.metrics for run in runs))
        raise ValueError(
            f"The runs of {title} name different metrics: {', '.join(own)}. Choose one by --metric; all runs have: "
            f"{', '.join(sorted(common)) or 'none'}."
        )
    measured = [run.metrics for run in runs if run.metrics and is_of_program(run.settings)]
    if own or not measured:
        return own[0] if own else ""
    # Without a metric that all have, those that lack it are left out.
    return usual_metric(set.intersection(*measured) or set.union(*measured))


def _measured(runs: Sequence[Run], metric: str, left_out: list[LeftOut]) -> list[Run]:
    """Leave out runs without the metric."""
    for run in runs:
        if not run.metrics:
            reason = "it measured nothing, and others did. Make a report of this folder alone to see what it asked."
            left_out.append(LeftOut(run.folder, reason))
        elif metric not in run.metrics:
            known = ", ".join(sorted(run.metrics))
            left_out.append(LeftOut(run.folder, f"it has no metric {metric}. Choose by --metric one of: {known}."))
    return [run for run in runs if metric in run.metrics]


def _between(runs: Sequence[Run], up_to: int | None) -> tuple[int, int]:
    """Return the range of labels to compare; its low end is above its high end if the runs have no range in common."""
    finished = [run for run in runs if run.state == "finished"] or runs
    return max(run.labels[0] for run in runs), min(run.labels[-1] for run in finished) if up_to is None else up_to


def _covers(run: Run, between: tuple[int, int]) -> bool:
    return run.labels[0] <= between[0] <= between[1] <= run.labels[-1]
