from __future__ import annotations

import warnings

import torch

from lightning_al.report.looks import DAY, NIGHT
from lightning_al.report.pictures import asked_picture, picture


def draw(figure, ink):
    figure.subplots().plot([1, 2], color=ink.methods["bald"], label="$\\frac{1$ 日本")
    figure.legend()


def test_a_picture_is_the_same_each_time_and_another_by_night():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = picture("a", "A line", draw), picture("a", "A line", draw)
    assert one == other
    assert one.day != one.night
    assert DAY.methods["bald"].lower().encode() in one.day
    assert NIGHT.methods["bald"].lower().encode() in one.night
    assert "$\\frac{1$ 日本".encode() in one.day


def texts(figure) -> list[str]:
    figure.draw_without_rendering()
    return [
        text.get_text() for axes in figure.axes for text in axes.findobj(lambda artist: hasattr(artist, "get_text"))
    ]


def test_asked_shows_every_image_with_its_label_in_order():
    rounds = [[torch.rand(1, 8, 8) for _ in range(3)], [torch.rand(3, 4, 4), torch.rand(5, 5), torch.zeros(1, 2, 2)]]
    figure = asked_picture(rounds, [[7, 1, None], [0, "cat", 2]], ["first", "second"], title="Asked")
    [axes] = figure.axes
    assert len(axes.images) == 6
    assert [image.get_extent()[0] for image in axes.images] == [0, 1, 2, 0, 1, 2]
    shown = [text for text in texts(figure) if text]
    assert {"first", "second", "Asked", "7", "1", "0", "cat", "2"} <= set(shown)
    assert "None" not in shown


def test_asked_says_what_it_leaves_out():
    figure = asked_picture([[torch.rand(1, 2, 2)] * 41], [[1] * 41], ["first"], title="Asked")
    assert len(figure.axes[0].images) == 40
    assert any("Shown are the first 40 images" in text for text in texts(figure))
