"""Pictures of curves over labels, one line a method, and of the paired differences between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, nan, sqrt
from typing import Literal

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy import stats

from lightning_al.report.comparison import BASELINE, Method, baseline_of, mode_of
from lightning_al.report.end_labels import End, height_for, label_ends
from lightning_al.report.frames import evenness
from lightning_al.report.looks import DAY, Ink, Look, looks_of
from lightning_al.report.metric import Mode, axis_name
from lightning_al.report.pictures import STYLE, Picture, heading, label_ticks, new_figure, picture, short, tidy
from lightning_al.report.ranking import emphasised, ranked
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL
from lightning_al.report.study import Study

Band = Literal["sd", "interval"]

UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))

BANDS = {"sd": "one standard deviation", "interval": "95 % t interval of the mean"}

WIDTH, LEAST_HEIGHT = 5.4, 3.7
"""Size in inches of a picture of lines. The names at their ends take up a fourth of the width or so."""

AROUND = 0.9
"""Height in inches of what lies above and below the axes."""

LONGEST_NAME = 30


@matplotlib.rc_context(STYLE)
def curve_picture(methods: Sequence[Method], metric: str, *, title: str, mode: Mode | None = None) -> Figure:
    """Draw the learning curves of methods, as `compare` returns them.

    The two best methods and random choice stand out, with a band that is the 95 % interval of their mean.

    Args:
        methods: The methods.
        metric: Their metric.
        title: Title of the picture.
        mode: Whether less or more of the metric is better; by default what the runs say, or else the metric's name.
    """
    figure = new_figure(WIDTH, _height(len(methods)))
    _draw_of_methods(figure.subplots(), methods, metric, title, mode)
    return figure


@matplotlib.rc_context(STYLE)
def comparison_picture(methods: Sequence[Method], metric: str, *, title: str, mode: Mode | None = None) -> Figure:
    """Draw the learning curves of methods, and beside them the difference of each to the baseline, if there is one."""
    baseline = baseline_of(methods)
    mode = mode_of([run for row in methods for run in row.all_runs], mode)
    compared = _compared(methods, mode)
    if baseline is None or not compared:
        return curve_picture(methods, metric, title=title, mode=mode)
    figure = new_figure(1.9 * WIDTH, max(_height(len(methods)), _differences_height(len(compared))))
    curves, differences = figure.subplots(1, 2, width_ratios=[1.3, 1])
    _draw_of_methods(curves, methods, metric, title, mode)
    draw_differences(differences, compared, baseline, DAY, _looks_of_methods(methods, mode))
    return figure


def curves_picture(study: Study, band: Band, name: str) -> Picture:
    """Draw a study's learning curves for the page."""
    title = _title(study.compared, study_looks(study, DAY), band)
    says = f"{axis_name(study.metric)} over labels. {title}"

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        counted = "labels, those of validation too" if study.with_validation_labels else _labels_axis(study.methods)
        name_axes(axes, ink, title=title, x=counted, y=axis_name(study.metric))
        draw_curves(axes, study.compared, study.methods, study_looks(study, ink), band)

    return picture(name, says[:1].upper() + says[1:], draw, width=WIDTH, height=_height(len(study.methods)))


def differences_picture(study: Study, name: str) -> Picture | None:
    """Draw the difference of each method to random choice for the page, or return None where there is none."""
    baseline = study.baseline
    compared = _compared(study.compared, study.mode)
    if baseline is None or not compared:
        return None
    says = f"Difference of the normalised area under the curve to {baseline.title}'s, paired by seed"

    def draw(figure: Figure, ink: Ink) -> None:
        draw_differences(figure.subplots(), compared, baseline, ink, study_looks(study, ink))

    return picture(name, says, draw, width=WIDTH, height=_differences_height(len(compared)))


def labelling_picture(study: Study, name: str) -> Picture:
    """Draw each run's metric over the time that its answers took, where they say it."""
    runs = [(method, run) for method, same in study.methods.items() for run in same if run.label_seconds > 0]
    longest = max(run.label_seconds for _, run in runs)
    unit, size = next(((unit, size) for unit, size in UNITS if longest >= 2 * size), UNITS[-1])

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        name_axes(axes, ink, title="Each run", x=f"{unit} of labelling", y=axis_name(study.metric))
        looks = study_looks(study, ink)
        ends = {}
        for method, run in runs:
            measured = [round for round in run.history if study.metric in round.metrics]
            times = [round.label_seconds / size for round in measured]
            values = [round.metrics[study.metric] for round in measured]
            axes.plot(times, values, **looks[method].line)
            ends[method] = _end(method, looks[method], times, values)
        label_ends(axes, list(ends.values()))

    says = f"{axis_name(study.metric)} over the time that labels took"
    return picture(name, says[:1].upper() + says[1:], draw, width=WIDTH, height=_height(len(study.methods)))


