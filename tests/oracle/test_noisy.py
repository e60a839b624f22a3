"""People who err and abstain are simulated, and a point is always answered in the same way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Noisy, Query, Skip
from lightning_al.oracle import Truth
from lightning_al.run.journal import Journal
from lightning_al.testing import check_oracle
from tests.support.tasks import CLASSES, LitMLP, points, trainer


def query_of(indices: Any, seed: int = 0, classes: Any = range(CLASSES)) -> Query:
    """A query of points of class index mod 4."""
    return Query(0, indices, truth=Truth(lambda index: index % CLASSES, lambda: classes, seed))


MANY = range(4000)


@pytest.mark.parametrize(("noise", "abstention"), [(0.1, 0.05), (0.0, 0.3), (0.4, 0.0), (1.0, 0.0), (0.5, 1.0)])
def test_the_shares_are_those_asked_for(noise: float, abstention: float) -> None:
    answers = Noisy(noise, abstention).label(query_of(MANY))
    assert list(answers) == list(MANY)
    skipped = [index for index, answer in answers.items() if answer == Skip()]
    labels = {index: answer for index, answer in answers.items() if answer != Skip()}
    wrong = {index: label for index, label in labels.items() if label is not None and label != index % CLASSES}

    def is_near(number: int, of: int, share: float) -> bool:  # within 5 standard deviations of a binomial
        return abs(number - of * share) <= 5 * math.sqrt(of * share * (1 - share))

    assert is_near(len(skipped), len(MANY), abstention)
    assert is_near(len(wrong), len(labels), noise)
    if not noise:
        assert set(labels.values()) == {None}
        return
    assert set(labels.values()) <= set(range(CLASSES))
    # A wrong label is any of the others, each as often.
    for shift in (1, 2, 3):
        assert is_near(sum((label - index) % CLASSES == shift for index, label in wrong.items()), len(wrong), 1 / 3)


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=1, max_size=20), st.randoms(), st.integers(-3, 3))
def test_an_answer_depends_on_seed_and_index_alone(indices: list[int], order: Any, seed: int) -> None:
    oracle = Noisy(0.5, 0.2)
    whole = dict(oracle.label(query_of(indices, seed)))
    order.shuffle(indices)
    one_by_one = {index: oracle.label(query_of([index], seed))[index] for index in indices}
    assert one_by_one == whole
    assert dict(Noisy(0.5, 0.2, seed=seed).label(query_of(indices, seed=99))) == whole


def test_another_seed_errs_elsewhere() -> None:
    first, second = (Noisy(0.3, 0.3, seed=seed).label(query_of(range(200))) for seed in (1, 2))
    wrong = [{i for i, label in found.items() if label != i % CLASSES} for found in (first, second)]
    assert wrong[0] - wrong[1]
    assert wrong[1] - wrong[0]
    assert Noisy(0.3, 0.3).label(query_of(range(200), seed=2)) == second


def test_it_keeps_the_promises_of_oracles() -> None:
    check_oracle(Noisy(0.5, 0.3), query=query_of(range(8)), classes=range(CLASSES))


@pytest.mark.parametrize(
    "options", [{"label_noise": -0.1}, {"abstention": 1.5}, {"label_noise": "some"}, {"abstention": True}]
)
def test_what_is_no_probability(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no probability\. Pass a number from 0 to 1"):
        Noisy(**options)


@pytest.mark.parametrize("classes", [None, [0]], ids=["unknown", "one"])
def test_no_other_class_to_draw(classes: Any) -> None:
    with pytest.raises(ValueError, match="gives another class in place of the right one, but"):
        Noisy(0.1).label(query_of([1], classes=classes))
    assert Noisy(0.0, abstention=0.1).label(query_of([1], classes=classes)) == {1: None}


def test_a_query_of_no_run_has_no_labels() -> None:
    with pytest.raises(ValueError, match="which this query does not have"):
        Noisy(0.1).label(Query(0, [1]))


def fit(root: Path, oracle: Any, folder: Path | None = None, rounds: int | None = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    data = ActiveDataModule(points(40), initial_size=6, batch_size=8, seed=0)
    options = {"budget": 20, "posterior": MCDropout(2), "seed": 0, **arguments}
    active = ActiveLearning("bald", query_size=5, oracle=oracle, folder=folder, rounds_per_fit=rounds, **options)
    module = LitMLP()
    trainer(root, max_epochs=1, callbacks=[active]).fit(module, datamodule=data)
    return active, data, module


@pytest.mark.long
def test_a_run_under_people_who_err_and_abstain(tmp_path: Path) -> None:
    oracle = Noisy(0.4, 0.3)
    active, data, module = fit(tmp_path, oracle, tmp_path / "run")
    asked = [index for round in active.history for index in round.indices]
    expected = oracle.label(query_of(asked))
    aside = {index for index, answer in expected.items() if answer == Skip()}
    assert aside
    assert set(data.pool.skipped) == aside
    assert data.pool.labels == {index: label for index, label in expected.items() if index not in aside}
    assert any(label != index % CLASSES for index, label in data.pool.labels.items())
    recorded = {index: label for labels in Journal.read(tmp_path / "run").labels for index, label in labels.items()}
    assert {i: answer for i, answer in recorded.items() if i not in aside} == data.pool.labels
    # A process for each round ends as one for all does.
    for _ in active.history:
        again = fit(tmp_path, oracle, tmp_path / "again", rounds=1)
    assert [round.indices for round in again[0].history] == [round.indices for round in active.history]
    assert again[1].pool.state_dict() == data.pool.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(again[2].parameters(), module.parameters(), strict=True))


def test_the_seed_of_the_run_is_that_of_its_people(tmp_path: Path) -> None:
    labels = fit(tmp_path, Noisy(0.4), seed=7, max_rounds=2)[1].pool.labels
    assert labels == Noisy(0.4).label(query_of(labels, seed=7))


def test_labels_that_are_no_class_numbers_are_refused_before_the_first_fit(tmp_path: Path) -> None:
    x, y = points(40).tensors
    data = ActiveDataModule(TensorDataset(x, y + 0.5), initial_size=6, batch_size=8)
    active = ActiveLearning("bald", query_size=5, oracle=Noisy(0.1))
    with pytest.raises(ValueError, match=r"are not class numbers\. Leave `label_noise` out"):
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)


def test_data_without_labels_have_none_to_give_wrongly(tmp_path: Path) -> None:
    data = ActiveDataModule(points(40).tensors[0], initial_size=6, classes=["a", "b", "c", "d"], batch_size=8)
    active = ActiveLearning("bald", query_size=5, oracle=Noisy(0.0, abstention=0.1))
    with pytest.raises(ValueError, match="has none to reveal"):
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
