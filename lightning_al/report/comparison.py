"""Methods compared over seeds: each with random choice, and every two with each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import isnan, nan
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd

from lightning_al.report.curves import area_or_nan
from lightning_al.report.metric import Mode, chance_level, guess_mode
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL, PairedDifference, holm, paired_difference

BASELINE = "Random"


@dataclass(frozen=True)
class StandIn:
    """What a diverged run counts as.

    Attributes:
        height: The area that is counted for it: chance level, or the area of the worst other run if that is worse.
        chance: Chance level.
        num_classes: The number of classes that chance level follows from, or None if chance level was given.
    """

    height: float
    chance: float
    num_classes: int | None

    @property
    def said(self) -> str:
        """Where the height comes from, in words."""
        of_classes = "" if self.num_classes is None else f" of {self.num_classes} classes"
        if self.height == self.chance:
            return f"chance level{of_classes}"
        return f"the worst of the other runs, since chance level{of_classes}, {self.chance:.3f}, would be better"


@dataclass(frozen=True)
class Method:
    """The runs of one method, summed up.

    A method with diverged runs has two rows. The first is incomplete: it leaves these runs out and has no difference.
    The second counts them at chance level, and is there only where that is known.

    Attributes:
        name: Name of the method.
        runs: The runs that count, in the order of their seeds.
        areas: Area under each run's curve, over the range of labels that all runs of the comparison have.
        difference: Its paired difference to the baseline. None for the baseline itself, without a baseline, without a
            common seed, and where one of the two is incomplete.
        p_sign_flip_holm: Holm-corrected p of the sign-flip test.
        p_t_holm: Holm-corrected p of the t test.
        n_too_small: Whether no outcome of so few pairs could bring the corrected sign-flip test to .05.
        diverged: The runs whose metric is NaN or infinite within the range.
        stand_in: What diverged runs count as, or None where they are not among `runs`.
    """

    name: str
    runs: list[Run]
    areas: list[float]
    difference: PairedDifference | None = None
    p_sign_flip_holm: float | None = None
    p_t_holm: float | None = None
    n_too_small: bool = False
    diverged: list[Run] = field(default_factory=list)
    stand_in: StandIn | None = None

    @property
    def title(self) -> str:
        """The name, with the height that diverged runs count at."""
        return self.name if self.stand_in is None else f"{self.name}, diverged at {self.stand_in.height:.3f}"

    @property
    def is_complete(self) -> bool:
        """Whether all of the method's runs count."""
        return self.stand_in is not None or not self.diverged

    @property
    def all_runs(self) -> list[Run]:
        """All runs of the method, in the order of their seeds."""
        return self.runs if self.is_complete else sorted([*self.runs, *self.diverged], key=lambda run: run.seed)

    @property
    def num_diverged(self) -> str:
        """How many of the method's runs diverged, in words; empty where none did."""
        return f"{len(self.diverged)} of {len(self.all_runs)} diverged" if self.diverged else ""

    @property
    def acquisition(self) -> str:
        """Class of the acquisition function."""
        return self.all_runs[0].acquisition

    @property
    def mean_area(self) -> float:
        """Mean area over the runs that count; NaN where all diverged."""
        return mean(self.areas) if self.areas else nan

    @property
    def sd_area(self) -> float | None:
        """Standard deviation of the area over the runs, or None for a single one."""
        return stdev(self.areas) if len(self.areas) > 1 else None

    @property
    def height(self) -> str:
        """Mean and standard deviation of the area as text, in brackets where runs are missing."""
        if not self.areas:
            return "none"
        sd = "" if self.sd_area is None else f" ± {self.sd_area:.3f}"
        shown = f"{self.mean_area:.3f}{sd}"
        return shown if self.is_complete else f"({shown})"

    def mean_curve(self) -> tuple[list[int], list[float], list[float]]:
        """Return the label counts that all runs recorded, with the metric's mean and standard deviation.

        A label count at which a run diverged is left out, also beyond the range that is compared.
        """
        curves = [pd.Series(run.values, run.labels, dtype=float) for run in self.runs]
        values = pd.DataFrame(dict(enumerate(curves))).replace([np.inf, -np.inf], nan).dropna()
        return values.index.tolist(), values.mean(axis=1).tolist(), values.std(axis=1).fillna(0.0).tolist()

    def over(self, seeds: Collection[int]) -> Method:
        """Return the method with its runs of some seeds alone, compared with nothing."""
        kept = [(run, area) for run, area in zip(self.runs, self.areas, strict=True) if run.seed in seeds]
        return Method(
            self.name,
            [run for run, _ in kept],
            [area for _, area in kept],
            diverged=[run for run in self.diverged if run.seed in seeds],
            stand_in=self.stand_in,
        )

    def minus(self, other: Method) -> list[float]:
        """Return the difference of the area to another method's, for each seed that both have."""
        return [one - another for one, another in self._pairs(other)]

    def against(self, other: Method) -> PairedDifference | None:
        """Compare the method with another one over the seeds that both have, or return None where there is none."""
        pairs = self._pairs(other)
        return paired_difference(*zip(*pairs, strict=True)) if pairs else None

    def _pairs(self, other: Method) -> list[tuple[float, float]]:
        theirs = {run.seed: area for run, area in zip(other.runs, other.areas, strict=True)}
        areas = zip(self.runs, self.areas, strict=True)
        return [(area, theirs[run.seed]) for run, area in areas if run.seed in theirs]


