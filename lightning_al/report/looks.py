"""How each method is drawn: a colour that stays with its name over all pictures, and the style of its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

Dashes = str | tuple[int, tuple[int, ...]]

COLOURS = {
    "bald": ("#1F77D0", "#64B5FF"),
    "power_bald": ("#0A3FA0", "#2F7BD6"),
    "softmax_bald": ("#5C8AF0", "#B3CBFF"),
    "batchbald": ("#DE4F12", "#FF8A3D"),
    "softrank_bald": ("#963800", "#FFC49B"),
    "at_most_per_group": ("#A8652A", "#C96A1E"),
    "margin": ("#007F4E", "#3ECF8E"),
    "power_margin": ("#0B4F2A", "#0FA05C"),
    "cluster_margin": ("#5C9A1E", "#A6E36E"),
    "entropy": ("#6114A1", "#A06AF5"),
    "epig": ("#9D57DE", "#CE9BFF"),
    "batch_epig": ("#2E2A5E", "#7F63D6"),
    "badge": ("#6E5500", "#E6C229"),
    "bait": ("#453600", "#B9962E"),
    "dropquery": ("#A98C1E", "#F8ECA8"),
    "typiclust": ("#D63B8C", "#FF8CC8"),
    "prob_cover": ("#93126B", "#D65AA8"),
    "core_set": ("#B5609A", "#F0BFE0"),
    "uherding": ("#00505F", "#3FC4D4"),
    "max_herding": ("#C4404B", "#F79A9A"),
    "subsample": ("#4F7C87", "#8FB3B8"),
    "least_confidence": ("#701A1F", "#E0525F"),
    "variation_ratio": ("#1C9AAF", "#1B9BB0"),
    "class_balanced": ("#7F6A70", "#B5877E"),
}
"""The colours of registered acquisition functions on light and on dark paper, relatives in shades of one hue.

The first of each hue are those compared most often. People who are red-green blind can tell these apart.
"""


@dataclass(frozen=True)
class Ink:
    """The colours of a picture; `random` is that of random choice, and `methods` has those of others by name."""

    text: str
    grid: str
    random: str
    methods: Mapping[str, str]
    paper: str


DAY = Ink(
    text="#2b3038",
    grid="#e4e6ea",
    random="#7d828c",
    methods={name: day for name, (day, _) in COLOURS.items()},
    paper="#ffffff",
)
NIGHT = Ink(
    text="#cdd3dc",
    grid="#2f3641",
    random="#949ba7",
    methods={name: night for name, (_, night) in COLOURS.items()},
    paper="#12161c",
)


@dataclass(frozen=True)
class Look:
    """How a method's line is drawn: its colour, the dashes of its line, and whether it stands out."""

    colour: str
    dashes: Dashes
    is_emphasised: bool

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        common = {"color": self.colour, "linestyle": self.dashes, "markersize": 4}
        if self.is_emphasised:
            return {**common, "linewidth": 2.2, "marker": "o", "zorder": 3}
        return {**common, "linewidth": 1.1, "marker": ".", "alpha": 0.6, "zorder": 2}


def colour_of(name: str, ink: Ink) -> str:
    """Return the colour of a method: its own if it is registered, or else one that follows from its name alone.

    >>> colour_of("bald", DAY), colour_of("my own", DAY) == colour_of("my own", DAY)
    ('#1F77D0', True)
    """
    colours = list(ink.methods.values())
    return ink.methods.get(name) or colours[crc32(name.encode(errors="replace")) % len(colours)]


def looks_of(
    names: Sequence[str], ink: Ink, *, random: Collection[str], emphasised: Collection[str]
) -> dict[str, Look]:
    """Return the look of each method of a picture. Where methods have the same colour, their dashes differ.

    Args:
        names: The methods, in their order.
        ink: The colours of the picture.
        random: Those that are random choice. They are grey and dashed.
        emphasised: Those that stand out.

    >>> found = looks_of(["random", "bald"], DAY, random=["random"], emphasised=["bald"])
    >>> found["bald"].dashes, found["random"].colour == DAY.random, found["random"].is_emphasised
    ('-', True, False)
    """
    used: Counter[str] = Counter()
    found = {}
    for name in names:
        colour = ink.random if name in random else colour_of(name, ink)
        found[name] = Look(colour, _dashes(used[colour] + (name in random)), name in emphasised)
        used[colour] += 1
    return found


def _dashes(number: int) -> Dashes:
    """Return a style of line: the first is solid, the second dashed, and each further one has one more dot a dash."""
    return "-" if number == 0 else (0, (4, 2) + (1, 2) * (number - 1))
