from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_al.report import holm, paired_difference, sign_flip_p

differences = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=1, max_size=9)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def sign_flip_by_enumeration(values: list[float]) -> float:
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in product((-1, 1), repeat=len(values))
    ]
    return float(np.mean([total >= abs(sum(values)) - 1e-9 for total in sums]))


@given(differences)
def test_sign_flip_is_the_share_of_all_flips(values):
    assert sign_flip_p(values) == pytest.approx(sign_flip_by_enumeration(values), abs=1e-12)


@given(differences)
def test_sign_flip_agrees_with_scipys_permutation_test(values):
    if not any(values):
        return
    theirs = (
        stats.permutation_test(
            (np.array(values), np.zeros(len(values))),
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        if len(values) > 1
        else None
    )
    if theirs is not None:
        assert sign_flip_p(values) == pytest.approx(theirs.pvalue)


@given(differences, st.floats(0.1, 10))
def test_sign_flip_knows_no_direction_and_no_scale(values, scale):
    p = sign_flip_p(values)
    assert sign_flip_p([-value for value in values]) == p
    assert sign_flip_p([scale * value for value in values]) == p
    assert 2 ** (1 - len(values)) <= p <= 1


@pytest.mark.parametrize("n", [3, 5, 6, 8, 40])
def test_smallest_p_is_reached_when_all_differences_agree(n):
    difference = paired_difference([1.0 + k / n for k in range(n)], [0.0] * n)
    assert difference.p_sign_flip == difference.smallest_p == 2.0 ** (1 - n)


@pytest.mark.parametrize("n", [0, 41])
def test_numbers_that_it_is_not_worked_out_for_are_refused(n):
    with pytest.raises(ValueError, match=rf"expects 1 to 40 paired differences, but got {n}"):
        sign_flip_p([1.0] * n)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_t_interval_and_p_are_scipys(pairs):
    values, baseline = map(np.array, zip(*pairs, strict=True))
    ours = paired_difference(list(values), list(baseline))
    if np.std(values - baseline) < 1e-6:
        return
    theirs = stats.ttest_rel(values, baseline)
    interval = theirs.confidence_interval(0.95)
    assert ours.p_t == pytest.approx(theirs.pvalue, rel=1e-6)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert ours.mean == pytest.approx(np.mean(values) - np.mean(baseline))


def test_equal_differences_leave_the_t_test_nothing_to_doubt():
    assert paired_difference([0.5, 0.5], [0.5, 0.5]).p_t == 1
    sure = paired_difference([1.0, 1.0], [0.5, 0.5])
    assert (sure.p_t, sure.low, sure.high) == (0, 0.5, 0.5)


def test_a_single_pair_tells_nothing():
    single = paired_difference([0.9], [0.1])
    assert (single.n, single.p_t, single.p_sign_flip) == (1, 1, 1)
    assert single.low == -np.inf


@given(probabilities)
def test_holm_is_the_step_down_definition(p_values):
    m = len(p_values)
    ranked = sorted(p_values)
    expected = {p: min(1.0, max((m - j) * ranked[j] for j in range(ranked.index(p) + 1))) for p in p_values}
    corrected = holm(p_values)
    for p, value in zip(p_values, corrected, strict=True):
        # Equal p values get the correction of the last of them, which is the greatest seen so far.
        assert value >= expected[p] - 1e-12
        assert p <= value <= min(1.0, m * p) + 1e-12


@given(probabilities)
def test_holm_keeps_the_order(p_values):
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused(value):
    for pairs in ([value, 1.0, 1.0], [0.5, 0.5, 0.5]), ([0.5, 0.5, 0.5], [1.0, value, 1.0]):
        with pytest.raises(ValueError, match=r"`paired_difference` expects finite numbers, but got .* among 6: a run"):
            paired_difference(*pairs)
    with pytest.raises(
        ValueError, match=r"`sign_flip_p` expects finite numbers, but got .* among 2: a run that diverged"
    ):
        sign_flip_p([1.0, value])
    with pytest.raises(ValueError, match="`holm` expects p values between 0 and 1, but got"):
        holm([0.5, value])


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match=r"but got \[0.5, .*\]\. Leave out what was not tested"):
        holm([0.5, p])


def test_pairs_are_as_many_of_one_as_of_the_other():
    with pytest.raises(ValueError, match="one method as of the other, seed by seed, but got 1 and 2"):
        paired_difference([1.0], [1.0, 2.0])


def test_the_same_difference_for_all_seeds_is_noticed():
    assert paired_difference([0.3, 0.6], [0.2, 0.5]).is_constant  # but for rounding
    assert not paired_difference([0.3, 0.6], [0.3, 0.6]).is_constant  # where there is no difference to believe
    assert not paired_difference([0.3, 0.6], [0.2, 0.4999]).is_constant
    assert not paired_difference([0.3], [0.2]).is_constant
