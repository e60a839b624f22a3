"""What the report draws of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from typing import Literal

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy import stats

from lightning_al.report.classes import Asked
from lightning_al.report.comparison import BASELINE, Method
from lightning_al.report.divergence import or_nan
from lightning_al.report.drawing import Ink, Picture, colours, heading, legend, legend_height, picture, short, tidy
from lightning_al.report.monte_carlo_error import MethodNoise
from lightning_al.report.phases import Phases, in_order
from lightning_al.report.pictures import axis_name
from lightning_al.report.runs import Run
from lightning_al.report.statistics import LEVEL
from lightning_al.report.study import Study

Band = Literal["sd", "interval"]

BANDS = {"sd": "one standard deviation over seeds", "interval": "95 % interval of the mean over seeds"}


def curves_picture(study: Study, band: Band, name: str) -> Picture:
    """Draw the curves: the mean over seeds with a band, and as thin lines what only some of a method's runs have."""
    has_band = any(len(row.runs) > 1 for row in study.compared)
    says = f"{axis_name(study.metric)} over labels" + (f"; band: {BANDS[band]}" if has_band else "")

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        inks = _inks(study, ink)
        rows = {row.name: row for row in study.compared if row.stand_in is None}
        for method, curves in study.curves.items():
            colour, kind = inks[method]
            row = rows.get(method)
            drawn = _draw_mean(axes, row, band, colour, kind) if row is not None and row.runs else None
            diverged = {run.seed for run in row.diverged} if row is not None else set()
            thin = [part for curve in curves for part in _beyond(curve, None if curve.seed in diverged else drawn)]
            for place, (labels, values) in enumerate(thin):
                why = "not as far yet" if row is None else row.num_diverged
                said = f"{short(method)}, {why}" if drawn is None and place == 0 else None
                axes.plot(
                    labels, or_nan(values), ".-", color=colour, linewidth=0.8, markersize=3, alpha=0.8, label=said
                )  # fmt: skip
        axes.set_xlabel(_labels_axis(study))
        axes.set_ylabel(axis_name(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        heading(axes, f"Mean over seeds; band: {BANDS[band]}" if has_band else "One run each", ink)
        tidy(axes, ink)
        legend(figure, axes, ink)

    return picture(name, says[:1].upper() + says[1:], draw, height=3.5 + legend_height(list(study.curves)))


def differences_picture(study: Study, name: str) -> Picture | None:
    """Draw each method's difference to random choice: the mean, its interval, and each pair of runs."""
    baseline = study.baseline
    compared = [row for row in study.compared if row.difference is not None]
    if baseline is None or not compared:
        return None

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        inks = _inks(study, ink)
        for place, row in enumerate(compared):
            against = row.difference
            assert against is not None
            colour, _ = inks[row.name]
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

    says = f"Difference of the mean height of the curve to {baseline.title}'s, paired by seed"
    return picture(name, says, draw, height=min(12.0, 1.5 + 0.75 * len(compared)))


def evenness_picture(study: Study, asked: Mapping[str, Asked], name: str) -> Picture:
    """Draw how evenly the labels asked for are spread over the classes."""

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        inks = _inks(study, ink)
        for method, found in asked.items():
            colour, kind = inks[method]
            axes.plot(
                found.labels, found.evenness, "o", linestyle=kind, color=colour, linewidth=1.6, markersize=3.5,
                label=short(method),
            )  # fmt: skip
        axes.set_xlabel("training labels")
        axes.set_ylabel("evenness of classes asked for")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        heading(axes, "1: as many of each class; 0: one class alone", ink)
        tidy(axes, ink)
        legend(figure, axes, ink)

    return picture(
        name, "Evenness of the classes asked for, over labels", draw, height=3.1 + legend_height(list(asked))
    )


def classes_picture(method: str, asked: Asked, name: str) -> Picture:
    """Draw which share each class has of what a method had asked for so far."""
    classes = list(asked.counts[-1])

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        shares = [
            [counts[label] / total if (total := sum(counts.values())) else 0.0 for counts in asked.counts]
            for label in classes
        ]
        axes.stackplot(
            asked.labels,
            shares,
            colors=[_shade(place, len(classes)) for place in range(len(classes))],
            edgecolor=ink.paper,
            linewidth=0.6,
        )
        axes.set_xlim(asked.labels[0], max(asked.labels[-1], asked.labels[0] + 1))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("training labels")
        heading(axes, short(method), ink)
        tidy(axes, ink, grid=None)
        axes.tick_params(axis="x", pad=6)
        if len(classes) <= 20:
            middle = 0.0
            for label, share in zip(classes, shares, strict=True):
                axes.annotate(
                    str(label), (1.02, middle + share[-1] / 2), xycoords="axes fraction", va="center", fontsize=8,
                    color=ink.text, annotation_clip=False,
                )  # fmt: skip
                middle += share[-1]

    return picture(
        name, f"Share of each class in what {method} had asked for, over labels", draw, width=3.5, height=2.9
    )


def time_picture(study: Study, found: Sequence[Phases], name: str) -> Picture:
    """Draw the mean seconds of a round by its parts, for each method."""
    parts = in_order({part for phases in found for part in phases.seconds})

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        for place, phases in enumerate(found):
            left = 0.0
            for number, part in enumerate(parts):
                seconds = phases.seconds.get(part, 0.0) / phases.num_rounds
                axes.barh(
                    [place], [seconds], left=left, height=0.4, color=ink.methods[number % len(ink.methods)],
                    label=part if place == 0 else None,
                )  # fmt: skip
                left += seconds
            axes.text(0, place - 0.32, short(phases.method), va="bottom", fontsize=9, color=ink.text)
        axes.set_yticks([])
        axes.set_ylim(len(found) - 0.5, -0.75)
        axes.set_xlabel("seconds a round, mean over all rounds")
        tidy(axes, ink, grid="x")
        axes.spines["left"].set_visible(False)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower left", ncols=5, frameon=False, fontsize=9, labelcolor=ink.text,
            handlelength=1, columnspacing=1.2,
        )  # fmt: skip

    return picture(name, "Mean seconds of a round by its parts", draw, height=min(12.0, 1.5 + 0.7 * len(found)))


def noise_picture(study: Study, found: Sequence[MethodNoise], name: str) -> Picture:
    """Draw which share of log K each batch used up, and how many of its picks fell below the Monte Carlo error."""

    def draw(figure: Figure, ink: Ink) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        inks = _inks(study, ink)
        for noise in found:
            colour, kind = inks[noise.method]
            labels, shares, picks = noise.by_labels()
            above.plot(
                labels, shares, "o", linestyle=kind, color=colour, linewidth=1.6, markersize=3.5,
                label=short(noise.method),
            )  # fmt: skip
            below.plot(labels, picks, "o", linestyle=kind, color=colour, linewidth=1.6, markersize=3.5)
        above.axhline(1, color=ink.baseline, linewidth=1, linestyle=":")
        above.set_ylim(0, 1.05)
        above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        heading(above, "Share of log K that a batch tells", ink)
        heading(below, "Picks of a batch below the Monte Carlo error", ink)
        below.set_ylim(bottom=0, top=max(1.0, below.get_ylim()[1]))
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        below.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        below.set_xlabel("training labels before the batch")
        tidy(above, ink)
        tidy(below, ink)
        legend(figure, above, ink)

    return picture(name, "Share of log K used up, and picks below the Monte Carlo error, over labels", draw, height=3.9)


def mean_with_band(row: Method, band: Band) -> tuple[list[int], list[float], list[float]]:
    """Return the labels that all runs of a method recorded, the mean of the metric, and half the band's width."""
    labels, means, sds = row.mean_curve()
    n = len(row.runs)
    reach = 1.0 if band == "sd" or n < 2 else float(stats.t.ppf(1 - LEVEL / 2, n - 1)) / sqrt(n)
    return labels, means, [reach * sd for sd in sds]


def _draw_mean(axes: Axes, row: Method, band: Band, colour: str, kind: str) -> list[int]:
    labels, means, widths = mean_with_band(row, band)
    runs = f"{len(row.runs)} seed{'s' * (len(row.runs) != 1)}" if row.is_complete else row.num_diverged
    axes.plot(
        labels, means, "o", linestyle=kind, color=colour, linewidth=1.8, markersize=3.5,
        label=f"{short(row.name)}, {runs}",
    )  # fmt: skip
    if len(row.runs) > 1:
        low = [value - width for value, width in zip(means, widths, strict=True)]
        high = [value + width for value, width in zip(means, widths, strict=True)]
        axes.fill_between(labels, low, high, color=colour, alpha=0.17, linewidth=0)
    return labels


def _beyond(curve: Run, drawn: list[int] | None) -> list[tuple[list[int], list[float]]]:
    """Return the parts of a curve that the mean does not stand for, each with the point that it begins at."""
    if drawn is None:
        return [(curve.labels, curve.values)]
    missing = [place for place, count in enumerate(curve.labels) if count not in drawn]
    if not missing:
        return []
    steps = [
        (before, after) for before, after in pairwise(range(len(curve.labels))) if before in missing or after in missing
    ]
    return [([curve.labels[i] for i in step], [curve.values[i] for i in step]) for step in steps]


def _labels_axis(study: Study) -> str:
    if study.with_validation_labels:
        return "training + validation labels"
    validation = max(curve.validation_labels for same in study.curves.values() for curve in same)
    return "training labels" + (f" (+ {validation:,} validation labels)" if validation else "")


def _inks(study: Study, ink: Ink) -> dict[str, tuple[str, str]]:
    baseline = study.baseline.name if study.baseline is not None else None
    if baseline is None:
        first = next(iter(study.recorded))
        baseline = first if study.recorded[first][0].acquisition == BASELINE else None
    return colours(list(study.recorded), baseline, ink)


def _shade(place: int, count: int) -> tuple[float, float, float, float]:
    # Neighbours differ in lightness, so that they are told apart in grey too.
    shade: tuple[float, float, float, float] = colormaps["viridis"](0.08 + 0.84 * place / max(1, count - 1))
    return shade
