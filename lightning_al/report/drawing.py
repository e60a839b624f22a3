"""The look of the report's pictures in light and dark mode, and how they become files."""

from __future__ import annotations

import io
import warnings
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_al.run.files import replacing

LITERAL: Any = {"text.parse_math": False, "text.usetex": False}
"""Names are shown literally: a dollar sign does not start a formula."""

STYLE: Any = {
    **LITERAL,
    "font.family": ["sans-serif"],
    "font.size": 9.5,
    "svg.fonttype": "none",  # text that the browser's fonts show, whatever its script
    "svg.hashsalt": "lightning_al",
}

LONGEST = 44

NO_GLYPH = "Glyph .* missing from"
"""Matplotlib's warning about a script that its font lacks; a browser has fonts for it."""


@dataclass(frozen=True)
class Ink:
    """The colours of a picture.

    Attributes:
        text: Titles, ticks and axes.
        grid: Grid lines.
        baseline: Random choice.
        methods: The other methods, in colours that the colour-blind can tell apart (Okabe and Ito).
        paper: Background.
    """

    text: str
    grid: str
    baseline: str
    methods: tuple[str, ...]
    paper: str


DAY = Ink(
    text="#2b3038",
    grid="#e4e6ea",
    baseline="#7d828c",
    methods=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#5B4A9C"),
    paper="#ffffff",
)
NIGHT = Ink(
    text="#cdd3dc",
    grid="#2f3641",
    baseline="#949ba7",
    methods=("#56B4E9", "#F0883E", "#2DC79B", "#E79BC4", "#E6C229", "#8FD3FF", "#A79BEA"),
    paper="#12161c",
)

Draw = Callable[[Figure, Ink], None]

Lines = dict[str, tuple[str, str]]
"""Colour and line style of each method."""


@dataclass(frozen=True)
class Picture:
    """A picture in all its formats.

    Attributes:
        name: Name of its files, without a suffix.
        says: Alternative text.
        png: PNG in light mode, on white.
        day: SVG in light mode.
        night: SVG in dark mode.
        width: Width in pixels of the page.
        height: Height in pixels of the page.
    """

    name: str
    says: str
    png: bytes
    day: bytes
    night: bytes
    width: int
    height: int

    @property
    def day_address(self) -> str:
        """The SVG in light mode as a data URL."""
        return data_address(self.day, "image/svg+xml")

    @property
    def night_address(self) -> str:
        """The SVG in dark mode as a data URL."""
        return data_address(self.night, "image/svg+xml")


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
    """Draw a picture in all its formats; its size is in inches."""

    def rendered(ink: Ink, form: str) -> bytes:
        figure = new_figure(width, height)
        draw(figure, ink)
        buffer = io.BytesIO()
        # Without the date, the same runs give the same file.
        metadata = {"Date": None, "Creator": None} if form == "svg" else None
        paper = {"facecolor": "white"} if form == "png" else {"transparent": True}
        figure.savefig(buffer, format=form, metadata=metadata, **paper)
        return buffer.getvalue()

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NO_GLYPH)
        return Picture(
            name=name,
            says=says,
            png=rendered(DAY, "png"),
            day=rendered(DAY, "svg"),
            night=rendered(NIGHT, "svg"),
            width=round(96 * width),
            height=round(96 * height),
        )


def data_address(content: bytes, kind: str) -> str:
    """Return a data URL of some content."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def short(name: str) -> str:
    """Shorten a name to fit beside a picture.

    >>> short("bald"), len(short("x" * 100))
    ('bald', 44)
    """
    # Matplotlib hides a name that begins with an underscore.
    seen = f" {name}" if name.startswith("_") else name
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 12]}…{seen[-11:]}"


def tidy(axes: Axes, ink: Ink, *, grid: Literal["both", "x"] | None = "both") -> None:
    """Remove the ticks and spines that are not needed, and set the colours."""
    if grid is not None:
        axes.grid(axis=grid, color=ink.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink.grid)
    axes.tick_params(labelsize=9, colors=ink.text, length=0)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(ink.text)


def label_ticks(axes: Axes, most: int) -> None:
    """Put ticks at whole numbers of labels, and not more than this many."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]))


def axis_name(metric: str) -> str:
    """Return the name of a metric as the label of an axis.

    >>> axis_name("test_acc"), axis_name("val_loss")
    ('test accuracy', 'validation loss (nats)')
    """
    words = {"acc": "accuracy", "loss": "loss (nats)", "nll": "negative log-likelihood (nats)", "val": "validation"}
    return " ".join(words.get(word, word) for word in metric.split("_"))


def heading(axes: Axes, text: str, ink: Ink) -> None:
    """Set the title above the axes."""
    axes.set_title(text, loc="left", fontsize=9.5, color=ink.text)


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
