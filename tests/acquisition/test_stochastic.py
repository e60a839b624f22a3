"""Stochastic batches, against drawing the points one after the other."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any, ClassVar

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from lightning_al.acquisition import BALD, BatchBALD, Margin, Random, ScoreAcquisition, Stochastic, create
from lightning_al.acquisition.stochastic import stochastic
from lightning_al.points import Candidates
from lightning_al.run.config import config_of
from tests import references
from tests.references import random_log_probs

DRAWS = 1_000
UNLIKELY = 1e-4
"""A right sampler fails a test with this probability, were the seed not fixed."""

SCORES = torch.tensor([0.1, 0.4, 0.2])

# Worked out by hand: what each point is drawn with, before they are divided by their sum.
WEIGHTS = {
    ("power", 1.0): [0.1, 0.4, 0.2],
    ("power", 2.0): [0.01, 0.16, 0.04],
    ("softmax", 5.0): [math.exp(0.5), math.exp(2.0), math.exp(1.0)],
    ("softrank", 1.0): [1 / 3, 1.0, 1 / 2],
}


def assert_drawn_with(expected: dict[Any, float], found: Counter[Any]) -> None:
    counts = [found[outcome] for outcome in expected]
    assert sum(counts) == found.total()
    assert chisquare(counts, [share * found.total() for share in expected.values()]).pvalue > UNLIKELY


@pytest.mark.parametrize(("kind", "beta"), WEIGHTS)
def test_points_are_drawn_one_after_the_other_without_replacement(kind: Any, beta: float) -> None:
    weights = WEIGHTS[kind, beta]
    expected = {
        (i, j): weights[i] / sum(weights) * weights[j] / (sum(weights) - weights[i])
        for i, j in itertools.permutations(range(3), 2)
    }
    generator = torch.Generator().manual_seed(0)
    batches = [stochastic(SCORES, 2, kind=kind, beta=beta, generator=generator) for _ in range(DRAWS)]
    assert_drawn_with(expected, Counter(tuple(batch.positions.tolist()) for batch in batches))
    assert all(batch.scores.equal(SCORES[batch.positions]) for batch in batches)


def test_each_seed_draws_anew() -> None:
    firsts = [
        int(stochastic(SCORES, 1, generator=torch.Generator().manual_seed(seed)).positions) for seed in range(500)
    ]
    assert_drawn_with({0: 1 / 7, 1: 4 / 7, 2: 2 / 7}, Counter(firsts))


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_a_large_beta_selects_the_highest_scores(kind: Any) -> None:
    scores_N = torch.rand(50, generator=torch.Generator().manual_seed(1))
    scores_N[:20] = 0.5  # ties are broken as everywhere
    batch = stochastic(scores_N, 30, kind=kind, beta=1e9, generator=torch.Generator().manual_seed(3))
    expected = references.best_scores(scores_N.tolist(), 30, initial_seed=3)
    tied = {*range(20)}
    assert [None if i in tied else i for i in batch.positions.tolist()] == [None if i in tied else i for i in expected]


def test_the_lowest_scores_come_last_in_random_order() -> None:
    """Scores of 0, and scores that rounding put below, have a logarithm of minus infinity; never NaN."""
    scores_N = torch.tensor([0.0, -1e-8, 0.0, 1e-30, -0.0, 0.7])
    orders = [
        stochastic(scores_N, 6, generator=torch.Generator().manual_seed(seed)).positions.tolist() for seed in range(400)
    ]
    assert all({*order[:2]} == {3, 5} for order in orders)
    assert_drawn_with(dict.fromkeys([0, 1, 2, 4], 1 / 4), Counter(order[2] for order in orders))


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_equal_scores_are_drawn_uniformly(kind: Any) -> None:
    firsts = [
        int(stochastic(torch.zeros(4), 1, kind=kind, generator=torch.Generator().manual_seed(seed)).positions)
        for seed in range(400)
    ]
    assert_drawn_with(dict.fromkeys(range(4), 1 / 4), Counter(firsts))


def test_few_points_and_many_are_asked_for() -> None:
    assert stochastic(torch.tensor([0.3]), 5).positions.tolist() == [0]
    assert sorted(stochastic(SCORES.double(), 9).positions.tolist()) == [0, 1, 2]
    assert stochastic(torch.empty(0), 2).positions.tolist() == []


def test_margin_draws_by_one_minus_the_margin() -> None:
    p = torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.7, 0.3]]])
    acquisition, generator = Stochastic("margin"), torch.Generator().manual_seed(0)
    candidates = Candidates(3, p.log())
    batches = [acquisition.select(candidates, 1, generator) for _ in range(DRAWS // 2)]
    margins = Margin().score(candidates, generator).tolist()
    assert_drawn_with({0: 0.2 / 1.6, 1: 0.8 / 1.6, 2: 0.6 / 1.6}, Counter(int(batch.positions) for batch in batches))
    assert all(batch.scores.item() == margins[int(batch.positions)] for batch in batches)


@pytest.mark.parametrize("name", ["bald", "entropy", "least_confidence", "margin", "variation_ratio"])
def test_no_score_is_below_the_lowest(name: str) -> None:
    sure = torch.tensor([[[1.0, 0.0, 0.0]] * 3]).log()
    log_probs_N_K_C = torch.cat([sure, random_log_probs(50, 3, 3, seed=0, spread=4.0)])
    acquisition: Any = create(name)
    scores_N = acquisition.score(Candidates(51, log_probs_N_K_C), torch.Generator())
    assert scores_N[0] == acquisition.lowest_score == scores_N.min()


def test_names_stand_for_objects() -> None:
    assert create("power_bald") == Stochastic(BALD()) == Stochastic("bald", kind="power", beta=1)
    assert create("softmax_bald") == Stochastic("bald", kind="softmax")
    assert create("softrank_bald") == Stochastic("bald", kind="softrank")
    assert create("power_margin") == Stochastic(Margin())
    assert config_of(create("power_margin")) == {
        "class": "lightning_al.Stochastic",
        "acquisition": {"class": "lightning_al.Margin"},
        "kind": "power",
        "beta": 1.0,
    }


def test_it_needs_what_the_wrapped_one_needs() -> None:
    class OneTask(ScoreAcquisition):
        min_samples: ClassVar[int] = 7
        tasks: ClassVar[frozenset[str]] = frozenset({"regression"})

        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return torch.zeros(len(candidates))

    wrapped = Stochastic(OneTask(), kind="softrank")
    assert (wrapped.min_samples, wrapped.tasks) == (7, {"regression"})
    assert (Stochastic("margin").min_samples, Stochastic("bald").min_samples) == (1, 2)
    with pytest.raises(ValueError, match=r"takes logarithms of scores, but `OneTask` does not say.*`lowest_score`"):
        Stochastic(OneTask())


@pytest.mark.parametrize("acquisition", [Random(), BatchBALD(), "batchbald"])
def test_what_has_no_scores_raises(acquisition: Any) -> None:
    with pytest.raises(TypeError, match=r"adds noise to scores, but `\w+` gives single candidates none\. Pass"):
        Stochastic(acquisition)


def test_what_is_no_acquisition_function_raises() -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"`Stochastic` selects by another acquisition function, but got 3\. Pass its"):
        Stochastic(wrong)
    with pytest.raises(ValueError, match="There is no acquisition function named 'bold'"):
        Stochastic("bold")


@pytest.mark.parametrize("beta", [0, -1.0, math.nan, math.inf, "1", True, None])
def test_a_beta_that_is_no_positive_number_raises(beta: Any) -> None:
    with pytest.raises(ValueError, match="how strongly scores count, as a number above 0, but got"):
        Stochastic("bald", beta=beta)


def test_an_unknown_kind_raises() -> None:
    wrong: Any = "gumbel"
    for make in (lambda: Stochastic("bald", kind=wrong), lambda: stochastic(SCORES, 1, kind=wrong)):
        with pytest.raises(ValueError, match=r"no noise of the `kind` 'gumbel'\. Choose one of: power, softmax, soft"):
            make()


def test_scores_that_are_nan_or_no_row_raise() -> None:
    for scores in (torch.tensor([0.5, math.nan]), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match=r"`stochastic` expected scores of shape \[N\] without NaN, but got"):
            stochastic(scores, 1)


def test_scores_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(TypeError, match="`stochastic` expected scores as a tensor, but got list"):
        stochastic([0.1, 0.2], 1)  # type: ignore[arg-type]
