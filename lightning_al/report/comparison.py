"""Several methods side by side, each run with several seeds, against random choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan, nan
from pathlib import Path
from statistics import mean, stdev

from lightning_al.report.csv_tables import write_table
from lightning_al.report.curves import area_or_nan
from lightning_al.report.direction import Mode
from lightning_al.report.divergence import StandIn, stand_in
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL, PairedDifference, holm, paired_difference

BASELINE = "Random"


@dataclass(frozen=True)
class Method:
    """What the runs of one method come to.

    A method of which runs diverged has two rows: one that is incomplete, without these runs and without a difference,
    and, where chance level is known, one in which they count at that height.

    Attributes:
        name: Name of the method.
        runs: The runs that count here, in the order of their seeds.
        areas: Area under each run's curve, over the range of labels that all runs of the comparison have.
        difference: How much higher than the baseline it is over common seeds; None for the baseline itself, where there
            is none, or where one of the two is incomplete.
        p_sign_flip_holm: P of the sign-flip test, corrected for the number of methods compared.
        p_t_holm: P of the t test, likewise.
        n_too_small: Whether there are so few pairs that the corrected sign-flip test cannot reach .05, whatever the
            runs give.
        diverged: The runs whose metric is NaN or infinite within that range.
        stand_in: What these count as, or None where they are not among `runs`.
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
        """The name, and what diverged runs count as where they do."""
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
        """How many of the method's runs diverged, in words; nothing where none did."""
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
        """Mean and standard deviation of the area, as a table shows them; in brackets where runs are missing."""
        if not self.areas:
            return "none"
        sd = "" if self.sd_area is None else f" ± {self.sd_area:.3f}"
        shown = f"{self.mean_area:.3f}{sd}"
        return shown if self.is_complete else f"({shown})"

    def mean_curve(self) -> tuple[list[int], list[float], list[float]]:
        """Return the numbers of labels that all runs recorded, with the mean of the metric and its deviation.

        A round in which a run diverged, be it beyond the range that is compared, is none that all recorded.
        """
        points = [zip(run.labels, run.values, strict=True) for run in self.runs]
        curves = [{count: value for count, value in run if isfinite(value)} for run in points]
        labels = [count for count in self.runs[0].labels if all(count in curve for curve in curves)] if curves else []
        values = [[curve[count] for curve in curves] for count in labels]
        return (
            labels,
            [mean(heights) for heights in values],
            [stdev(heights) if len(heights) > 1 else 0.0 for heights in values],
        )

    def minus(self, baseline: Method) -> list[float]:
        """Return the difference of the area to the baseline's for each seed that both have."""
        return [one - other for one, other in _pairs(self, baseline)]


