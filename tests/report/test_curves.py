from __future__ import annotations

from math import isnan

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from lightning_al.report import area_under_curve, labels_to_reach
from lightning_al.report.curves import area_or_nan, labels_to_target, quartile

curves = st.lists(
    st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=2, max_size=20, unique_by=lambda point: point[0]
).map(lambda points: tuple(zip(*sorted(points), strict=True)))


@given(curves)
def test_area_is_scipys_by_the_range(curve):
    labels, values = curve
    assert area_under_curve(labels, values) == pytest.approx(trapezoid(values, labels) / (labels[-1] - labels[0]))


@given(curves)
def test_area_lies_between_the_least_and_the_greatest_value(curve):
    labels, values = curve
    assert min(values) - 1e-12 <= area_under_curve(labels, values) <= max(values) + 1e-12


@given(curves, st.data())
def test_two_parts_make_the_whole(curve, data):
    labels, values = curve
    middle = data.draw(st.integers(labels[0], labels[-1]))
    parts = [(labels[0], middle), (middle, labels[-1])]
    whole = sum(area_under_curve(labels, values, between=part) * (part[1] - part[0]) for part in parts)
    assert whole == pytest.approx(area_under_curve(labels, values) * (labels[-1] - labels[0]))


def test_one_point_is_its_own_height():
    assert area_under_curve([10], [0.4]) == 0.4


@pytest.mark.parametrize(
    ("labels", "values"), [([10, 10], [0.1, 0.2]), ([10, 20], [0.1]), ([], []), ([20, 10], [0.1, 0.2])]
)
def test_what_is_no_curve_is_refused(labels, values):
    with pytest.raises(ValueError, match="expects one value for each of one or more increasing numbers of labels"):
        area_under_curve(labels, values)


def test_a_range_beyond_the_curve_is_refused():
    with pytest.raises(ValueError, match=r"a range within the recorded 10 to 20 labels, but got 5 to 20"):
        area_under_curve([10, 20], [0.1, 0.2], between=(5, 20))


def test_labels_to_reach_takes_the_first_round_though_a_later_one_falls_below():
    assert labels_to_reach([10, 20, 30, 40], [0.5, 0.8, 0.7, 0.9], 0.8) == 20
    assert labels_to_reach([10, 20], [0.5, 0.8], 0.81) is None


@pytest.mark.parametrize("target", [0.9, 0.95, 0.1, 0.7])
def test_a_target_is_reached_by_its_own_value_in_float32(target):
    value = float(np.float32(target))  # as Lightning logs it, here mostly a little less
    assert labels_to_reach([10, 20], [0.05, value], target) == 20
    assert labels_to_reach([10, 20], [2.0, value], target, mode="min") == 20
    assert labels_to_reach([10], [value - 1e-5], target) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_curve_of_a_run_that_diverged_is_refused_where_it_is_needed(value):
    labels, values = [10, 20, 30, 40], [0.1, 0.2, value, 0.4]
    with pytest.raises(
        ValueError, match=r"expects finite values, but got .* at 30 labels: the run diverged\. Leave it"
    ):
        area_under_curve(labels, values)
    assert area_under_curve(labels, values, between=(10, 20)) == pytest.approx(0.15)
    assert area_under_curve(labels, values, between=(40, 40)) == 0.4
    for between in [(10, 21), (20, 30), (25, 25), (30, 40), (35, 40)]:
        with pytest.raises(ValueError, match="expects finite values, but got"):
            area_under_curve(labels, values, between=between)
        assert isnan(area_or_nan(labels, values, between=between))


@given(curves, st.data())
def test_a_part_of_a_curve_needs_no_more_than_the_rounds_beside_it(curve, data):
    labels, values = curve
    low = data.draw(st.integers(labels[0], labels[-1]))
    high = data.draw(st.integers(low, labels[-1]))
    needed = [place for place in range(len(labels)) if _touches(labels, place, low, high)]
    rest = [value if place in needed else float("nan") for place, value in enumerate(values)]
    expected = area_under_curve(labels, values, between=(low, high))
    assert area_under_curve(labels, rest, between=(low, high)) == pytest.approx(expected)


def _touches(labels, place, low, high):
    """Whether a point carries weight in the area: its hat function is above zero somewhere in the range."""
    before = labels[place - 1] if place else labels[place]
    after = labels[place + 1] if place + 1 < len(labels) else labels[place]
    return (
        low <= labels[place] <= high
        or (before < low < labels[place])
        or (labels[place] < high < after)
        or (before < high < labels[place] or labels[place] < low < after)
    )


counts = st.lists(st.integers(1, 500), min_size=1, max_size=12)
shares = st.sampled_from([0.25, 0.5, 0.75])


@given(counts, shares)
def test_quartiles_are_numpys_where_all_runs_reach_the_target(numbers, share):
    assert quartile(numbers, share) == pytest.approx(np.quantile(numbers, share))


@given(counts, st.integers(1, 12), shares, st.integers(501, 10_000))
def test_a_quartile_stands_or_falls_with_whether_it_depends_on_runs_that_never_reach(numbers, missing, share, never):
    found = quartile([*numbers, *[None] * missing], share)
    # Any number beyond all that were recorded may stand in for the missing ones, where the quartile does not need them.
    stand_ins = [np.quantile([*numbers, *[later] * missing], share) for later in (never, 2 * never)]
    if found is None:
        assert stand_ins[0] != stand_ins[1]
    else:
        assert stand_ins == pytest.approx([found, found])


@pytest.mark.parametrize("numbers", [[], [float("nan")], [10, float("nan"), None]])
def test_a_quartile_is_of_numbers(numbers):
    with pytest.raises(ValueError, match=r"`quartile` expects one number or more, .* Leave out"):
        quartile(numbers, 0.5)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple, lambda numbers: pd.Series(numbers, index=[7, 3, 5])])
def test_any_sequence_of_numbers_is_a_curve(kind):
    labels, values = kind([10, 20, 40]), kind([0.5, 0.75, 1.0])
    assert area_under_curve(labels, values) == pytest.approx((10 * 0.625 + 20 * 0.875) / 30)
    assert area_or_nan(labels, values, between=(20, 40)) == pytest.approx(0.875)
    assert isnan(area_or_nan(labels, kind([0.5, 0.75, float("inf")])))
    found = [labels_to_reach(labels, values, 0.75), *labels_to_target([(labels, values)], 0.75, mode="max")]
    assert (found, [type(count) for count in found]) == ([20, 20], [int, int])
    assert quartile(values, 0.5) == 0.75
    with pytest.raises(ValueError, match=r"increasing numbers of labels, but got labels \[10, 20, 40\] and 2 values"):
        area_under_curve(labels, values[:2])


@pytest.mark.parametrize("curves", [[], [([], [])], [([10], [0.5]), ([], [])]])
def test_a_target_needs_curves(curves):
    with pytest.raises(ValueError, match="expects one or more curves of one or more rounds each"):
        labels_to_target(curves, 0.5, mode="max")


def test_every_number_of_labels_has_a_value():
    with pytest.raises(ValueError, match="expects one value for each number of labels, but got 2 numbers and 1 values"):
        labels_to_reach([10, 20], [0.5], 0.5)
    with pytest.raises(ValueError, match="increasing numbers of labels"):
        area_under_curve([10, float("nan")], [0.5, 0.6])
