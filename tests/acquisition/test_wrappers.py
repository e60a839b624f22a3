"""Acquisition functions that select by another one: Subsample, ClassBalanced and AtMostPerGroup."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition import (
    BALD,
    Acquisition,
    AtMostPerGroup,
    BatchBALD,
    ClassBalanced,
    Margin,
    Random,
    Selection,
    Stochastic,
    Subsample,
    create,
)
from lightning_al.points import Candidates
from lightning_al.run.config import config_of
from lightning_al.testing import check_acquisition
from tests.references import posterior_mean, random_log_probs

N, K, C = 30, 5, 3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_classes(sizes: list[int], seed: int = 0) -> torch.Tensor:
    """Predictions ``[N, 1, C]`` of which so many are for each class, in random order."""
    classes_N = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    logits_N_C = 3 * torch.nn.functional.one_hot(classes_N, len(sizes)).double()
    logits_N_C += torch.rand(logits_N_C.shape, generator=seeded(seed), dtype=torch.float64)
    return logits_N_C[torch.randperm(len(classes_N), generator=seeded(seed))].log_softmax(-1)[:, None]


@pytest.mark.parametrize(
    "acquisition",
    [
        Subsample("bald", 7),
        pytest.param(Subsample(BatchBALD(num_configurations=100), 3), marks=pytest.mark.slow),
        ClassBalanced("margin"),
        pytest.param(ClassBalanced(Stochastic("bald"), share=1.0), marks=pytest.mark.slow),
        AtMostPerGroup(BatchBALD(num_configurations=20), n=2),
        pytest.param(AtMostPerGroup("entropy"), marks=pytest.mark.slow),
        AtMostPerGroup(ClassBalanced(Subsample("epig", 12)), n=3),
    ],
    ids=["scores", "batch", "classes", "all in classes", "groups of a batch", "groups of scores", "nested"],
)
def test_keeps_the_promises_of_an_acquisition_function(acquisition: Acquisition) -> None:
    check_acquisition(acquisition)
    nothing = Candidates(0, torch.empty(0, K, C), groups=torch.empty(0, dtype=torch.int64))
    assert acquisition.select(nothing, 2, seeded(0)).positions.tolist() == []
    with pytest.raises(ValueError, match="at least 1 point, but got b=0"):
        acquisition.select(nothing, 0, seeded(0))


# Subsample.


def test_positions_are_those_among_all_candidates() -> None:
    """Baal takes ranks within the sample for positions in the pool."""
    log_probs_N_K_C = random_log_probs(N, K, C, seed=0)
    scores = BALD().score(Candidates(N, log_probs_N_K_C), seeded(0))
    found = set()
    for seed in range(20):
        selection = Subsample("bald", 6).select(Candidates(N, log_probs_N_K_C), 4, seeded(seed))
        assert selection.scores.equal(scores[selection.positions])
        found |= set(selection.positions.tolist())
    assert len(found) > 20


def test_of_a_sample_the_best_are_selected_and_only_it_is_read() -> None:
    read: list[int] = []

    class Reading(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            read.append(len(candidates.log_probs_N_K_C))
            return Random().select(candidates, b, generator)

    candidates = Candidates(N, random_log_probs(N, K, C, seed=0))
    assert len(Subsample(Reading(), 5).select(candidates, 3, seeded(0)).positions) == 3
    assert len(Subsample(Reading(), 5).select(candidates, 8, seeded(0)).positions) == 8
    assert read == [5, 8]
    assert (
        Subsample("bald", N)
        .select(candidates, 4, seeded(1))
        .positions.equal(BALD().select(candidates, 4, seeded(1)).positions)
    )


def test_the_report_of_a_batch_stays() -> None:
    selection: Any = Subsample(BatchBALD(), 10).select(Candidates(N, random_log_probs(N, K, C, seed=0)), 3, seeded(0))
    assert selection.report.information == pytest.approx(selection.scores.tolist())
    assert selection.metrics["information"] == selection.report.information


def test_the_pool_stays_the_target() -> None:
    log_probs_N_K_C = random_log_probs(N, K, C, seed=0)
    whole_N = create("epig").score(Candidates(N, log_probs_N_K_C), seeded(0))  # type: ignore[attr-defined]
    selection = Subsample("epig", 6).select(Candidates(N, log_probs_N_K_C), 4, seeded(0))
    torch.testing.assert_close(selection.scores, whole_N[selection.positions])


# ClassBalanced.


def dealt_in_turn(sizes: dict[int, int], num_dealt: int) -> list[int]:
    """How many candidates classes are dealt, in descending order, one after the other to whoever has the fewest."""
    dealt = dict.fromkeys(sizes, 0)
    for _ in range(num_dealt):
        dealt[min((c for c in sizes if dealt[c] < sizes[c]), key=lambda c: dealt[c])] += 1
    return sorted(dealt.values())


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.integers(1, 20), st.integers(0, 99))
def test_classes_are_dealt_the_same_number_as_long_as_they_have_candidates(sizes: list[int], b: int, seed: int) -> None:
    log_probs_N_1_C = of_classes([*sizes, 1], seed)
    classes = [mean.index(max(mean)) for mean in posterior_mean(log_probs_N_1_C)]
    candidates = Candidates(len(classes), log_probs_N_1_C)
    positions = ClassBalanced("entropy", share=1.0).select(candidates, b, seeded(seed)).positions.tolist()
    counts = Counter(classes[position] for position in positions)
    assert sorted(counts[c] for c in set(classes)) == dealt_in_turn(Counter(classes), min(b, len(classes)))


def test_the_most_uncertain_of_each_class_and_the_rest_by_the_other_method() -> None:
    log_probs_N_1_C = of_classes([20, 6, 4])
    candidates = Candidates(30, log_probs_N_1_C)
    scores_N = Margin().score(candidates, seeded(0))
    classes_N = log_probs_N_1_C[:, 0].argmax(1)
    selection = ClassBalanced("margin", share=0.6).select(candidates, 10, seeded(0))
    assert selection.scores.equal(scores_N[selection.positions])
    expected = set()
    for number in range(3):
        members = (classes_N == number).nonzero().flatten()
        expected |= set(members[scores_N[members].topk(2).indices].tolist())
    assert set(selection.positions[:6].tolist()) == expected
    left = [place for place in scores_N.argsort(descending=True).tolist() if place not in expected]
    assert selection.positions[6:].tolist() == left[:4]


def test_no_share_is_the_other_method() -> None:
    candidates = Candidates(30, of_classes([20, 6, 4]))
    selection = ClassBalanced("margin", share=0.0).select(candidates, 5, seeded(0))
    assert selection.positions.equal(Margin().select(candidates, 5, seeded(0)).positions)


def test_which_class_is_dealt_one_more_is_chance() -> None:
    candidates = Candidates(9, of_classes([3, 3, 3]))
    classes_N = candidates.log_probs_N_K_C[:, 0].argmax(1)
    acquisition = ClassBalanced("margin", share=1.0)
    firsts = {int(classes_N[acquisition.select(candidates, 1, seeded(seed)).positions]) for seed in range(30)}
    assert firsts == {0, 1, 2}


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", True, None])
def test_a_share_that_is_none_raises(share: Any) -> None:
    with pytest.raises(
        ValueError, match=r"deals a `share` of each batch to the predicted classes, but got .*\. Pass a"
    ):
        ClassBalanced("margin", share=share)


# AtMostPerGroup.


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 12), st.integers(1, 3))
def test_scores_are_taken_in_order_but_for_full_groups(groups: list[int], b: int, n: int) -> None:
    candidates = Candidates(len(groups), random_log_probs(len(groups), 1, C, seed=0), groups=torch.tensor(groups))
    ranking = Margin().select(candidates, len(groups), seeded(0)).positions.tolist()
    expected: list[int] = []
    for limit in range(n, n + len(groups) + n, n):  # it rises once no more fit
        for place in ranking:
            fits = sum(groups[place] == groups[other] for other in expected) < limit
            if place not in expected and fits and len(expected) < b:
                expected.append(place)
    selection = AtMostPerGroup("margin", n=n).select(candidates, b, seeded(0))
    assert selection.positions.tolist() == expected
    assert (selection.warning is not None) == (max(Counter(groups[i] for i in expected).values()) > n)


def test_a_batch_method_selects_again_until_the_batch_is_full() -> None:
    log_probs_N_K_C = random_log_probs(12, 8, 3, seed=1)
    candidates = Candidates(12, log_probs_N_K_C, groups=torch.arange(12) // 3)
    selection = AtMostPerGroup("batchbald").select(candidates, 4, seeded(0))
    assert sorted((selection.positions // 3).tolist()) == [0, 1, 2, 3]
    assert selection.positions[0] == BALD().select(candidates, 1, seeded(0)).positions[0]


def test_a_batch_within_the_limit_is_the_other_methods() -> None:
    candidates = Candidates(12, random_log_probs(12, 8, 3, seed=1), groups=torch.arange(12))
    selection = AtMostPerGroup("batchbald").select(candidates, 4, seeded(0))
    expected = BatchBALD().select(candidates, 4, seeded(0))
    assert selection.positions.equal(expected.positions)
    assert selection.scores.equal(expected.scores)
    assert selection.metrics == expected.metrics


def test_more_points_than_groups_is_told() -> None:
    candidates = Candidates(6, random_log_probs(6, 2, 2, seed=0), groups=torch.tensor([0, 0, 0, 0, 1, 1]))
    selection = AtMostPerGroup("bald").select(candidates, 4, seeded(0))
    assert sorted(candidates.groups_N[selection.positions].tolist()) == [0, 0, 1, 1]
    assert selection.warning is not None
    assert "no 4 candidates in 2 groups, so it selected up to 2 of a group. Lower `query_size`" in selection.warning


def test_candidates_without_groups_raise() -> None:
    with pytest.raises(ValueError, match=r"reads groups, but these points have none\..*ActiveDataModule\(groups"):
        AtMostPerGroup("bald").select(Candidates(3, random_log_probs(3, 2, 2, seed=0)), 1, seeded(0))


# All of them.


def test_they_need_what_the_inner_one_needs_and_are_recorded_with_it() -> None:
    nested = AtMostPerGroup(Subsample("batchbald", size=50), n=2)
    assert nested == AtMostPerGroup(Subsample(BatchBALD(), 50.0), n=2)  # type: ignore[arg-type]
    assert nested.min_samples == 2
    assert Subsample("random", 5).tasks == Random.tasks
    assert ClassBalanced("random").tasks == {"multiclass", "binary"}
    assert config_of(nested) == {
        "class": "lightning_al.AtMostPerGroup",
        "acquisition": {
            "class": "lightning_al.Subsample",
            "acquisition": config_of(BatchBALD()),
            "size": 50,
        },
        "n": 2,
    }


@pytest.mark.parametrize(("kind", "name"), [(Subsample, "size"), (AtMostPerGroup, "n")])
def test_numbers_below_one_raise(kind: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"`{kind.__name__}` needs `{name}` of at least 1, but got 0"):
        kind("bald", **{name: 0})