def evenness_picture(study: Study, queried: Mapping[str, pd.DataFrame], name: str) -> Picture:
    """Draw how evenly the labels queried are spread over the classes."""

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        title = "1: as many of each class; 0: one class alone"
        name_axes(axes, ink, title=title, x="labels", y="evenness of classes asked for")
        looks = study_looks(study, ink)
        ends = []
        for method, counts in queried.items():
            even = evenness(counts).tolist()
            axes.plot(counts.index, even, **looks[method].line)
            ends.append(_end(method, looks[method], counts.index.tolist(), even))
        label_ends(axes, ends)

    says = "Evenness of the classes asked for, over labels"
    return picture(name, says, draw, width=WIDTH, height=_height(len(queried)))


def batches_picture(study: Study, batches: pd.DataFrame, name: str) -> Picture:
    """Draw the share of log K that each batch used, and how many of its picks fell below the Monte Carlo error."""

    def draw(figure: Figure, ink: Ink) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        looks = study_looks(study, ink)
        ends = []
        for name_of, same in batches.groupby("method", sort=False):
            method = str(name_of)
            means = same.groupby("labels_paid")[["share_used", "picks_below_noise"]].mean()
            for axes, figures in zip((above, below), means, strict=True):
                axes.plot(means.index, means[figures], **looks[method].line)
            ends.append(_end(method, looks[method], means.index.tolist(), means["share_used"].tolist()))
        above.axhline(1, color=ink.random, linewidth=1, linestyle=":")
        above.set_ylim(0, 1.05)
        above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        heading(above, "Share of log K that a batch tells", ink)
        heading(below, "Picks of a batch below the Monte Carlo error", ink)
        below.set_ylim(bottom=0, top=max(1.0, below.get_ylim()[1]))
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        label_ticks(below, 8)
        below.set_xlabel("labels before the batch")
        tidy(above, ink)
        tidy(below, ink)
        label_ends(above, ends)

    says = "Share of log K used up, and picks below the Monte Carlo error, over labels"
    return picture(name, says, draw, width=WIDTH, height=1.5 * _height(batches["method"].nunique()))


def study_looks(study: Study, ink: Ink) -> dict[str, Look]:
    """Return the look of each of a study's methods, the same in all of its pictures."""
    random = [name for name, runs in study.methods.items() if runs[0].acquisition == BASELINE]
    names = list(study.methods)
    return looks_of(names, ink, random=random, emphasised=emphasised(names, study.compared, study.mode))


def draw_curves(
    axes: Axes, methods: Sequence[Method], curves: Mapping[str, Sequence[Run]], looks: Mapping[str, Look], band: Band
) -> None:
    """Draw the mean curve of each method, and as thin lines the parts of curves that it does not stand for.

    Methods that are emphasised have a band. The curves are those of all runs, also of those that are not compared.
    """
    rows = {row.name: row for row in methods if row.stand_in is None}
    ends = []
    bands = []
    for method, runs in curves.items():
        look, row = looks[method], rows.get(method)
        drawn: list[int] | None = None
        means: list[float] = []
        if row is not None and row.runs:
            drawn, means, widths = mean_with_band(row, band)
            axes.plot(drawn, means, **look.line)
            if len(row.runs) > 1 and look.is_emphasised:
                bands.append((drawn, means, widths, look.colour))
        diverged = {run.seed for run in row.diverged} if row is not None else set()
        thin = [part for run in runs for part in _beyond(run, None if run.seed in diverged else drawn)]
        for labels, values in thin:
            finite = [value if isfinite(value) else nan for value in values]
            axes.plot(labels, finite, ".-", color=look.colour, linewidth=0.7, markersize=3, alpha=0.7)
        last = (drawn, means) if drawn else max(thin, key=lambda part: part[0][-1], default=([], []))
        why = ", not as far yet" if row is None else f", {row.num_diverged}" if row.num_diverged else ""
        ends.append(_end(method, look, *last, why=why))
    # A wide band, as of two seeds, does not make the curves flat.
    low, high = axes.get_ylim()
    for drawn, means, widths, colour in bands:
        below = [value - width for value, width in zip(means, widths, strict=True)]
        above = [value + width for value, width in zip(means, widths, strict=True)]
        axes.fill_between(drawn, below, above, color=colour, alpha=0.16, linewidth=0)
    axes.set_ylim(low, high)
    label_ends(axes, ends)


