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

from lightning_al.report.comparison import BASELINE, Method, baseline_of
from lightning_al.report.frames import evenness
from lightning_al.report.metric import axis_name
from lightning_al.report.pictures import (
    DAY,
    STYLE,
    Ink,
    Picture,
    heading,
    label_ticks,
    new_figure,
    picture,
    short,
    tidy,
)
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL
from lightning_al.report.study import Study

Lines = dict[str, tuple[str, str]]
"""Colour and line style of each method."""

Band = Literal["sd", "interval"]

UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))

BANDS = {"sd": "one standard deviation over seeds", "interval": "95 % interval of the mean over seeds"}


@matplotlib.rc_context(STYLE)
def curve_picture(methods: Sequence[Method], metric: str, *, title: str) -> Figure:
    """Draw the learning curves of methods, as `compare` returns them: the mean, with a band where there are seeds."""
    figure = new_figure(6.4, 4.0 + legend_height([row.name for row in methods]))
    _draw_of_methods(figure, figure.subplots(), methods, metric, title)
    return figure


@matplotlib.rc_context(STYLE)
def comparison_picture(methods: Sequence[Method], metric: str, *, title: str) -> Figure:
    """Draw the learning curves of methods, and beside them the difference of each to the baseline, if there is one."""
    baseline = baseline_of(methods)
    compared = [row for row in methods if row.difference is not None]
    if baseline is None or not compared:
        return curve_picture(methods, metric, title=title)
    height = max(4.2, min(12.0, 1.5 + 0.75 * len(compared)))
    figure = new_figure(10.4, height + legend_height([row.name for row in methods]))
    curves, differences = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _draw_of_methods(figure, curves, methods, metric, title)
    draw_differences(differences, compared, baseline, DAY, _lines_of_methods(methods))
    return figure


def curves_picture(study: Study, band: Band, name: str) -> Picture:
    """Draw a study's learning curves for the page."""
    has_band = any(len(row.runs) > 1 for row in study.compared)
    says = f"{axis_name(study.metric)} over labels" + (f"; band: {BANDS[band]}" if has_band else "")

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        draw_curves(axes, study.compared, study.methods, study_lines(study, ink), band)
        title = f"Mean over seeds; band: {BANDS[band]}" if has_band else "One run each"
        counted = "labels, those of validation too" if study.with_validation_labels else _labels_axis(study.methods)
        finish_curves(figure, axes, ink, title=title, x=counted, y=axis_name(study.metric))

    return picture(name, says[:1].upper() + says[1:], draw, height=3.5 + legend_height(list(study.methods)))


def differences_picture(study: Study, name: str) -> Picture | None:
    """Draw the difference of each method to random choice for the page, or return None where there is none."""
    baseline = study.baseline
    compared = [row for row in study.compared if row.difference is not None]
    if baseline is None or not compared:
        return None
    says = f"Difference of the mean height of the curve to {baseline.title}'s, paired by seed"

    def draw(figure: Figure, ink: Ink) -> None:
        draw_differences(figure.subplots(), compared, baseline, ink, study_lines(study, ink))

    return picture(name, says, draw, height=min(12.0, 1.5 + 0.75 * len(compared)))


def labelling_picture(study: Study, name: str) -> Picture:
    """Draw each run's metric over the time that its answers took, where they say it."""
    runs = [(method, run) for method, same in study.methods.items() for run in same if run.label_seconds > 0]
    longest = max(run.label_seconds for _, run in runs)
    unit, size = next(((unit, size) for unit, size in UNITS if longest >= 2 * size), UNITS[-1])

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        lines = study_lines(study, ink)
        named: set[str] = set()
        for method, run in runs:
            colour, kind = lines[method]
            measured = [round for round in run.history if study.metric in round.metrics]
            times = [round.label_seconds / size for round in measured]
            axes.plot(
                times, [round.metrics[study.metric] for round in measured], "o", linestyle=kind, color=colour,
                linewidth=1.2, markersize=3, label="_again" if method in named else short(method),
            )  # fmt: skip
            named.add(method)
        finish_curves(figure, axes, ink, title="Each run", x=f"{unit} of labelling", y=axis_name(study.metric))

    says = f"{axis_name(study.metric)} over the time that labels took"
    return picture(name, says[:1].upper() + says[1:], draw, height=3.1 + legend_height(list(study.methods)))


