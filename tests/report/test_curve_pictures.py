from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.image import imread
from matplotlib.text import Text
from scipy import stats

from lightning_al.report.comparison import compare
from lightning_al.report.curve_pictures import comparison_picture, curve_picture
from lightning_al.report.pictures import save_picture
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


def test_a_comparison_has_bands_and_the_paired_differences_the_best_first():
    figure = comparison_picture(compare(methods()), "test_acc", title="Three")
    curves, differences = figure.axes
    assert len(curves.collections) == 3
    assert [text.get_text() for text in differences.texts] == ["batchbald", "bald"]
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


def many(count, *, seeds=4):
    """Random choice, and methods m1, m2, ... whose curves lie 0.01 higher each."""
    runs = {"random": [run("random", "Random", seed=seed, height=0.5 + 0.02 * seed) for seed in range(seeds)]}
    for place in range(1, count):
        heights = [0.5 + 0.01 * place + 0.02 * seed for seed in range(seeds)]
        runs[f"m{place}"] = [run(f"m{place}", seed=seed, height=height) for seed, height in enumerate(heights)]
    return compare(runs)


@pytest.mark.parametrize(
    ("count", "emphasised"), [(2, {"random", "m1"}), (3, {"random", "m1", "m2"}), (9, {"random", "m7", "m8"})]
)
def test_at_most_three_methods_stand_out_with_a_band(count, emphasised):
    [axes] = curve_picture(many(count), "test_acc", title="").axes
    assert len(axes.collections) == len(emphasised)
    assert {text.get_text() for text in axes.texts if text.get_fontweight() == "bold"} == emphasised
    widths = sorted((line.get_linewidth() for line in axes.lines), reverse=True)
    assert min(widths[: len(emphasised)]) > max(widths[len(emphasised) :], default=0)


def test_a_loss_stands_out_where_it_is_low():
    rows = compare({f"m{place}": [run(f"m{place}", metric="test_loss", height=place)] for place in range(5)})
    [axes] = curve_picture(rows, "test_loss", title="").axes
    assert {text.get_text() for text in axes.texts if text.get_fontweight() == "bold"} == {"m0", "m1"}


def test_a_band_is_the_t_interval_of_the_mean():
    rows = many(2)
    [axes] = curve_picture(rows, "test_acc", title="").axes
    values = [one.values[0] for one in rows[0].runs]
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[corners[:, 0] == 10, 1].min() == pytest.approx(expected[0])
    assert corners[corners[:, 0] == 10, 1].max() == pytest.approx(expected[1])


def test_names_at_the_ends_have_the_colours_of_their_lines_and_do_not_overlap():
    runs = {f"m{place}": [run(f"m{place}", height=0.5 + 1e-6 * place)] for place in range(20)}
    figure = curve_picture(compare(runs), "test_acc", title="Twenty")
    figure.draw_without_rendering()
    [axes] = figure.axes
    assert [text.get_text() for text in axes.texts] == list(runs)
    for line, text in zip(axes.lines, axes.texts, strict=True):
        assert same_color(line.get_color(), text.get_color())
    # Without the lines that join them with the curves.
    boxes = sorted((Text.get_window_extent(text) for text in axes.texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_a_method_has_one_colour_over_all_pictures():
    alone, together = compare({"bald": [run()]}), compare({**methods(), "entropy": [run("entropy")]})
    [line] = curve_picture(alone, "test_acc", title="").axes[0].lines
    curves, differences = comparison_picture(together, "test_acc", title="").axes
    [of_curve] = [text.get_color() for text in curves.texts if text.get_text() == "bald"]
    assert same_color(line.get_color(), of_curve)
    assert any(same_color(line.get_color(), drawn.get_color()) for drawn in differences.lines)


def test_a_title_names_a_band_only_where_there_is_one():
    rows = {f"m{place}": [run(f"m{place}", metric="quality", seed=seed) for seed in range(2)] for place in range(4)}
    [axes] = curve_picture(compare(rows), "quality", title="Four").axes  # which of them is best is not known
    assert not axes.collections
    assert axes.get_title(loc="left") == "Four\nMean of 2 seeds"
