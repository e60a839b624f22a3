"""Two and three gloo processes on the CPU: one run, the same on all, with the picks that one process makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import programs


def start(out: Path, ranks: int, *runs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    out.mkdir(exist_ok=True)
    return programs.run("-m", "tests.support.ranks", out, ranks, json.dumps(runs), ranks=ranks, check=False)


def found_by_rank(out: Path, ranks: int, *runs: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return for each rank what it found in each run."""
    done = start(out, ranks, *runs)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def run(out: Path, ranks: int, **arguments: Any) -> list[dict[str, Any]]:
    return [found for (found,) in found_by_rank(out, ranks, arguments)]


def test_both_ranks_have_the_same_run(tmp_path: Path) -> None:
    tried = {"acquisition": "bald", "folder": str(tmp_path / "tried"), "fast_dev_run": True}
    (one, short), (other, other_short) = found_by_rank(
        tmp_path, 2, {"acquisition": "batchbald", "test": "posterior"}, tried
    )
    assert (one, short) == (other, other_short)
    assert short["done"]
    assert not (tmp_path / "tried").exists()
    assert one["done"]
    assert [round["labelled"] for round in one["rounds"]] == [8, 13, 18, 23]
    asked = [index for round in one["rounds"] for index in round["indices"]]
    assert len(set(asked)) == 15
    assert {"test_acc", "posterior_accuracy", "posterior_nll"} <= set(one["rounds"][-1]["metrics"])
    assert {path.name for path in (tmp_path / "run-0" / "kept").iterdir()} == {"round-3"}


@pytest.mark.long
@pytest.mark.parametrize("with_folder", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_query_that_is_answered_by_and_by_is_pending_on_both_ranks(tmp_path: Path, with_folder: bool) -> None:
    asked = {"acquisition": "bald", "budget": 18, "epochs": 1}
    given = {**asked, "at_a_time": 3, **({"folder": str(tmp_path / "run")} if with_folder else {})}
    (one, whole), (other, _) = found_by_rank(tmp_path, 2, given, {**asked, "at_a_time": 5})
    assert one == other
    assert whole["paused"] == []
    assert [(number, len(rest)) for number, rest, _ in one["paused"]] == [(0, 2), (1, 2)]
    for name in ("rounds", "pool", "weights", "done"):
        assert one[name] == whole[name]


@pytest.mark.long
def test_both_ranks_have_the_same_fits_of_a_round_and_resume_in_one(tmp_path: Path) -> None:
    asked = {"acquisition": "bald", "posterior": "ensemble", "budget": 13, "epochs": 1}
    cut = {**asked, "folder": str(tmp_path / "cut" / "run"), "own_folders": True}
    failed = start(tmp_path / "cut", 2, {**cut, "fail": 2})
    assert failed.returncode != 0
    assert "boom" in failed.stderr
    assert (tmp_path / "cut" / "run0" / "round-0-member-0.pt").exists()
    undisturbed = {**asked, "folder": str(tmp_path / "whole")}
    (resumed, one), (other_resumed, other) = found_by_rank(tmp_path / "cut", 2, cut, undisturbed)
    assert (resumed, one) == (other_resumed, other)
    assert [len(round["members"]) for round in one["rounds"]] == [3, 3]
    first, drawn = one["fits"]  # the dry pass, and the first round
    assert len({str(weights) for _, weights in first}) == 1
    assert len({str(weights) for _, weights in drawn}) == 3
    assert {**resumed, "fits": resumed["fits"][1:]} == {**one, "fits": one["fits"][1:]}


SHARED = {
    "batches_deal_unevenly": {"acquisition": "batchbald", "pool_batch_size": 8},
    "third_rank_has_no_batch": {"acquisition": "batchbald", "pool_batch_size": 40},
    "ranks_after_the_first_have_no_batch": {"acquisition": "bald", "pool_batch_size": 1000},
    "scores_in_float64": {"acquisition": "bald", "pool_batch_size": 8, "precision": "64-true"},
    "several_fits": {"acquisition": "bald", "pool_batch_size": 8, "posterior": "ensemble"},
}
"""Runs on a pool of 53 points; with a learning rate of 0 the weights are the same however many ranks train them."""

REPEATED = ("ranks_after_the_first_have_no_batch",)
"""A rank without a batch, as the third rank of another run is."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], list[dict[str, Any]]]:
    """Return what each rank found in a run, for a number of ranks; the default runs are made once, in one program."""

    @cache
    def found(ranks: int, names: tuple[str, ...]) -> list[list[dict[str, Any]]]:
        always = {"lr": 0.0, "epochs": 1, "budget": 13, "keep_chunks": True}
        return found_by_rank(
            tmp_path_factory.mktemp(f"ranks-{ranks}"), ranks, *({**always, **SHARED[name]} for name in names)
        )

    def by_rank(ranks: int, name: str) -> list[dict[str, Any]]:
        together = REPEATED if name in REPEATED else tuple(name for name in SHARED if name not in REPEATED)
        return [runs[together.index(name)] for runs in found(ranks, together)]

    return by_rank


# Two ranks deal the batches of a pool as three do, of which one may have none.
@pytest.mark.long
@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in REPEATED else name for name in SHARED]
)
class TestTheSameWeights:
    def test_give_the_same_picks_on_every_rank_as_on_one(self, shared: Any, name: str, ranks: int) -> None:
        alone = shared(1, name)[0]["rounds"]
        assert [len(round["indices"]) for round in alone] == [5, 0]
        for found in shared(ranks, name):
            rounds = found["rounds"]
            assert [round["indices"] for round in rounds] == [round["indices"] for round in alone]
            for single, several in zip(alone, rounds, strict=True):
                assert several["scores"] == pytest.approx(single["scores"], abs=1e-5)

    def test_give_every_rank_chunks_that_join_to_what_one_predicts(self, shared: Any, name: str, ranks: int) -> None:
        alone_N_K_C = joined(shared(1, name)[0]["chunks"])
        assert alone_N_K_C.shape == (53, 5, 4)
        assert len(alone_N_K_C.unique(dim=0)) == 53
        for found in shared(ranks, name):
            assert torch.equal(joined(found["chunks"]), alone_N_K_C)


@pytest.mark.long
def test_an_oracle_may_take_longer_than_processes_wait_for_each_other(tmp_path: Path) -> None:
    first, second = run(tmp_path, 2, acquisition="bald", epochs=1, budget=13, timeout=6, slow_oracle=8)
    assert first == second
    assert first["done"]
    assert [round["labelled"] for round in first["rounds"]] == [8, 13]


def joined(chunks: list[Any]) -> torch.Tensor:
    return torch.cat([torch.tensor(chunk, dtype=torch.float64) for chunk in chunks])


@pytest.mark.long
def test_a_cut_off_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    asked = {"acquisition": "bald", "reset": "warm", "budget": 18, "epochs": 1}
    # As a program names them that every rank runs from its start, by the time say.
    cut = {**asked, "folder": str(tmp_path / "cut" / "run"), "own_folders": True}
    failed = start(tmp_path / "cut", 2, {**cut, "fail": 3})
    assert failed.returncode != 0
    assert "boom" in failed.stderr
    assert len((tmp_path / "cut" / "run0" / "history.jsonl").read_text().splitlines()) == 2
    undisturbed = {**asked, "folder": str(tmp_path / "whole")}
    (one, whole), (other, _) = found_by_rank(tmp_path / "cut", 2, cut, undisturbed)
    assert one == other == whole
    assert not (tmp_path / "cut" / "run1").exists()
