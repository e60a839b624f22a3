"""The looks of methods: one colour each over all pictures, which people who are colour-blind can tell apart too."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from lightning_al.report.looks import DAY, NIGHT, colour_of, looks_of

REGISTERED = {path.stem for path in (Path(__file__).parents[2] / "conf" / "acquisition").glob("*.yaml")} - {"random"}

OFTEN_COMPARED = ("bald", "batchbald", "margin", "entropy", "badge", "typiclust", "uherding", "least_confidence")

CARDS = {"day": "#f6f7f9", "night": "#1a2029"}
"""What lies behind the pictures of a page, as page.css says."""

# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency, TVCG, 2009.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def linear(colour):
    """The linear RGB of a colour."""
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Ottosson: A perceptual color space for image processing, 2020."""
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    to_lab = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099]]
    to_lab.append([0.0259040371, 0.7827717662, -0.808675766])
    return np.array(to_lab) @ np.cbrt(np.array(cones) @ rgb)


def distance(one, other, vision="normal"):
    seen = [oklab(np.clip(np.array(VISIONS[vision]) @ linear(colour), 0, 1)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    low, high = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("time", ["day", "night"])
def test_registered_methods_have_distinct_colours_that_can_be_seen(time):
    ink = {"day": DAY, "night": NIGHT}[time]
    assert set(ink.methods) == REGISTERED
    colours = {name: colour_of(name, ink) for name in REGISTERED} | {"random": ink.random}
    assert all(contrast(colour, CARDS[time]) >= 3 for colour in colours.values())
    nearest = min(distance(one, other) for one, other in combinations(colours.values(), 2))
    assert nearest > 0.05  # 0.02 is about the least that is seen at all


@pytest.mark.parametrize("vision", ["protanopia", "deuteranopia"])
@pytest.mark.parametrize("ink", [DAY, NIGHT], ids=["day", "night"])
def test_the_colour_blind_can_tell_the_usual_methods_apart(ink, vision):
    pairs = combinations([ink.methods[name] for name in OFTEN_COMPARED], 2)
    assert min(distance(one, other, vision) for one, other in pairs) > 0.05


@given(st.lists(st.text(max_size=5), unique=True, min_size=1), st.lists(st.text(max_size=5), unique=True))
def test_a_colour_does_not_depend_on_the_other_methods(names, others):
    alone = {name: looks_of([name], DAY, random=[], emphasised=[])[name] for name in names}
    together = looks_of(list(dict.fromkeys([*others, *names])), DAY, random=[], emphasised=others)
    assert all(together[name].colour == alone[name].colour for name in names)


def test_a_colour_is_the_same_in_every_process():
    # The check value of CRC-32 is the checksum of these digits.
    assert colour_of("123456789", DAY) == list(DAY.methods.values())[0xCBF43926 % len(DAY.methods)]


def test_each_method_has_a_line_of_its_own():
    names = [*map(str, range(200)), *REGISTERED]
    found = looks_of(names, DAY, random=[], emphasised=[])
    assert len({(look.colour, look.dashes) for look in found.values()}) == len(names)


def test_random_choice_is_grey_and_dashed_under_any_name():
    found = looks_of(["a", "bald", "random query_size=5"], DAY, random=["a", "random query_size=5"], emphasised=[])
    assert found["a"].colour == found["random query_size=5"].colour == DAY.random
    assert len({"-", found["a"].dashes, found["random query_size=5"].dashes}) == 3
    assert max(to_rgb(DAY.random)) - min(to_rgb(DAY.random)) < 0.1
    assert max(to_rgb(NIGHT.random)) - min(to_rgb(NIGHT.random)) < 0.1
