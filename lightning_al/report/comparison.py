"""Several methods side by side, each run with several seeds, against random choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from lightning_al.report.csv_tables import write_table
from lightning_al.report.curves import area_under_curve
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL, PairedDifference, holm, paired_difference

BASELINE = "Random"


@dataclass(frozen=True)
class Method:
    """What the runs of one method come to.

    Attributes:
        name: Name of the method.
        runs: Its runs, in the order of their seeds.
        areas: Area under each run's curve, over the range of labels that all runs of the comparison have.
        difference: How much higher than the baseline it is over common seeds; None for the baseline itself, or where
            there is none.
        p_sign_flip_holm: P of the sign-flip test, corrected for the number of methods compared.
        p_t_holm: P of the t test, likewise.
        n_too_small: Whether there are so few pairs that the corrected sign-flip test cannot reach .05, whatever the
            runs give.
    """

    name: str
    runs: list[Run]
    areas: list[float]
    difference: PairedDifference | None = None
    p_sign_flip_holm: float | None = None
    p_t_holm: float | None = None
    n_too_small: bool = False

    @property
    def mean_area(self) -> float:
        """Mean area over the runs."""
        return mean(self.areas)

    @property
    def sd_area(self) -> float | None:
        """Standard deviation of the area over the runs, or None for a single one."""
        return stdev(self.areas) if len(self.areas) > 1 else None

    def mean_curve(self) -> tuple[list[int], list[float], list[float]]:
        """Return the numbers of labels that all runs recorded, with the mean of the metric and its deviation."""
        curves = [dict(zip(run.labels, run.values, strict=True)) for run in self.runs]
        labels = [count for count in self.runs[0].labels if all(count in curve for curve in curves)]
        values = [[curve[count] for curve in curves] for count in labels]
        return (
            labels,
            [mean(heights) for heights in values],
            [stdev(heights) if len(heights) > 1 else 0.0 for heights in values],
        )


def compare(methods: Mapping[str, Sequence[Run]], *, between: tuple[int, int] | None = None) -> list[Method]:
    """Compare methods by the area under their curves, and with random choice where one of them is that.

    Args:
        methods: The runs of each method, by its name.
        between: Fewest and most labels of the curves to compare; by default all that every run has.

    Returns:
        The methods in the order given, the baseline first. Where several are random choice, the baseline is the one
        that has the most seeds in common with the others.

    Raises:
        ValueError: If the runs' metrics differ, or their curves have no label count in common.
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
    rows = [
        Method(name, list(same), [area_under_curve(run.labels, run.values, between=between) for run in same])
        for name, same in methods.items()
    ]
    baselines = [row for row in rows if row.runs[0].acquisition == BASELINE]
    if not baselines:
        return rows
    baseline = max(baselines, key=lambda row: _num_pairs(row, rows))
    others = [_against(row, baseline) for row in rows if row is not baseline]
    compared = [row.difference for row in others if row.difference is not None]
    sign_flip = iter(holm([difference.p_sign_flip for difference in compared]))
    t = iter(holm([difference.p_t for difference in compared]))
    return [
        baseline,
        *(
            row
            if row.difference is None
            else replace(
                row,
                p_sign_flip_holm=next(sign_flip),
                p_t_holm=next(t),
                n_too_small=len(compared) * row.difference.smallest_p > LEVEL,
            )
            for row in others
        ),
    ]


def _num_pairs(baseline: Method, rows: Sequence[Method]) -> int:
    seeds = {run.seed for run in baseline.runs}
    return sum(run.seed in seeds for row in rows for run in row.runs)


def _against(row: Method, baseline: Method) -> Method:
    theirs = {run.seed: area for run, area in zip(baseline.runs, baseline.areas, strict=True)}
    pairs = [(area, theirs[run.seed]) for run, area in zip(row.runs, row.areas, strict=True) if run.seed in theirs]
    return replace(row, difference=paired_difference(*zip(*pairs, strict=True))) if pairs else row


def write_csv(methods: Sequence[Method], path: Path) -> None:
    """Write the comparison as a table, one method a line; what there is not is left empty."""
    write_table([comparison_row(row) for row in methods], path)


def comparison_row(row: Method) -> dict[str, object]:
    """Return what a method comes to, under the names of the columns."""
    plain: dict[str, object] = {
        "method": row.name,
        "runs": len(row.runs),
        "area_mean": row.mean_area,
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
