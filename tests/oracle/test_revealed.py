"""Revealed labels are the dataset's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import ActiveDataModule, Revealed
from lightning_al.oracle import Oracle, oracles
from tests.support.tasks import CLASSES, points


@given(st.lists(st.integers(0, 99), unique=True))
def test_it_answers_for_each_index_in_order_that_the_dataset_knows(indices: list[int]) -> None:
    answers = Revealed().label(indices)
    assert list(answers) == indices
    assert set(answers.values()) <= {None}


def test_the_answers_uncover_the_dataset_s_targets() -> None:
    data = ActiveDataModule(points(20), initial=[0], batch_size=32)
    data.setup("fit")
    indices = [7, 3, 18]
    data.pool.label(indices, Revealed().label(indices))
    [(_, y)] = data.train_dataloader()
    assert sorted(y.tolist()) == sorted(index % CLASSES for index in [0, *indices])
    assert data.pool.labels == {}


def test_oracles_are_chosen_by_name() -> None:
    assert isinstance(oracles.create("revealed"), Revealed)
    assert isinstance(Revealed(), Oracle)
    with pytest.raises(ValueError, match=r"no oracle named 'human'. Choose one of: .*revealed"):
        oracles.create("human")