@dataclass(frozen=True)
class Pair:
    """Two methods compared over the seeds that both have.

    Attributes:
        method: Title of the one method.
        other: Title of the method that it is compared with.
        difference: How much higher the one is than the other.
        p_sign_flip_holm: P of the sign-flip test, Holm-corrected for all pairs of the comparison.
        p_t_holm: P of the t test, Holm-corrected.
        n_too_small: Whether no outcome of so few seeds could bring the corrected sign-flip test to .05.
    """

    method: str
    other: str
    difference: PairedDifference
    p_sign_flip_holm: float
    p_t_holm: float
    n_too_small: bool


def compare(
    methods: Mapping[str, Sequence[Run]],
    *,
    between: tuple[int, int] | None = None,
    mode: Mode | None = None,
    chance: float | None = None,
) -> list[Method]:
    """Compare methods by the area under their learning curves, and with random choice where that is one of them.

    Args:
        methods: The runs of each method, by its name.
        between: Fewest and most labels to compare; by default all that every run has.
        mode: Whether less or more of the metric is better; by default what the runs say, or else the metric's name.
        chance: The height at which a diverged run counts; by default chance level, where the metric's name and the
            number of classes tell it. Where the worst other run is worse than that, it counts as that run does.

    Returns:
        The methods in the order given, but the baseline first. A method with diverged runs is followed by a second row
        in which these count. Of several methods that are random choice, the baseline is the one that has the most seeds
        in common with the others.

    Raises:
        ValueError: If the runs have different metrics, no label count in common, or contradicting modes.
    """
    runs = [run for same in methods.values() for run in same]
    metrics = sorted({run.metric for run in runs})
    between = between or (max(run.labels[0] for run in runs), min(run.labels[-1] for run in runs))
    if len(metrics) > 1 or between[0] > between[1]:
        ranges = sorted({(run.labels[0], run.labels[-1]) for run in runs})
        raise ValueError(
            "A comparison expects runs with one metric and overlapping curves, but got the metrics "
            f"{', '.join(metrics)} and curves over {', '.join(f'{low} to {high}' for low, high in ranges)} labels. "
            "Compare runs of the same task."
        )
    rows = [_summed_up(name, same, between) for name, same in methods.items()]
    counted_as = stand_in(
        metrics[0],
        [area for row in rows for area in row.areas],
        mode_of(runs, mode),
        chance=chance,
        num_classes=max((run.num_classes for run in runs if run.num_classes is not None), default=None),
    )
    baselines = [row for row in rows if row.acquisition == BASELINE]
    if not baselines:
        return [both for row in rows for both in _both(row, counted_as)]
    first = max(baselines, key=lambda row: _num_pairs(row, rows))
    of_baseline = _both(first, counted_as)
    others = [both for row in rows if row is not first for both in _both(row, counted_as)]
    return [*of_baseline, *(with_differences(others, of_baseline[-1]) if of_baseline[-1].is_complete else others)]


def with_differences(rows: Sequence[Method], baseline: Method) -> list[Method]:
    """Return methods with their difference to a complete one, with p values Holm-corrected for all of them.

    Args:
        rows: The methods; those that are not complete stay as they are.
        baseline: The method that they are compared with.
    """
    found = [replace(row, difference=row.against(baseline)) if row.is_complete else row for row in rows]
    corrected = iter(_corrected([row.difference for row in found if row.difference is not None]))
    return [row if row.difference is None else replace(row, **next(corrected)) for row in found]


