"""Names at the ends of lines, in place of a legend: moved apart where the lines end close together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FONT_SIZE = 10

LINE_HEIGHT = 1.3 * FONT_SIZE / 72
"""Height in inches that the name of a line takes up."""

PLACE = 1.035
"""Where names begin, in widths of the axes."""


@dataclass(frozen=True)
class End:
    """The end of a line: its name, its last point if it has any, and its colour."""

    name: str
    point: tuple[float, float] | None
    colour: str
    is_emphasised: bool = False


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write the names of lines to the right of the axes, each joined with the end of its line.

    The limits of the axes stay as they are from here on.
    """
    low, high = axes.get_ylim()
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(low, high)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    height = axes.get_position().height * figure.get_figheight()
    wanted = [0.0 if end.point is None else (end.point[1] - low) / (high - low) for end in ends]
    gap = LINE_HEIGHT / height
    for end, place in zip(ends, spread(wanted, gap, most=1 - gap / 2), strict=True):
        weight = "bold" if end.is_emphasised else "normal"
        joined = {"arrowstyle": "-", "color": end.colour, "linewidth": 0.7, "alpha": 0.6, "relpos": (0, 0.5)}
        axes.annotate(
            end.name, (PLACE, place) if end.point is None else end.point, (PLACE, place), textcoords="axes fraction",
            xycoords="axes fraction" if end.point is None else "data", va="center", fontsize=FONT_SIZE,
            fontweight=weight, color=end.colour, annotation_clip=False,
            arrowprops=None if end.point is None else {**joined, "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def height_for(num_names: int) -> float:
    """Return the height in inches that axes need to have this many names beside them."""
    return LINE_HEIGHT * num_names


def spread(wanted: Sequence[float], gap: float, *, most: float = 1.0) -> list[float]:
    """Return the places closest to those wanted that lie in their order, a gap apart, between 0 and the most.

    Where there is too little room for all, they begin below 0.

    >>> spread([0.5, 0.5], 0.25), spread([0.0, 1.0, 0.125], 0.25)
    ([0.375, 0.625], [0.0, 1.0, 0.25])
    """
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    # Less its share of the gaps, a place may be no less than the one before: this is isotonic regression. Neighbours
    # in the wrong order are pooled at their mean until none is left.
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([wanted[number] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    highest = most - gap * (len(wanted) - 1)
    levels = [min(max(_mean(pool), 0.0), highest) for pool in pools for _ in pool]
    places = {number: levels[rank] + rank * gap for rank, number in enumerate(order)}
    return [places[number] for number in range(len(wanted))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
