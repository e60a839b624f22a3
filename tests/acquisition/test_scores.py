"""Entropy, margin, least confidence, variation ratio and random, each against its definition."""

import math
from collections import Counter

import pytest
import torch

from lightning_al.acquisition import Entropy, LeastConfidence, Margin, Random, ScoreAcquisition, VariationRatio
from lightning_al.points import Candidates
from tests import references
from tests.references import random_log_probs

N, K, C = 12, 5, 4


ANY = torch.Generator()


@pytest.fixture
def candidates():
    return Candidates(N, random_log_probs(N, K, C, seed=0))


@pytest.fixture
def means(candidates):
    """The posterior mean of each point, as a list of C probabilities in descending order."""
    return [sorted((sum(sample) / K for sample in zip(*point.tolist(), strict=True)), reverse=True)
            for point in candidates.log_probs_N_K_C.exp()]  # fmt: skip


def test_entropy(candidates, means):
    assert Entropy().score(candidates, torch.Generator()).tolist() == pytest.approx(
        [references.entropy(mean) for mean in means]
    )


def test_margin(candidates, means):
    assert Margin().score(candidates, torch.Generator()).tolist() == pytest.approx(
        [mean[1] - mean[0] for mean in means]
    )


def test_least_confidence(candidates, means):
    assert LeastConfidence().score(candidates, torch.Generator()).tolist() == pytest.approx(
        [1 - mean[0] for mean in means]
    )


def test_variation_ratio(candidates):
    votes = candidates.log_probs_N_K_C.argmax(-1).tolist()
    expected = [1 - Counter(point).most_common(1)[0][1] / K for point in votes]
    assert VariationRatio().score(candidates, torch.Generator()).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores_N", "said"),
    [
        (
            torch.tensor([1.0, math.nan, 2.0, math.nan]),
            "`Given` scored 2 candidates as NaN, the first at position 1",
        ),
        (
            torch.zeros(3),
            r"`Given.score` should return scores of shape \[4\], one for each candidate, but got \[3\]",
        ),
        (torch.zeros(4, 1), r"`Given.score` should return scores of shape \[4\], .*, but got \[4, 1\]. Return"),
    ],
)
def test_scores_of_ones_own_that_rank_nothing_raise(scores_N, said):
    class Given(ScoreAcquisition):
        def score(self, candidates, generator):
            return scores_N

    with pytest.raises(ValueError, match=said):
        Given().select(Candidates(4, random_log_probs(4, 2, 3, seed=0)), 2, torch.Generator())


def test_variation_ratio_of_one_sample_raises():
    with pytest.raises(ValueError, match="`VariationRatio` compares posterior samples"):
        VariationRatio().score(Candidates(2, torch.zeros(2, 1, 1)), torch.Generator())


def test_random_never_runs_the_model():
    def fail():
        raise AssertionError("the model was run")

    selection = Random().select(Candidates(5, fail), 3, torch.Generator().manual_seed(0))
    assert selection.scores.tolist() == [0, 0, 0]


def test_random_selects_each_candidate_equally_often():
    generator = torch.Generator().manual_seed(0)
    candidates = Candidates(4, torch.empty(4, 1, 2))
    picks = Counter(Random().select(candidates, 1, generator).positions.item() for _ in range(4000))
    # The standard deviation of each count is 27.
    assert all(abs(count - 1000) < 110 for count in picks.values())


@pytest.mark.parametrize("acquisition", [Entropy(), Margin(), LeastConfidence()])
def test_one_posterior_sample_is_enough(acquisition):
    log_probs_N_1_C = random_log_probs(6, 1, 3, seed=1)
    assert acquisition.score(Candidates(6, log_probs_N_1_C), torch.Generator()).shape == (6,)
