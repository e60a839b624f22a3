from __future__ import annotations

import pytest
import torch
from matplotlib.image import imread

from lightning_al.report.comparison import compare
from lightning_al.report.pictures import asked_picture, axis_name, comparison_picture, curve_picture, save_picture
from tests.report.test_comparison import methods
from tests.support.runs import run


def texts(figure) -> list[str]:
    figure.draw_without_rendering()
    return [
        text.get_text() for axes in figure.axes for text in axes.findobj(lambda artist: hasattr(artist, "get_text"))
    ]


def test_a_curve_has_its_points_axes_and_title():
    [row] = compare({"bald": [run(height=0.5)]})
    figure = curve_picture([row], "test_acc", title="A title")
    [axes] = figure.axes
    [line] = axes.lines
    assert line.get_xdata().tolist() == [10, 20, 30]
    assert line.get_ydata() == pytest.approx([0.5, 0.6, 0.7])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training labels", "test accuracy")
    assert axes.get_title(loc="left") == "A title"
    assert not axes.collections


def test_validation_labels_are_named():
    figure = curve_picture(compare({"bald": [run(validation_labels=1024)]}), "test_acc", title="")
    assert figure.axes[0].get_xlabel() == "training labels (+ 1,024 validation labels)"


def test_a_comparison_has_a_band_a_method_and_the_paired_differences():
    figure = comparison_picture(compare(methods()), "test_acc", title="Three")
    curves, differences = figure.axes
    assert len(curves.collections) == 3
    assert [label.get_text() for label in differences.get_yticklabels()] == ["bald", "batchbald"]
    assert "minus random's" in differences.get_xlabel()
    assert len(differences.collections[0].get_offsets()) == 6


def test_without_a_baseline_there_is_only_the_curve():
    assert len(comparison_picture(compare({"bald": [run()]}), "test_acc", title="").axes) == 1


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


def test_pictures_are_written_without_pyplot(tmp_path):
    save_picture(curve_picture(compare({"bald": [run()]}), "test_acc", title="A title"), tmp_path / "curve.png")
    assert imread(tmp_path / "curve.png").shape[0] > 300
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.parametrize(
    ("metric", "name"), [("posterior_nll", "posterior negative log-likelihood (nats)"), ("f1", "f1")]
)
def test_axis_names(metric, name):
    assert axis_name(metric) == name


def test_a_name_is_no_formula(tmp_path):
    rows = compare({r"$\frac{1$": [run("bald")], "$random$": [run("random", "Random")]})
    save_picture(comparison_picture(rows, "$m$", title="$x"), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()
