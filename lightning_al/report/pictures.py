"""Pictures: their look in light and dark mode, how they become files, and those that are not of curves."""

from __future__ import annotations

import io
import warnings
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from lightning_al.report.looks import DAY, NIGHT, Ink
from lightning_al.run.files import replacing
from lightning_al.task.class_names import shown_class

if TYPE_CHECKING:
    from torch import Tensor

LITERAL: Any = {"text.parse_math": False, "text.usetex": False}
"""Names are shown literally: a dollar sign does not start a formula."""

STYLE: Any = {
    **LITERAL,
    "font.family": ["sans-serif"],
    "font.size": 10.5,
    "svg.fonttype": "none",  # text that the browser's fonts show, whatever its script
    "svg.hashsalt": "lightning_al",
}

LONGEST = 44

LONGEST_CLASS = 16

MOST_ROWS, MOST_COLUMNS = 60, 40

ANY_PAPER = "#757a84"
"""A grey that can be read on light and on dark paper, for pictures without paper of their own."""

NO_GLYPH = "Glyph .* missing from"
"""Matplotlib's warning about a script that its font lacks; a browser has fonts for it."""


Draw = Callable[[Figure, Ink], None]


@dataclass(frozen=True)
class Picture:
    """A picture as PNG on white and as SVG in light and dark mode, with alternative text; its size is in pixels."""

    name: str
    says: str
    png: bytes
    day: bytes
    night: bytes
    width: int
    height: int


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return a figure that needs no display and no global state of matplotlib; its size is in inches."""
    figure = Figure(figsize=(width, height), dpi=160, layout=layout)
    FigureCanvasAgg(figure)
    return figure


@matplotlib.rc_context(STYLE)
def save_picture(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as draft, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NO_GLYPH)
        figure.savefig(draft, format="png")


def picture(name: str, says: str, draw: Draw, *, width: float = 4.7, height: float = 3.5) -> Picture:
    """Draw a picture in all its formats, with one layout; its size is in inches."""

    def saved(figure: Figure, form: str) -> bytes:
        buffer = io.BytesIO()
        # Without the date, the same runs give the same file.
        metadata = {"Date": None, "Creator": None} if form == "svg" else None
        paper = {"facecolor": "white"} if form == "png" else {"transparent": True}
        figure.savefig(buffer, format=form, metadata=metadata, **paper)
        return buffer.getvalue()

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NO_GLYPH)
        day, night = new_figure(width, height), new_figure(width, height, layout=None)
        draw(day, DAY)
        draw(night, NIGHT)
        # The layout takes half the time of a drawing, and savefig would draw twice where there is one to compute.
        day.draw_without_rendering()
        day.set_layout_engine(None)
        for axes, laid_out in zip(night.axes, day.axes, strict=True):
            axes.set_position(laid_out.get_position())
        return Picture(
            name=name,
            says=says,
            png=saved(day, "png"),
            day=saved(day, "svg"),
            night=saved(night, "svg"),
            width=round(96 * width),
            height=round(96 * height),
        )


def data_address(content: bytes, kind: str) -> str:
    """Return a data URL of some content."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def short(name: str, longest: int = LONGEST) -> str:
    """Shorten a name to fit beside a picture.

    >>> short("bald"), len(short("x" * 100))
    ('bald', 44)
    """
    # Matplotlib hides a name that begins with an underscore.
    seen = f" {name}" if name.startswith("_") else name
    return seen if len(seen) <= longest else f"{seen[: longest - longest // 4 - 1]}…{seen[-(longest // 4) :]}"


def tidy(axes: Axes, ink: Ink, *, grid: Literal["both", "x"] | None = "both") -> None:
    """Remove the ticks and spines that are not needed, and set the colours."""
    if grid is not None:
        axes.grid(axis=grid, color=ink.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink.grid)
    axes.tick_params(labelsize=9.5, colors=ink.text, length=0)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(ink.text)


