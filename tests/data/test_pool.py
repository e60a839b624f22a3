"""The pool: labelled and unlabelled indices always make up the dataset."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.data.pool import Pool


@st.composite
def queries(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """Draw a size, and any sequence of queries without repeats."""
    size = draw(st.integers(0, 30))
    order = draw(st.permutations(range(size)))
    cuts = sorted(draw(st.lists(st.integers(0, size), min_size=1, max_size=6)))
    return size, [order[first:last] for first, last in zip([0, *cuts], cuts, strict=False)]


@given(queries())
def test_labelled_and_unlabelled_partition_the_indices(drawn: tuple[int, list[list[int]]]) -> None:
    size, (initial, *rest) = drawn
    pool = Pool(size, initial)
    asked = list(initial)
    for query in rest:
        pool.label(query)
        asked += query
        assert pool.labelled == asked
        assert pool.unlabelled == [index for index in range(size) if index not in asked]
        assert (pool.num_labelled, pool.num_unlabelled) == (len(asked), size - len(asked))
    assert pool.initial == initial
    assert pool.rounds == [initial, *rest]


@given(queries(), st.integers(0, 5), st.integers(1, 3))
def test_a_pool_of_some_members_is_a_pool_of_these_alone(
    drawn: tuple[int, list[list[int]]], first: int, step: int
) -> None:
    """Whatever is done with members, the pool of all points that these are numbered by does with their numbers."""
    number, (initial, *rest) = drawn
    members = range(first, first + number * step, step)
    size = first + number * step + 3
    pool, other = Pool(size, [members[place] for place in initial], members=members), Pool(number, initial)
    for query in rest:
        pool.label([members[place] for place in query])
        other.label(query)
    assert (pool.size, pool.num_labelled, pool.num_unlabelled) == (number, other.num_labelled, other.num_unlabelled)
    assert pool.labelled == [members[place] for place in other.labelled]
    assert pool.unlabelled == [members[place] for place in other.unlabelled]
    resumed = Pool(size, members=members)
    resumed.load_state_dict(pool.state_dict())
    assert resumed.state_dict() == pool.state_dict()
    assert resumed.unlabelled == pool.unlabelled


def test_no_other_than_a_member_is_labelled() -> None:
    pool = Pool(6, [3], members=[1, 3, 5])
    with pytest.raises(ValueError, match=r"got indices \[2\], which are not among the 3 points that the sampler"):
        pool.label([1, 2])
    with pytest.raises(ValueError, match=r"got indices \[0\], which are not among"):
        Pool(6, [0], members=[1, 3, 5])
    assert (pool.labelled, pool.unlabelled) == ([3], [1, 5])
    state = {**pool.state_dict(), "rounds": [[3], [4]]}
    with pytest.raises(ValueError, match=r"got indices \[4\], which are not among"):
        pool.load_state_dict(state)


@given(queries())
def test_state_makes_an_equal_pool_that_goes_on_alike(drawn: tuple[int, list[list[int]]]) -> None:
    size, (initial, *rest) = drawn
    pool = Pool(size, initial)
    for query in rest:
        pool.label(query, {index: index % 3 for index in query[::2]})
    other = Pool(size)
    other.unlabelled  # noqa: B018  # read before, so that anything kept from it would show
    other.load_state_dict(copy.deepcopy(pool.state_dict()))
    assert other.rounds == pool.rounds
    assert other.unlabelled == pool.unlabelled
    assert other.labels == pool.labels
    left = pool.unlabelled[:2]
    pool.label(left)
    other.label(left)
    assert other.state_dict() == pool.state_dict()


def test_state_is_not_shared_with_the_pool() -> None:
    pool = Pool(4, [0])
    state = pool.state_dict()
    pool.label([1], {1: 7})
    assert state == {"size": 4, "rounds": [[0]], "labels": {}}
    pool.rounds[0].append(3)
    pool.initial.append(3)
    assert pool.labelled == [0, 1]


def test_state_is_plain_enough_for_a_safe_load(tmp_path: Any) -> None:
    pool = Pool(6, torch.tensor([2]))
    pool.label(np.array([4, 1]), {np.int64(4): 3, np.int64(1): None})
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    loaded = torch.load(tmp_path / "pool.pt", weights_only=True)
    assert loaded == {"size": 6, "rounds": [[2], [4, 1]], "labels": {4: 3}}


def test_label_none_keeps_the_dataset_target() -> None:
    pool = Pool(3)
    pool.label([2, 0], {2: None, 0: 1})
    assert pool.labels == {0: 1}


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([5], r"got indices \[5\], but the dataset has 5 points. Pass indices between 0 and 4"),
        ([-1, 9], r"got indices \[-1, 9\], but the dataset has 5 points"),
        (list(range(5, 10)), r"got indices \[5, 6, 7, 8, 9\], but"),
        (list(range(5, 11)), r"got indices \[5, 6, 7, 8, 9, ... 6 in all\], but"),
        ([1, 2, 1], r"got indices \[1\] twice or after they were labelled"),
        ([2, 3], r"got indices \[3\] twice or after they were labelled. Pass each unlabelled index once"),
    ],
)
def test_wrong_indices_are_refused_and_change_nothing(indices: list[int], message: str) -> None:
    pool = Pool(5, [3])
    before = pool.state_dict()
    with pytest.raises(ValueError, match=message):
        pool.label(indices)
    assert pool.state_dict() == before
    assert pool.unlabelled == [0, 1, 2, 4]


def test_labels_of_other_indices_are_refused_and_change_nothing() -> None:
    pool = Pool(5, [3])
    with pytest.raises(
        ValueError, match=r"labels for \[4\], which are not among the indices to label. Leave them out\.$"
    ):
        pool.label([0], {4: 1})
    assert pool.labelled == [3]


def test_the_initial_indices_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got indices \[0\] twice"):
        Pool(2, [0, 0])


def test_the_state_of_another_dataset_is_refused() -> None:
    pool = Pool(3, [1])
    with pytest.raises(ValueError, match=r"saved pool has 4 points, but the dataset has 3. Resume with the dataset"):
        pool.load_state_dict(Pool(4).state_dict())
    assert pool.labelled == [1]


def test_initial_points_get_labels_that_the_dataset_lacks_and_no_others_do() -> None:
    pool = Pool(4, [3, 1])
    pool.lacking = [3, 1]
    pool.label_initial({1: 2})
    assert (pool.labelled, pool.labels, pool.lacking) == ([3, 1], {1: 2}, [3])
    with pytest.raises(ValueError, match=r"got labels for \[0\], which are not initial points. Pass labels"):
        pool.label_initial({0: 2})


def test_audit_points_are_neither_labelled_nor_queried() -> None:
    pool = Pool(6, initial=[0], audit=[4, 2])
    assert (pool.size, pool.unlabelled, pool.num_unlabelled) == (4, [1, 3, 5], 3)
    with pytest.raises(ValueError, match="by which the model is judged"):
        pool.label([1, 4])
    assert pool.labelled == [0]
    pool.take_answers([1], {1: 2, 4: 3}, audited=[4])
    assert (pool.labelled, pool.labels, pool.audit.answers, pool.audit.waiting) == ([0, 1], {1: 2}, {4: 3}, [2])
    assert pool.num_spent == 3
    pool.correct(4, 1)
    assert (pool.audit.answers, pool.labels) == ({4: 1}, {1: 2})
    with pytest.raises(ValueError, match="can only change the labels of labelled points"):
        pool.give_back(4)
    again = Pool(6, initial=[0], audit=[4, 2])
    again.load_state_dict(pool.state_dict())
    assert again.state_dict() == pool.state_dict()
    pool.leave([2])
    assert (pool.audit.points, pool.unlabelled, pool.state_dict()["audit"]) == ([4], [3, 5], [4, 2])