def compare_pairs(methods: Sequence[Method]) -> list[Pair]:
    """Compare every two methods that have a seed in common, with p values Holm-corrected for all of these pairs.

    Args:
        methods: The methods, as `compare` returns them. A method with diverged runs is compared by its second row, or
            not at all where it has none.

    >>> def run(name: str, seed: int, value: float) -> Run:
    ...     return Run(name, name, seed, "acc", [10, 20], [value, value], value, [], [], 0, 0.0, {}, {})
    >>> heights = {"bald": [0.8, 0.7], "entropy": [0.5, 0.5]}
    >>> runs = {name: [run(name, seed, value) for seed, value in enumerate(heights[name])] for name in heights}
    >>> [pair] = compare_pairs(compare(runs))
    >>> pair.method, pair.other, round(pair.difference.mean, 3), pair.difference.n
    ('entropy', 'bald', -0.25, 2)
    """
    complete = {row.name: row for row in methods if row.is_complete}
    pairs = [(one.title, other.title, one.against(other)) for other, one in combinations(complete.values(), 2)]
    found = [(one, other, difference) for one, other, difference in pairs if difference is not None]
    corrected = _corrected([difference for *_, difference in found])
    return [Pair(*pair, **p) for pair, p in zip(found, corrected, strict=True)]


def stand_in(
    metric: str,
    heights: Iterable[float],
    mode: Mode | None,
    *,
    chance: float | None = None,
    num_classes: int | None = None,
) -> StandIn | None:
    """Return what a diverged run counts as, or None if chance level or the metric's direction is not known.

    It never counts as better than another run, whose heights are given: a network that is sure of wrong answers has a
    loss above chance level.

    >>> stand_in("test_acc", [0.8, 0.9], "max", num_classes=10).height
    0.1
    >>> stand_in("test_loss", [1.2, 3.5], "min", num_classes=10).height
    3.5
    """
    level = chance_level(metric, num_classes) if chance is None else chance
    if level is None or mode is None:
        return None
    known = [level, *heights]
    return StandIn(max(known) if mode == "min" else min(known), level, None if chance is not None else num_classes)


def mode_of(runs: Sequence[Run], given: Mode | None = None) -> Mode | None:
    """Return whether less or more of runs' metric is better: as given, or as they say, or else as its name says.

    Raises:
        ValueError: If no mode is given and the runs contradict each other.
    """
    said = {run.mode for run in runs if run.mode is not None}
    if given is None and len(said) > 1:
        raise ValueError(
            f"Some runs say that less of the metric `{runs[0].metric}` is better, and others that more is. Give one "
            "`mode` for all: min or max."
        )
    return given or next(iter(said), None) or guess_mode(runs[0].metric)


def baseline_of(rows: Sequence[Method]) -> Method | None:
    """Return the row that the others were compared with: random choice, with all of its runs."""
    if not rows or rows[0].acquisition != BASELINE:
        return None
    return next((row for row in rows[:2] if row.name == rows[0].name and row.is_complete), None)


def _summed_up(name: str, runs: Sequence[Run], between: tuple[int, int]) -> Method:
    areas = [(run, area_or_nan(run.labels, run.values, between=between)) for run in runs]
    return Method(
        name,
        [run for run, area in areas if not isnan(area)],
        [area for _, area in areas if not isnan(area)],
        diverged=[run for run, area in areas if isnan(area)],
    )


def _both(row: Method, counted_as: StandIn | None) -> list[Method]:
    """Return a row, followed by the one in which all runs count if it is incomplete and can be completed."""
    if row.is_complete or counted_as is None:
        return [row]
    area_of = {run.seed: area for run, area in zip(row.runs, row.areas, strict=True)}
    runs = row.all_runs
    areas = [area_of.get(run.seed, counted_as.height) for run in runs]
    return [row, replace(row, runs=runs, areas=areas, stand_in=counted_as)]


def _num_pairs(baseline: Method, rows: Sequence[Method]) -> int:
    seeds = {run.seed for run in baseline.all_runs}
    return sum(run.seed in seeds for row in rows for run in row.all_runs)


def _corrected(differences: Sequence[PairedDifference]) -> list[dict[str, Any]]:
    """Return the p values of several differences, Holm-corrected, and whether there are too few pairs for a test."""
    sign_flip = holm([difference.p_sign_flip for difference in differences])
    t = holm([difference.p_t for difference in differences])
    # A corrected p never falls as another p rises, so that none could be smaller than these.
    smallest = holm([difference.smallest_p for difference in differences])
    return [
        {"p_sign_flip_holm": exact, "p_t_holm": of_t, "n_too_small": least > LEVEL}
        for exact, of_t, least in zip(sign_flip, t, smallest, strict=True)
    ]