def compare(
    methods: Mapping[str, Sequence[Run]],
    *,
    between: tuple[int, int] | None = None,
    mode: Mode | None = None,
    chance: float | None = None,
) -> list[Method]:
    """Compare methods by the area under their curves, and with random choice where one of them is that.

    Args:
        methods: The runs of each method, by its name.
        between: Fewest and most labels of the curves to compare; by default all that every run has.
        mode: Whether less or more of the metric is better; by default what the runs say, or else the metric's name.
        chance: The height that a run which diverged counts at; by default chance level, where name of the metric and
            number of classes tell it. Where it is better than the worst run that did not diverge, it counts as that.

    Returns:
        The methods in the order given, the baseline first, and after each method of which runs diverged a second row in
        which these count. Where several are random choice, the baseline is the one that has the most seeds in common
        with the others.

    Raises:
        ValueError: If the runs' metrics differ, if their curves have no label count in common, or if they say otherwise
            of whether less or more of the metric is better.
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
        mode=mode or common_mode(runs),
        chance=chance,
        num_classes=max((run.num_classes for run in runs if run.num_classes is not None), default=None),
    )
    baselines = [row for row in rows if row.acquisition == BASELINE]
    if not baselines:
        return [both for row in rows for both in _both(row, counted_as)]
    first = max(baselines, key=lambda row: _num_pairs(row, rows))
    of_baseline = _both(first, counted_as)
    others = [both for row in rows if row is not first for both in _both(row, counted_as)]
    if of_baseline[-1].is_complete:
        others = [_against(row, of_baseline[-1]) if row.is_complete else row for row in others]
    return [*of_baseline, *_corrected(others)]


def common_mode(runs: Sequence[Run]) -> Mode | None:
    """Return what runs say of whether less or more of their metric is better, or None where none of them says it.

    Raises:
        ValueError: If some say the one, and some the other.
    """
    said = {run.mode for run in runs if run.mode is not None}
    if len(said) > 1:
        raise ValueError(
            f"Some runs say that less of the metric `{runs[0].metric}` is better, and others that more is. Give one "
            "`mode` for all: min or max."
        )
    return said.pop() if said else None


def baseline_of(rows: Sequence[Method]) -> Method | None:
    """Return the row that others were compared with: random choice, with all of its runs."""
    if not rows or rows[0].acquisition != BASELINE:
        return None
    return next((row for row in rows[:2] if row.name == rows[0].name and row.is_complete), None)


def _summed_up(name: str, runs: Sequence[Run], between: tuple[int, int]) -> Method:
    areas = [area_or_nan(run.labels, run.values, between=between) for run in runs]
    return Method(
        name,
        [run for run, area in zip(runs, areas, strict=True) if not isnan(area)],
        [area for area in areas if not isnan(area)],
        diverged=[run for run, area in zip(runs, areas, strict=True) if isnan(area)],
    )


def _both(row: Method, counted_as: StandIn | None) -> list[Method]:
    """Return a row, and after it, if it is incomplete and can be completed, the one in which all of its runs count."""
    if row.is_complete or counted_as is None:
        return [row]
    area_of = {run.seed: area for run, area in zip(row.runs, row.areas, strict=True)}
    runs = row.all_runs
    areas = [area_of.get(run.seed, counted_as.height) for run in runs]
    return [row, replace(row, runs=runs, areas=areas, stand_in=counted_as)]


def _num_pairs(baseline: Method, rows: Sequence[Method]) -> int:
    seeds = {run.seed for run in baseline.all_runs}
    return sum(run.seed in seeds for row in rows for run in row.all_runs)


def _pairs(row: Method, baseline: Method) -> list[tuple[float, float]]:
    theirs = {run.seed: area for run, area in zip(baseline.runs, baseline.areas, strict=True)}
    return [(area, theirs[run.seed]) for run, area in zip(row.runs, row.areas, strict=True) if run.seed in theirs]


def _against(row: Method, baseline: Method) -> Method:
    pairs = _pairs(row, baseline)
    return replace(row, difference=paired_difference(*zip(*pairs, strict=True))) if pairs else row


def _corrected(rows: Sequence[Method]) -> list[Method]:
    """Return rows with the p values of their differences corrected for being several."""
    compared = [row.difference for row in rows if row.difference is not None]
    sign_flip = iter(holm([difference.p_sign_flip for difference in compared]))
    t = iter(holm([difference.p_t for difference in compared]))
    # None of them could be smaller, since a corrected p never falls as another p rises.
    smallest = iter(holm([difference.smallest_p for difference in compared]))
    return [
        row
        if row.difference is None
        else replace(row, p_sign_flip_holm=next(sign_flip), p_t_holm=next(t), n_too_small=next(smallest) > LEVEL)
        for row in rows
    ]


def write_csv(methods: Sequence[Method], path: Path) -> None:
    """Write the comparison as a table, one method a line; what there is not is left empty."""
    write_table([comparison_row(row) for row in methods], path)


def comparison_row(row: Method) -> dict[str, object]:
    """Return what a method comes to, under the names of the columns."""
    plain: dict[str, object] = {
        "method": row.title,
        "runs": len(row.runs),
        "diverged": len(row.diverged),
        "diverged_counted_at": None if row.stand_in is None else row.stand_in.height,
        "area_mean": row.mean_area if row.areas else None,
        "area_sd": row.sd_area,
    }
    if row.difference is None:
        return plain
    return {
        **plain,
        "pairs": row.difference.n,
        "difference": row.difference.mean,
        "ci95_low": row.difference.low,
        "ci95_high": row.difference.high,
        "p_sign_flip": row.difference.p_sign_flip,
        "p_sign_flip_holm": row.p_sign_flip_holm,
        "p_t": row.difference.p_t,
        "p_t_holm": row.p_t_holm,
        "n_too_small": row.n_too_small,
    }
