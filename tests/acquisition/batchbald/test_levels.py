"""Laws of the averages of configurations that bound gains, and of the picks that are found by them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.acquisition.batchbald import batchbald, levels
from lightning_al.acquisition.batchbald.configurations import Configurations
from lightning_al.acquisition.batchbald.levels import Levels
from lightning_al.acquisition.batchbald.search import GainSearch
from tests import references
from tests.acquisition.batchbald.test_configurations import configurations_of, fast_gains, rounding
from tests.acquisition.test_hard_cases import assert_picks_of_evaluating_everything, problems
from tests.references import random_log_probs

pools = {
    "seed": st.integers(0, 10_000),
    "limit": st.sampled_from([20, 100, 1000]),
    "spread": st.sampled_from([0.5, 2.0, 10.0]),
}


def drawn(seed, limit, spread):
    """Log-probabilities of 20 points, and the configurations of the labels of 4 of them."""
    log_probs_N_K_C = random_log_probs(20, 6, 4, seed=seed, spread=spread)
    return log_probs_N_K_C, configurations_of(log_probs_N_K_C[:4], limit=limit)


def averages_of_levels(configurations, num_pairs):
    """The averages in place of the configurations at each level: the pairs of all levels so far, and the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "NUM_PAIRS", num_pairs)
        found = list(Levels(configurations))
    return [
        joined([*(level.pairs for level in found[: number + 1]), found[number].rest]) for number in range(len(found))
    ]


def joined(parts):
    weights_M, posteriors_M_K = zip(*((part.weights_M, part.posteriors_M_K) for part in parts), strict=True)
    return Configurations(torch.cat(weights_M), torch.cat(posteriors_M_K))


num_pairs = st.sampled_from([(2, 8, 32), (1,), (3, 10_000)])


@given(**pools, num_pairs=num_pairs)
def test_averages_never_lower_a_gain(seed, limit, spread, num_pairs):
    log_probs_N_K_C, configurations = drawn(seed, limit, spread)
    for averages in averages_of_levels(configurations, num_pairs):
        lifted_N = fast_gains(log_probs_N_K_C, averages) - fast_gains(log_probs_N_K_C, configurations)
        assert (lifted_N >= -rounding(configurations)).all()


@given(**pools, num_pairs=num_pairs)
def test_averages_keep_the_weight_and_the_mean(seed, limit, spread, num_pairs):
    _, configurations = drawn(seed, limit, spread)
    for averages in averages_of_levels(configurations, num_pairs):
        assert averages.weights_M.sum().item() == pytest.approx(1.0, abs=1e-6)
        torch.testing.assert_close(averages.mean_K, configurations.mean_K, rtol=1e-5, atol=1e-9)


@given(**pools, num_pairs=num_pairs)
def test_each_level_has_more_groups_than_the_last_and_fewer_than_the_whole(seed, limit, spread, num_pairs):
    _, configurations = drawn(seed, limit, spread)
    sizes = [len(averages) for averages in averages_of_levels(configurations, num_pairs)]
    assert sizes == sorted(set(sizes))
    assert all(size < len(configurations) for size in sizes)


def test_levels_are_made_once_and_can_be_asked_again():
    _, configurations = drawn(seed=0, limit=1000, spread=2.0)
    found = Levels(configurations)
    first = next(iter(found))
    again = list(found)
    assert len(again) > 1
    assert all(one is other for one, other in zip(again, found, strict=True))
    assert again[0] is first


def independent(N, K, C, *, spread):
    """Log-probabilities of samples that agree in nothing: the points that bounds tell apart with most difficulty."""
    logits_N_K_C = spread * torch.randn(N, K, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return logits_N_K_C.log_softmax(-1)


def test_pairs_of_samples_bound_the_gains_of_sharp_points_closely():
    """Where labels leave a doubt between two samples, averaging over all rivals of the likeliest hides which."""
    log_probs_N_K_C = independent(40, 20, 6, spread=3.0)
    configurations = configurations_of(log_probs_N_K_C[:5], limit=10_000)
    gains_N = fast_gains(log_probs_N_K_C[5:], configurations)
    _, without, *_, most = averages_of_levels(configurations, (1_000,))
    above_few, above_many = (fast_gains(log_probs_N_K_C[5:], averages) / gains_N - 1 for averages in (without, most))
    assert above_few.median() > 0.15
    assert above_many.median() < 0.05


@settings(max_examples=25)
@given(problem=problems(most_points=24, most_samples=16), M=st.sampled_from([30, 300, 1000]))
def test_picks_are_those_of_evaluating_everything_however_few_points_are_computed(problem, M):
    """Points are few in tests, so every level is asked as if they were many, and of most points only after a trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_al.acquisition.batchbald.search.FEW", 2)
        patch.setattr("lightning_al.acquisition.batchbald.search.NUM_TRIALS", 2)
        patch.setattr(levels, "NUM_PAIRS", (5, 20, 80))
        assert_picks_of_evaluating_everything(problem, M)


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
def test_picks_from_sharp_and_independent_points_are_those_of_evaluating_everything(spread):
    log_probs_N_K_C = independent(120, 12, 4, spread=spread)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, 5, num_configurations=500)
    assert batchbald(log_probs_N_K_C, 5, num_configurations=500).positions.tolist() == expected


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("num_trials", [2, 12])
def test_points_that_skipped_a_level_get_its_pairs_later(spread, num_trials, monkeypatch):
    """A level that would exclude few points is asked of the trials alone; the next one builds on its pairs."""
    monkeypatch.setattr("lightning_al.acquisition.batchbald.search.FEW", 4)
    monkeypatch.setattr("lightning_al.acquisition.batchbald.search.NUM_TRIALS", num_trials)
    monkeypatch.setattr(levels, "NUM_PAIRS", (5, 20, 80, 200))
    log_probs_N_K_C = independent(120, 12, 4, spread=spread)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, 8, num_configurations=500)
    assert batchbald(log_probs_N_K_C, 8, num_configurations=500).positions.tolist() == expected


def test_many_equal_finalists_are_told_apart_by_their_keys():
    """More equal points than are computed in float64 at once."""
    log_probs_N_K_C = random_log_probs(3, 8, 4, seed=8, dtype=torch.float32).repeat(40, 1, 1)
    expected = references.batchbald_evaluating_everything(log_probs_N_K_C, 6, num_configurations=300)
    assert batchbald(log_probs_N_K_C, 6, num_configurations=300).positions.tolist() == expected


@pytest.mark.parametrize("weight", [0.0, 1e-45, 1e-30])
def test_configurations_of_hardly_any_weight_leave_bounds_finite(weight):
    """A tilt may give a drawn configuration a weight so low that its average has no weighted sum."""
    log_probs_N_K_C = random_log_probs(60, 6, 4, seed=0, spread=2.0, dtype=torch.float32)
    configurations = configurations_of(log_probs_N_K_C[:4], limit=100)
    is_light_M = configurations.posteriors_M_K.argmax(1) == 0
    weights_M = configurations.weights_M.masked_fill(is_light_M, weight)
    light = Configurations(weights_M / weights_M.sum(), configurations.posteriors_M_K.float(), sampled=True)
    search = GainSearch(log_probs_N_K_C, torch.float32)
    for level in search.levels(light):
        assert level.pairs.posteriors_M_K.isfinite().all()
        assert level.rest.posteriors_M_K.isfinite().all()
    expected = references.gains(log_probs_N_K_C, light).argmax()
    assert search.best(light) == expected
