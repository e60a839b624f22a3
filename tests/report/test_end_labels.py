"""Names at the ends of lines: moved apart, and no further than needed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from lightning_al.report.end_labels import spread

wanted = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(wanted, st.floats(0, 0.08))
def test_names_are_where_isotonic_regression_puts_them(places, gap):
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    expected = np.empty(len(places))
    expected[order] = isotonic_regression(np.array(places)[order] - steps, y_min=0, y_max=1 - steps[-1]) + steps
    assert spread(places, gap) == pytest.approx(expected, abs=1e-6)


@given(wanted, st.floats(0.001, 0.3), st.floats(0.5, 1))
def test_names_are_a_gap_apart_in_the_order_of_the_lines(places, gap, most):
    found = spread(places, gap, most=most)
    order = sorted(range(len(places)), key=places.__getitem__)
    assert all(found[after] - found[before] >= gap - 1e-9 for before, after in pairwise(order))
    assert max(found) <= most + 1e-9
    assert min(found) >= min(0, most - gap * (len(places) - 1)) - 1e-9