def evenness_picture(study: Study, queried: Mapping[str, pd.DataFrame], name: str) -> Picture:
    """Draw how evenly the labels queried are spread over the classes."""

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        lines = study_lines(study, ink)
        for method, counts in queried.items():
            colour, kind = lines[method]
            axes.plot(
                counts.index, evenness(counts), "o", linestyle=kind, color=colour, linewidth=1.6, markersize=3.5,
                label=short(method),
            )  # fmt: skip
        title = "1: as many of each class; 0: one class alone"
        finish_curves(figure, axes, ink, title=title, x="labels", y="evenness of classes asked for")

    says = "Evenness of the classes asked for, over labels"
    return picture(name, says, draw, height=3.1 + legend_height(list(queried)))


def batches_picture(study: Study, batches: pd.DataFrame, name: str) -> Picture:
    """Draw the share of log K that each batch used, and how many of its picks fell below the Monte Carlo error."""

    def draw(figure: Figure, ink: Ink) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        lines = study_lines(study, ink)
        for method, same in batches.groupby("method", sort=False):
            colour, kind = lines[str(method)]
            means = same.groupby("labels_paid")[["share_used", "picks_below_noise"]].mean()
            for axes, figures in zip((above, below), means, strict=True):
                axes.plot(
                    means.index, means[figures], "o", linestyle=kind, color=colour, linewidth=1.6, markersize=3.5,
                    label=short(str(method)),
                )  # fmt: skip
        above.axhline(1, color=ink.baseline, linewidth=1, linestyle=":")
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
        legend(figure, above, ink)

    return picture(name, "Share of log K used up, and picks below the Monte Carlo error, over labels", draw, height=3.9)


def study_lines(study: Study, ink: Ink) -> Lines:
    """Return colour and kind of line of each of a study's methods, grey for random choice."""
    first = next(iter(study.methods))
    is_random = study.methods[first][0].acquisition == BASELINE
    baseline = study.baseline.name if study.baseline is not None else first if is_random else None
    return lines_of(list(study.methods), baseline, ink)


def draw_curves(
    axes: Axes,
    methods: Sequence[Method],
    curves: Mapping[str, Sequence[Run]],
    lines: Lines,
    band: Band,
    *,
    with_heights: bool = False,
) -> None:
    """Draw the mean curve of each method with a band, and as thin lines the parts of curves that it does not stand for.

    The curves are those of all runs, also of those that are not compared. The legend may have their mean heights.
    """
    rows = {row.name: row for row in methods if row.stand_in is None}
    for method, runs in curves.items():
        colour, kind = lines[method]
        row = rows.get(method)
        drawn = None
        if row is not None and row.runs:
            drawn, means, widths = mean_with_band(row, band)
            seeds = f"{len(row.runs)} seed{'s' * (len(row.runs) != 1)}" if row.is_complete else row.num_diverged
            height = f": mean height {row.mean_area:.3f}" if with_heights and row.is_complete else ""
            axes.plot(
                drawn, means, "o", linestyle=kind, color=colour, linewidth=1.8, markersize=3.5,
                label=f"{short(method)}, {seeds}{height}",
            )  # fmt: skip
            if len(row.runs) > 1:
                low = [value - width for value, width in zip(means, widths, strict=True)]
                high = [value + width for value, width in zip(means, widths, strict=True)]
                axes.fill_between(drawn, low, high, color=colour, alpha=0.17, linewidth=0)
        diverged = {run.seed for run in row.diverged} if row is not None else set()
        thin = [part for run in runs for part in _beyond(run, None if run.seed in diverged else drawn)]
        for place, (labels, values) in enumerate(thin):
            why = "not as far yet" if row is None else row.num_diverged
            said = f"{short(method)}, {why}" if drawn is None and place == 0 else None
            finite = [value if isfinite(value) else nan for value in values]
            axes.plot(labels, finite, ".-", color=colour, linewidth=0.8, markersize=3, alpha=0.8, label=said)