def label_ticks(axes: Axes, most: int) -> None:
    """Put ticks at whole numbers of labels, and not more than this many."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]))


def heading(axes: Axes, text: str, ink: Ink) -> None:
    """Set the title above the axes."""
    axes.set_title(text, loc="left", fontsize=10.5, color=ink.text)


@matplotlib.rc_context(LITERAL)
def asked_picture(
    rounds: Sequence[Sequence[Tensor]],
    labels: Sequence[Sequence[object]],
    headings: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Draw the images queried: one row a round, in the order of choice, each with its label below.

    The picture is transparent, so that it fits light and dark pages. A row shows its first 40 images, and the picture
    shows the first 60 rows. If there are more, a note below says so.

    Args:
        rounds: Images ``[H, W]``, ``[1, H, W]`` or ``[3, H, W]`` of each round. Each is scaled from its least value in
            black to its greatest in white.
        labels: The label of each image, or None if it is not known.
        headings: Text to the left of each row.
        title: Title of the picture.
    """
    rows = [(list(images)[:MOST_COLUMNS], beside) for images, beside in zip(rounds, headings, strict=True)][:MOST_ROWS]
    hidden = len(rounds) > MOST_ROWS or any(len(images) > MOST_COLUMNS for images in rounds)
    columns = max([8, *(len(images) for images, _ in rows)])
    # An image with its label is a square of side 1; the margins hold title, headings and the note below.
    left, right, top, bottom, inch = 2.2, 0.2, 0.7, 0.6 if hidden else 0.15, 0.58
    width, height = left + columns + right, top + len(rows) + bottom
    figure = new_figure(width * inch, height * inch, layout=None)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row, (images, beside) in enumerate(rows):
        axes.text(-0.2, row + 0.4, beside, ha="right", va="center", fontsize=8, color=ANY_PAPER)
        for column, (image, label) in enumerate(zip(images, labels[row], strict=False)):
            box = (column, column + 0.8, row + 0.8, row)
            axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1, extent=box, interpolation="nearest")
            if label is not None:
                axes.text(column + 0.4, row + 0.82, str(label), ha="center", va="top", fontsize=6, color=ANY_PAPER)
    axes.text(0, -0.25, title, fontsize=10, va="bottom", color=ANY_PAPER)
    if hidden:
        note = f"Shown are the first {MOST_COLUMNS} images of a round, and the first {MOST_ROWS} rounds."
        axes.text(0, len(rows) + 0.15, note, fontsize=7, va="top", color=ANY_PAPER)
    axes.set_xlim(-left, columns + right)
    axes.set_ylim(len(rows) + bottom, -top)
    return figure


def classes_picture(method: str, counts: pd.DataFrame, name: str, *, names: Mapping[int, str]) -> Picture:
    """Draw the share of each class in what a method had queried so far; classes have their names, if known."""
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
        axes.set_xlabel("labels")
        heading(axes, short(method), ink)
        tidy(axes, ink, grid=None)
        axes.tick_params(axis="x", pad=6)
        if num_classes <= 20:
            at_end = shares.loc[last]
            for label, middle in (at_end.cumsum() - at_end / 2).items():
                said = short(shown_class(label, names), LONGEST_CLASS)
                axes.annotate(
                    said, (1.02, middle), xycoords="axes fraction", va="center", fontsize=8, color=ink.text,
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
            # A scale of its own, since the colours of lines stand for methods.
            shade = colormaps["cividis"](0.15 + 0.75 * number / max(1, seconds.shape[1] - 1))
            axes.barh(places, widths, left=left, height=0.4, color=shade, label=part)
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


def _shown(image: Tensor) -> NDArray[np.float32]:
    image = image.detach().float().cpu()
    if image.dim() == 3:
        image = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    low, high = image.min(), image.max()
    scaled: NDArray[np.float32] = ((image - low) / (high - low) if high > low else image - low).numpy()
    return scaled
