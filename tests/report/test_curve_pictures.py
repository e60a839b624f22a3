from __future__ import annotations

import pytest
from matplotlib.image import imread

from lightning_al.report.comparison import compare
from lightning_al.report.curve_pictures import comparison_picture, curve_picture, lines_of
from lightning_al.report.pictures import DAY, save_picture
from tests.report.test_comparison import methods
from tests.support.runs import run


def test_a_curve_has_its_points_axes_and_title():
    [row] = compare({"bald": [run(height=0.5)]})
    figure = curve_picture([row], "test_acc", title="A title")
    [axes] = figure.axes
    [line] = axes.lines
    assert line.get_xdata().tolist() == [10, 20, 30]
    assert line.get_ydata() == pytest.approx([0.5, 0.6, 0.7])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("labels", "test accuracy")
    assert axes.get_title(loc="left") == "A title"
    assert not axes.collections


def test_validation_labels_are_named():
    figure = curve_picture(compare({"bald": [run(validation_labels=1024)]}), "test_acc", title="")
    assert figure.axes[0].get_xlabel() == "labels (+ 1,024 validation labels)"


def test_a_comparison_has_a_band_a_method_and_the_paired_differences():
    figure = comparison_picture(compare(methods()), "test_acc", title="Three")
    curves, differences = figure.axes
    assert len(curves.collections) == 3
    assert [text.get_text() for text in differences.texts] == ["bald", "batchbald"]
    assert "minus random's" in differences.get_xlabel()
    assert len(differences.collections[0].get_offsets()) == 6


def test_without_a_baseline_there_is_only_the_curve():
    assert len(comparison_picture(compare({"bald": [run()]}), "test_acc", title="").axes) == 1


def test_pictures_are_written_without_pyplot(tmp_path):
    save_picture(curve_picture(compare({"bald": [run()]}), "test_acc", title="A title"), tmp_path / "curve.png")
    assert imread(tmp_path / "curve.png").shape[0] > 300
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_a_name_is_no_formula(tmp_path):
    rows = compare({r"$\frac{1$": [run("bald")], "$random$": [run("random", "Random")]})
    save_picture(comparison_picture(rows, "$m$", title="$x"), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()


def test_each_method_has_a_line_of_its_own():
    names = [str(number) for number in range(28)]
    found = lines_of([*names, "random"], "random", DAY)
    assert len(set(found.values())) == 29
    assert found["random"] == (DAY.baseline, "-")
