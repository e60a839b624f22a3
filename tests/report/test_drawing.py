from __future__ import annotations

import warnings

from lightning_al.report.drawing import DAY, NIGHT, lines_of, picture


def draw(figure, ink):
    figure.subplots().plot([1, 2], color=ink.methods[0], label="$\\frac{1$ 日本")
    figure.legend()


def test_a_picture_is_the_same_each_time_and_another_by_night():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = picture("a", "A line", draw), picture("a", "A line", draw)
    assert one == other
    assert one.day != one.night
    assert DAY.methods[0].lower().encode() in one.day
    assert NIGHT.methods[0].lower().encode() in one.night
    assert "$\\frac{1$ 日本".encode() in one.day


def test_each_method_has_a_line_of_its_own():
    names = [str(number) for number in range(28)]
    found = lines_of([*names, "random"], "random", DAY)
    assert len(set(found.values())) == 29
    assert found["random"] == (DAY.baseline, "-")
