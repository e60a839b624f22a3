"""Programs on two ranks: each rank trains its share of what the user's loader draws, and all count the same."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data.distributed import DistributedSampler

from tests.support import programs
from tests.support.numbered import flat
from tests.support.programs_on_ranks import PROGRAMS, RANKS, TRAIN

pytestmark = pytest.mark.long

REFUSED = ["one point on a rank", "two splits"]


def start(out: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return programs.run("-m", "tests.support.programs_on_ranks", out, *names, ranks=RANKS, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found in each program."""
    out = tmp_path_factory.mktemp("ranks")
    done = start(out, *(name for name in PROGRAMS if name not in REFUSED))
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


def epochs(found: list[dict[str, Any]], name: str) -> list[tuple[list[int], list[list[list[int]]]]]:
    """The labelled points of each round's epochs, with each rank's batches."""
    one, other = (ranks[name] for ranks in found)
    assert one["rounds"] == other["rounds"]
    labelled = [flat(one["rounds"][: number + 1]) for number in range(len(one["rounds"]))]
    return [
        (labelled[number], list(shares))
        for number in range(2)
        for shares in zip(one["trained"][number], other["trained"][number], strict=True)
    ]


@pytest.mark.parametrize("name", ["subset", "own loader", "own loader, norm", "norm", "own shares", "few labels"])
def test_ranks_share_the_labelled_points_of_each_epoch(found: list[dict[str, Any]], name: str) -> None:
    for labelled, shares in epochs(found, name):
        drawn = Counter(flat(shares[0]) + flat(shares[1]))
        assert set(drawn) == set(labelled)
        # An odd number of points is made even by one of them.
        assert sum(drawn.values()) == len(labelled) + len(labelled) % 2
        assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]]


def test_ranks_share_what_a_sampler_draws(found: list[dict[str, Any]]) -> None:
    for labelled, shares in epochs(found, "weights"):
        assert len(flat(shares[0])) == len(flat(shares[1])) == 12
        assert set(flat(shares[0] + shares[1])) <= set(labelled)
        assert all(index % 2 for index in labelled)
    for labelled, shares in epochs(found, "own shares, more samples"):
        drawn = Counter(flat(shares[0] + shares[1]))
        assert sum(drawn.values()) == 20
        assert max(drawn.values()) - min(drawn[index] for index in labelled) <= 1


def test_a_part_of_the_points_stays_one(found: list[dict[str, Any]]) -> None:
    assert set(flat(found[0]["subset"]["rounds"])) <= set(TRAIN)


def test_batch_norm_has_two_points_on_each_rank(found: list[dict[str, Any]]) -> None:
    sizes = [[len(batch) for batch in shares[0]] for _, shares in epochs(found, "norm")]
    assert sizes == [[3, 2]] * 2 + [[4, 3, 2]] * 2
    assert [len(batch) for batch in epochs(found, "own loader, norm")[0][1][0]] == [4, 3, 2]


def test_a_user_s_own_shares_are_those_of_the_plain_program(found: list[dict[str, Any]]) -> None:
    for place, (labelled, shares) in enumerate(epochs(found, "own shares")):
        for rank, share in enumerate(shares):
            sampler: Any = DistributedSampler(torch.empty(len(labelled)), RANKS, rank, shuffle=True, seed=3)
            sampler.set_epoch(place % 2)
            assert flat(share) == [labelled[index] for index in sampler]


def test_without_sharing_each_rank_trains_all(found: list[dict[str, Any]]) -> None:
    for labelled, shares in epochs(found, "nothing shared"):
        assert sorted(flat(shares[0])) == sorted(flat(shares[1])) == sorted(labelled)


@pytest.mark.parametrize(
    ("name", "number"), [("subset", 15), ("weights", 8), ("own loader", 20), ("own shares", 15), ("nothing shared", 15)]
)
def test_validation_labels_are_those_of_all_ranks(found: list[dict[str, Any]], name: str, number: int) -> None:
    assert [ranks[name]["validation_labels"] for ranks in found] == [[number, number]] * RANKS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "one point on a rank",
            "has batch norm, which cannot be trained on a single point, but an epoch has only one",
        ),
        ("two splits", "are not the same on every rank, so ranks would label different points"),
    ],
)
def test_what_ranks_cannot_share_is_refused(tmp_path: Path, name: str, message: str) -> None:
    done = start(tmp_path, name)
    assert done.returncode != 0
    assert message in done.stderr
