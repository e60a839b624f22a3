"""Pictures of runs, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from textwrap import fill
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from lightning_al.report.comparison import BASELINE, Method, baseline_of
from lightning_al.report.divergence import or_nan
from lightning_al.report.drawing import LITERAL
from lightning_al.run.files import replacing

# Okabe and Ito's colours, which the colour-blind can tell apart; the baseline is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7f7f7f"

MOST_ROWS, MOST_COLUMNS = 60, 40


@matplotlib.rc_context(LITERAL)
def curve_picture(methods: Sequence[Method], metric: str, *, title: str) -> Figure:
    """Draw the metric over the number of labels: a line for each method, with a band where it has several runs.

    Args:
        methods: The methods, as `compare` returns them.
        metric: Name of the metric.
        title: Title of the picture.
    """
    figure = _figure(6.4, 4.2)
    _draw_curves(figure.subplots(), methods, metric, title=title)
    return figure


@matplotlib.rc_context(LITERAL)
def comparison_picture(methods: Sequence[Method], metric: str, *, title: str) -> Figure:
    """Draw the curves of all methods, and beside them each method's difference to the baseline, if there is one."""
    baseline = baseline_of(methods)
    compared = [row for row in methods if row.difference is not None]
    if baseline is None or not compared:
        return curve_picture(methods, metric, title=title)
    figure = _figure(10.4, 4.4)
    curves, differences = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _draw_curves(curves, methods, metric, title=title)
    colours = _colours(methods)
    for place, row in enumerate(compared):
        against = row.difference
        assert against is not None
        pairs = row.minus(baseline)
        differences.scatter(pairs, [place + 0.16] * len(pairs), s=14, color=colours[row.name], alpha=0.45, linewidths=0)
        if isfinite(against.low):
            differences.plot([against.low, against.high], [place, place], color=colours[row.name], linewidth=2)
        differences.plot([against.mean], [place], "o", color=colours[row.name], markersize=7)
    differences.axvline(0, color=GREY, linewidth=1)
    differences.set_yticks(range(len(compared)), [fill(row.title, 24) for row in compared], fontsize=8)
    differences.set_ylim(len(compared) - 0.5, -0.5)
    differences.xaxis.set_major_locator(MaxNLocator(5))
    differences.set_xlabel(f"mean height of the curve minus {baseline.title}'s")
    differences.set_title("Paired by seed: mean, 95 % interval, each pair", fontsize=10, loc="left")
    _tidy(differences, grid="x")
    return figure


@matplotlib.rc_context(LITERAL)
def asked_picture(
    rounds: Sequence[Sequence[Tensor]],
    labels: Sequence[Sequence[object]],
    headings: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Draw the images asked for: a row for each round, in the order of choice, with the label below where known.

    Args:
        rounds: Images ``[H, W]``, ``[1, H, W]`` or ``[3, H, W]`` of each round; each is shown from its own least value
            in black to its greatest in white.
        labels: The label of each image, None where it is not known.
        headings: What stands at the left of each row.
        title: Title of the picture.

    A row shows its first 40 images, and the picture the first 60 rows; a line below says so where there are more.
    """
    rows = [(list(images)[:MOST_COLUMNS], heading) for images, heading in zip(rounds, headings, strict=True)][
        :MOST_ROWS
    ]
    hidden = len(rounds) > MOST_ROWS or any(len(images) > MOST_COLUMNS for images in rounds)
    columns = max([8, *(len(images) for images, _ in rows)])
    # One image with its label is a square of side 1; the margins hold title, headings and the line below.
    left, right, top, bottom, inch = 2.2, 0.2, 0.7, 0.6 if hidden else 0.15, 0.58
    width, height = left + columns + right, top + len(rows) + bottom
    figure = _figure(width * inch, height * inch, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row, (images, heading) in enumerate(rows):
        axes.text(-0.2, row + 0.4, heading, ha="right", va="center", fontsize=8)
        for column, (image, label) in enumerate(zip(images, labels[row], strict=False)):
            box = (column, column + 0.8, row + 0.8, row)
            axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1, extent=box, interpolation="nearest")
            if label is not None:
                axes.text(column + 0.4, row + 0.82, str(label), ha="center", va="top", fontsize=6, color="#444444")
    axes.text(0, -0.25, title, fontsize=10, va="bottom")
    if hidden:
        note = f"Shown are the first {MOST_COLUMNS} images of a round, and the first {MOST_ROWS} rounds."
        axes.text(0, len(rows) + 0.15, note, fontsize=7, va="top")
    axes.set_xlim(-left, columns + right)
    axes.set_ylim(len(rows) + bottom, -top)
    return figure


@matplotlib.rc_context(LITERAL)
def save_picture(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as draft:
        figure.savefig(draft, format="png")


def axis_name(metric: str) -> str:
    """Write a metric's name as an axis says it.

    >>> axis_name("test_acc"), axis_name("val_loss")
    ('test accuracy', 'validation loss (nats)')
    """
    words = {"acc": "accuracy", "loss": "loss (nats)", "nll": "negative log-likelihood (nats)", "val": "validation"}
    return " ".join(words.get(word, word) for word in metric.split("_"))


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _colours(methods: Sequence[Method]) -> dict[str, str]:
    others = dict.fromkeys(row.name for row in methods if row.acquisition != BASELINE)
    coloured = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}
    return {row.name: coloured.get(row.name, GREY) for row in methods}


def _draw_curves(axes: Axes, methods: Sequence[Method], metric: str, *, title: str) -> None:
    colours = _colours(methods)
    rows = [row for row in methods if row.stand_in is None]
    several = any(len(row.all_runs) > 1 for row in rows)
    for row in rows:
        labels, means, sds = row.mean_curve()
        runs = f", {len(row.runs)} runs" if several else ""
        said = f"{runs}: mean height {row.mean_area:.3f}" if row.is_complete else f", {row.num_diverged}"
        axes.plot(
            labels, means, "o-", color=colours[row.name], linewidth=1.6, markersize=3.5, label=f"{row.name}{said}"
        )
        for run in row.diverged:
            axes.plot(run.labels, or_nan(run.values), ".-", color=colours[row.name], linewidth=0.8, markersize=3)
        if len(row.runs) > 1:
            low = [value - sd for value, sd in zip(means, sds, strict=True)]
            high = [value + sd for value, sd in zip(means, sds, strict=True)]
            axes.fill_between(labels, low, high, color=colours[row.name], alpha=0.15, linewidth=0)
    validation = max(run.validation_labels for row in rows for run in row.all_runs)
    axes.set_xlabel("training labels" + (f" (+ {validation:,} validation labels)" if validation else ""))
    axes.set_ylabel(axis_name(metric))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(title + ("; band: one standard deviation" if several else ""), fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="best")
    _tidy(axes, grid="both")


def _tidy(axes: Axes, *, grid: str) -> None:
    axes.grid(axis=grid, color="#e5e5e5", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _shown(image: Tensor) -> NDArray[np.float32]:
    image = image.detach().float().cpu()
    if image.dim() == 3:
        image = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    low, high = image.min(), image.max()
    scaled: NDArray[np.float32] = ((image - low) / (high - low) if high > low else image - low).numpy()
    return scaled
