"""Pictures of what the methods queried, of their time, and of their batches."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lightning_al.report.curve_pictures import study_lines
from lightning_al.report.drawing import Ink, Picture, heading, label_ticks, legend, legend_height, picture, short, tidy
from lightning_al.report.frames import evenness
from lightning_al.report.study import Study


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
        axes.set_xlabel("training labels")
        axes.set_ylabel("evenness of classes asked for")
        label_ticks(axes, 8)
        heading(axes, "1: as many of each class; 0: one class alone", ink)
        tidy(axes, ink)
        legend(figure, axes, ink)

    says = "Evenness of the classes asked for, over labels"
    return picture(name, says, draw, height=3.1 + legend_height(list(queried)))


def classes_picture(method: str, counts: pd.DataFrame, name: str) -> Picture:
    """Draw the share of each class in what a method had queried so far."""
    shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
    first, last, num_classes = counts.index[0], counts.index[-1], counts.shape[1]

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        # Neighbours differ in lightness, so that they are told apart in grey too.
        shades = [colormaps["viridis"](0.08 + 0.84 * place / max(1, num_classes - 1)) for place in range(num_classes)]
        axes.stackplot(counts.index, shares.T.to_numpy(), colors=shades, edgecolor=ink.paper, linewidth=0.6)
        axes.set_xlim(first, max(last, first + 1))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        label_ticks(axes, 5)
        axes.set_xlabel("training labels")
        heading(axes, short(method), ink)
        tidy(axes, ink, grid=None)
        axes.tick_params(axis="x", pad=6)
        if num_classes <= 20:
            at_end = shares.loc[last]
            for label, middle in (at_end.cumsum() - at_end / 2).items():
                axes.annotate(
                    str(label), (1.02, middle), xycoords="axes fraction", va="center", fontsize=8, color=ink.text,
                    annotation_clip=False,
                )  # fmt: skip

    says = f"Share of each class in what {method} had asked for, over labels"
    return picture(name, says, draw, width=3.5, height=2.9)


def time_picture(seconds: pd.DataFrame, name: str) -> Picture:
    """Draw the mean seconds of a round, one bar a method and one colour a part of the round."""

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        left = pd.Series(0.0, index=seconds.index)
        places = range(len(seconds))
        for number, part in enumerate(seconds):
            widths = seconds[part].fillna(0.0)
            axes.barh(
                places, widths, left=left, height=0.4, color=ink.methods[number % len(ink.methods)], label=part
            )  # fmt: skip
            left += widths
        for place, method in zip(places, seconds.index, strict=True):
            axes.text(0, place - 0.32, short(method), va="bottom", fontsize=9, color=ink.text)
        axes.set_yticks([])
        axes.set_ylim(len(seconds) - 0.5, -0.75)
        axes.set_xlabel("seconds a round, mean over all rounds")
        tidy(axes, ink, grid="x")
        axes.spines["left"].set_visible(False)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower left", ncols=5, frameon=False, fontsize=9, labelcolor=ink.text,
            handlelength=1, columnspacing=1.2,
        )  # fmt: skip

    return picture(name, "Mean seconds of a round by its parts", draw, height=min(12.0, 1.5 + 0.7 * len(seconds)))


def batches_picture(study: Study, batches: pd.DataFrame, name: str) -> Picture:
    """Draw the share of log K that each batch used, and how many of its picks fell below the Monte Carlo error."""

    def draw(figure: Figure, ink: Ink) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        lines = study_lines(study, ink)
        for method, same in batches.groupby("method", sort=False):
            colour, kind = lines[str(method)]
            means = same.groupby("training_labels")[["share_used", "picks_below_noise"]].mean()
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
        below.set_xlabel("training labels before the batch")
        tidy(above, ink)
        tidy(below, ink)
        legend(figure, above, ink)

    return picture(name, "Share of log K used up, and picks below the Monte Carlo error, over labels", draw, height=3.9)