def name_axes(axes: Axes, ink: Ink, *, title: str, x: str, y: str) -> None:
    """Name the axes of curves over labels, and add a title."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    label_ticks(axes, 7)
    axes.margins(x=0.02, y=0.08)
    heading(axes, title, ink)
    tidy(axes, ink)


def draw_differences(
    axes: Axes, compared: Sequence[Method], baseline: Method, ink: Ink, looks: Mapping[str, Look]
) -> None:
    """Draw the difference of each method to the baseline: the mean, its interval, and each pair of runs."""
    for place, row in enumerate(compared):
        against = row.difference
        assert against is not None
        colour = looks[row.name].colour
        pairs = row.minus(baseline)
        axes.scatter(pairs, [place + 0.2] * len(pairs), s=15, color=colour, alpha=0.5, linewidths=0)
        if isfinite(against.low):
            axes.plot([against.low, against.high], [place, place], color=colour, linewidth=2.4)
        axes.plot([against.mean], [place], "o", color=colour, markersize=7.5)
        axes.text(against.mean, place - 0.2, short(row.title), ha="center", va="bottom", color=ink.text, fontsize=9.5)
    axes.axvline(0, color=ink.random, linewidth=1.4, linestyle=(0, (4, 2)))
    axes.set_yticks([])
    axes.set_ylim(len(compared) - 0.5, -0.75)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"normalised area minus {short(baseline.title)}'s")
    heading(axes, "Paired by seed: mean, 95 % interval, each pair", ink)
    tidy(axes, ink, grid="x")
    axes.spines["left"].set_visible(False)


def mean_with_band(row: Method, band: Band) -> tuple[list[int], list[float], list[float]]:
    """Return the labels that all runs of a method recorded, the mean of the metric, and half the band's width."""
    labels, means, sds = row.mean_curve()
    n = len(row.runs)
    reach = 1.0 if band == "sd" or n < 2 else float(stats.t.ppf(1 - LEVEL / 2, n - 1)) / sqrt(n)
    return labels, means, [reach * sd for sd in sds]


def _draw_of_methods(axes: Axes, methods: Sequence[Method], metric: str, title: str, mode: Mode | None) -> None:
    curves = {row.name: row.all_runs for row in methods if row.stand_in is None}
    looks = _looks_of_methods(methods, mode)
    said = f"{title}\n{_title(methods, looks, 'interval')}" if any(len(row.runs) > 1 for row in methods) else title
    name_axes(axes, DAY, title=said, x=_labels_axis(curves), y=axis_name(metric))
    draw_curves(axes, methods, curves, looks, "interval")


def _looks_of_methods(methods: Sequence[Method], mode: Mode | None) -> dict[str, Look]:
    names = list(dict.fromkeys(row.name for row in methods))
    random = [row.name for row in methods if row.acquisition == BASELINE]
    known = mode_of([run for row in methods for run in row.all_runs], mode)
    return looks_of(names, DAY, random=random, emphasised=emphasised(names, methods, known))


def _compared(rows: Sequence[Method], mode: Mode | None) -> list[Method]:
    """Return the methods that are compared with the baseline, the best first if it is known what is better."""
    compared = [row for row in rows if row.difference is not None]
    return ranked(compared, mode) or compared


def _title(methods: Sequence[Method], looks: Mapping[str, Look], band: Band) -> str:
    """Return what lines and bands show."""
    drawn = [row for row in methods if row.stand_in is None and row.runs]
    numbers = sorted({len(row.runs) for row in drawn})
    if not numbers or numbers[-1] == 1:
        return "One run" if len(drawn) == 1 else "One run each"
    seeds = f"{numbers[-1]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    has_band = any(len(row.runs) > 1 and looks[row.name].is_emphasised for row in drawn)
    return f"Mean of {seeds} seeds" + (f"; band: {BANDS[band]}" if has_band else "")


def _end(method: str, look: Look, labels: Sequence[float], values: Sequence[float], *, why: str = "") -> End:
    """Return the last point of a line, with the name to write beside it."""
    points = [point for point in zip(labels, values, strict=True) if isfinite(point[1])]
    return End(short(method, LONGEST_NAME) + why, points[-1] if points else None, look.colour, look.is_emphasised)


def _height(num_lines: int) -> float:
    return max(LEAST_HEIGHT, AROUND + height_for(num_lines))


def _differences_height(num_rows: int) -> float:
    return max(LEAST_HEIGHT, min(12.0, 1.3 + 0.5 * num_rows))


def _labels_axis(curves: Mapping[str, Sequence[Run]]) -> str:
    validation = max(run.validation_labels for same in curves.values() for run in same)
    return "labels" + (f" (+ {validation:,} validation labels)" if validation else "")


def _beyond(curve: Run, drawn: list[int] | None) -> list[tuple[list[int], list[float]]]:
    """Return the parts of a curve that the mean does not stand for, each with the point that it begins at."""
    if drawn is None:
        return [(curve.labels, curve.values)]
    steps = pairwise(zip(curve.labels, curve.values, strict=True))
    parts = [step for step in steps if any(count not in drawn for count, _ in step)]
    return [([count for count, _ in step], [value for _, value in step]) for step in parts]