def finish_curves(figure: Figure, axes: Axes, ink: Ink, *, title: str, x: str, y: str) -> None:
    """Name the axes of curves over labels, and add title and legend."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    label_ticks(axes, 8)
    heading(axes, title, ink)
    tidy(axes, ink)
    legend(figure, axes, ink)


def draw_differences(axes: Axes, compared: Sequence[Method], baseline: Method, ink: Ink, lines: Lines) -> None:
    """Draw the difference of each method to the baseline: the mean, its interval, and each pair of runs."""
    for place, row in enumerate(compared):
        against = row.difference
        assert against is not None
        colour, _ = lines[row.name]
        pairs = row.minus(baseline)
        axes.scatter(pairs, [place + 0.2] * len(pairs), s=15, color=colour, alpha=0.5, linewidths=0)
        if isfinite(against.low):
            axes.plot([against.low, against.high], [place, place], color=colour, linewidth=2.4)
        axes.plot([against.mean], [place], "o", color=colour, markersize=7.5)
        axes.text(against.mean, place - 0.2, short(row.title), ha="center", va="bottom", color=ink.text, fontsize=9)
    axes.axvline(0, color=ink.baseline, linewidth=1.2)
    axes.set_yticks([])
    axes.set_ylim(len(compared) - 0.5, -0.75)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"mean height of the curve minus {short(baseline.title)}'s")
    heading(axes, "Paired by seed: mean, 95 % interval, each pair", ink)
    tidy(axes, ink, grid="x")
    axes.spines["left"].set_visible(False)


def legend_height(names: Sequence[str]) -> float:
    """Return the height in inches of the legend of some lines."""
    return 0.19 * (len(names) if max(map(len, names)) > 14 else (len(names) + 1) // 2)


def legend(figure: Figure, axes: Axes, ink: Ink) -> None:
    """Add a legend below the axes, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if len(names) > 1 and max(map(len, names)) <= 26 else 1
    figure.legend(
        handles, names, loc="outside lower left", ncols=columns, frameon=False, fontsize=9, labelcolor=ink.text
    )


def lines_of(names: Sequence[str], baseline: str | None, ink: Ink) -> Lines:
    """Return a colour and a line style for each method; the style changes once all colours are used."""
    others = [name for name in names if name != baseline]
    kinds = ("-", "--", ":", "-.")
    found = {
        name: (ink.methods[place % len(ink.methods)], kinds[place // len(ink.methods) % len(kinds)])
        for place, name in enumerate(others)
    }
    return {**found, **({} if baseline is None else {baseline: (ink.baseline, "-")})}


def mean_with_band(row: Method, band: Band) -> tuple[list[int], list[float], list[float]]:
    """Return the labels that all runs of a method recorded, the mean of the metric, and half the band's width."""
    labels, means, sds = row.mean_curve()
    n = len(row.runs)
    reach = 1.0 if band == "sd" or n < 2 else float(stats.t.ppf(1 - LEVEL / 2, n - 1)) / sqrt(n)
    return labels, means, [reach * sd for sd in sds]


def _draw_of_methods(figure: Figure, axes: Axes, methods: Sequence[Method], metric: str, title: str) -> None:
    curves = {row.name: row.all_runs for row in methods if row.stand_in is None}
    draw_curves(axes, methods, curves, _lines_of_methods(methods), "sd", with_heights=True)
    said = f"{title}; band: {BANDS['sd']}" if any(len(row.runs) > 1 for row in methods) else title
    finish_curves(figure, axes, DAY, title=said, x=_labels_axis(curves), y=axis_name(metric))


def _lines_of_methods(methods: Sequence[Method]) -> Lines:
    baseline = next((row.name for row in methods if row.acquisition == BASELINE), None)
    return lines_of(list(dict.fromkeys(row.name for row in methods)), baseline, DAY)


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
