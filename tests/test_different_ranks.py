"""Ranks that do not have the same items in the same order, or other arguments, are refused on all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_al.same_on_ranks import said_of_ranks
from tests.different_ranks import ARGUMENTS, DATA, DATASETS

ROOT = Path(__file__).parent.parent
RANKS = 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found in each program."""
    out = tmp_path_factory.mktemp("different")
    command = [sys.executable, "-m", "tests.different_ranks", str(out), str(RANKS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


def test_equal_ranks_run(found: list[dict[str, Any]]) -> None:
    assert found[0]["same"] == found[1]["same"]
    assert [len(asked) for asked in found[0]["same"]["asked"]] == [4, 0]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "unreadable"] + ["pool_dataset"])
def test_other_items_are_refused_on_every_rank(found: list[dict[str, Any]], name: str) -> None:
    for rank in found:
        said = rank[name]["error"]
        assert said.startswith("ValueError: The training data of `_Datasets`, or the points that its sampler draws,")
        assert "are not the same on every rank, so that ranks would label different points" in said
        assert "rank 1 has another `" in said
        assert "Sort the list of files, and give a random split" in said


def test_what_one_rank_cannot_read_is_told_to_the_others(found: list[dict[str, Any]]) -> None:
    assert "rank 1 has another `an error` ('OSError: Item 0 of" in found[0]["unreadable"]["error"]
    assert found[1]["unreadable"]["error"].startswith("OSError: Item 0 of the training data cannot be read")


@pytest.mark.parametrize("name", [*ARGUMENTS, *(name for name in DATA if name != "pool_dataset")])
def test_other_arguments_are_refused_on_every_rank(found: list[dict[str, Any]], name: str) -> None:
    for rank in found:
        said = rank[name]["error"]
        assert said.startswith("ValueError: The arguments or the state of `ActiveLearning` and `ActiveDataModule`")
        assert "rank 1 has another `" in said
        assert "Pass the same on every rank, and keep" in said


def test_the_rank_that_is_alone_is_named() -> None:
    assert said_of_ranks([{"a": 1}] * 3) is None
    assert said_of_ranks([{"a": 1}, {"a": 2}]) == "rank 1 has another `a` (2) than rank 0 (1)"
    assert said_of_ranks([{"a": 1}, {"a": 2}, {"a": 2}]) == "rank 0 has another `a` (1) than rank 1 (2)"
    assert said_of_ranks([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}, {"a": 3, "b": 3}]) == (
        "rank 1 has another `b` (2) than rank 0 (1); rank 3 has another `a` (3) than rank 0 (1)"
    )
