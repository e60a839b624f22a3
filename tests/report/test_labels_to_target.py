from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.report.comparison import compare
from lightning_al.report.labels_to_target import labels_to_target, quartile
from tests.support.runs import run

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


def reached(*runs, target=0.6):
    [method] = compare({"bald": list(runs)})
    return labels_to_target(method, target)


def test_labels_to_a_target_over_seeds():
    found = reached(run(seed=0, height=0.6), run(seed=1, height=0.5), run(seed=2, height=0.3))
    assert found.labels == [10, 20, None]
    assert found.shown == ["15", "20", "over 30"]
    assert (found.num_reached, found.resolution) == (2, 10)


def test_a_shorter_run_does_not_count_as_one_that_failed():
    short = run(seed=0, labels=[10, 20], values=[0.1, 0.2])
    long = run(seed=1, labels=[10, 20, 30], values=[0.1, 0.2, 0.9])
    assert reached(short, long).labels == [None, None]
    assert reached(short, long).shown == ["over 20"] * 3


def test_of_a_loss_less_is_better():
    loss = run(metric="test_loss", labels=[10, 20, 30], values=[0.9, 0.5, 0.2])
    assert reached(loss, target=0.5).labels == [20]


@pytest.mark.parametrize("numbers", [[], [float("nan")], [10, float("nan"), None]])
def test_a_quartile_is_of_numbers(numbers):
    with pytest.raises(ValueError, match=r"`quartile` expects one number or more, .* Leave out"):
        quartile(numbers, 0.5)
