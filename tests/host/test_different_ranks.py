"""Ranks that do not have the same items in the same order, or other arguments, are refused on all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_al.host.same_on_ranks import said_of_ranks
from tests.support.different_ranks import ARGUMENTS, DATA, DATASETS, FAULTY, NAN, UNREADABLE, run_faulty
from tests.support.programs import run

pytestmark = pytest.mark.long

RANKS = 2

EVERY_DAY = ["same", "two items swapped", "augmented, without labels", "unreadable", "query_size", FAULTY]
ITEMS = [*(name for name in DATASETS if name != "unreadable"), "pool_dataset"]
OTHERS = [*ARGUMENTS, *(name for name in DATA if name != "pool_dataset")]


def found_by_rank(out: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return for each rank what it found in each program."""
    run("-m", "tests.support.different_ranks", out, RANKS, *names, ranks=RANKS, timeout=600)
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def every_day(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return found_by_rank(tmp_path_factory.mktemp("ranks"), EVERY_DAY)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return found_by_rank(tmp_path_factory.mktemp("more"), [name for name in [*ITEMS, *OTHERS] if name not in EVERY_DAY])


def programs(names: list[str]) -> list[Any]:
    """Each program with the fixture that ran it; those beside the everyday ones are slow."""
    everyday = [pytest.param("every_day", name, id=name) for name in names if name in EVERY_DAY]
    slow = [pytest.param("more", name, id=name, marks=pytest.mark.slow) for name in names if name not in EVERY_DAY]
    return everyday + slow


def test_equal_ranks_run(every_day: list[dict[str, Any]]) -> None:
    assert every_day[0]["same"] == every_day[1]["same"]
    assert [len(asked) for asked in every_day[0]["same"]["asked"]] == [4, 0]


@pytest.mark.parametrize(("fixture", "name"), programs(ITEMS))
def test_other_items_are_refused_on_every_rank(request: pytest.FixtureRequest, fixture: str, name: str) -> None:
    for rank in request.getfixturevalue(fixture):
        said = rank[name]["error"]
        assert said.startswith("ValueError: The training data of `")
        assert "`, or the points that its sampler draws," in said
        assert "are not the same on every rank, so ranks would label different points" in said
        assert "rank 1 has another `" in said
        assert "Sort the list of files, and give a random split" in said


def test_what_one_rank_cannot_read_is_told_to_the_others(every_day: list[dict[str, Any]]) -> None:
    assert "rank 1 has another `an error` ('OSError: Item 0 of" in every_day[0]["unreadable"]["error"]
    assert every_day[1]["unreadable"]["error"].startswith("OSError: Item 0 of the training data cannot be read")


@pytest.mark.parametrize(("fixture", "name"), programs(OTHERS))
def test_other_arguments_are_refused_on_every_rank(request: pytest.FixtureRequest, fixture: str, name: str) -> None:
    for rank in request.getfixturevalue(fixture):
        said = rank[name]["error"]
        assert said.startswith("ValueError: The arguments or the state of `ActiveLearning` and `ActiveDataModule`")
        assert "rank 1 has another `" in said
        assert "Pass the same on every rank, and keep" in said


def test_ranks_leave_out_the_points_that_one_process_does(every_day: list[dict[str, Any]], tmp_path: Path) -> None:
    alone = run_faulty(tmp_path, 1)
    assert alone["unscorable"] == [sorted([*UNREADABLE, *NAN])] * 2 + [[]]
    assert every_day[0][FAULTY] == every_day[1][FAULTY] == alone


def test_the_rank_that_is_alone_is_named() -> None:
    assert said_of_ranks([{"a": 1}] * 3) is None
    assert said_of_ranks([{"a": 1}, {"a": 2}]) == "rank 1 has another `a` (2) than rank 0 (1)"
    assert said_of_ranks([{"a": 1}, {"a": 2}, {"a": 2}]) == "rank 0 has another `a` (1) than rank 1 (2)"
    assert said_of_ranks([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}, {"a": 3, "b": 3}]) == (
        "rank 1 has another `b` (2) than rank 0 (1); rank 3 has another `a` (3) than rank 0 (1)"
    )
