"""Two gloo processes on the CPU: one run, the same on both, with the picks that one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def start(out: Path, ranks: int, **arguments: Any) -> subprocess.CompletedProcess[str]:
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.ranks", str(out), str(ranks), json.dumps(arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def run(out: Path, ranks: int, **arguments: Any) -> list[dict[str, Any]]:
    done = start(out, ranks, **arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def test_both_ranks_have_the_same_run(tmp_path: Path) -> None:
    one, other = run(tmp_path, 2, acquisition="batchbald", test_with="posterior")
    assert one == other
    assert one["done"]
    assert [round["labelled"] for round in one["rounds"]] == [8, 13, 18, 23]
    asked = [index for round in one["rounds"] for index in round["indices"]]
    assert len(set(asked)) == 15
    assert {"test_acc", "posterior_accuracy", "posterior_nll"} <= set(one["rounds"][-1]["metrics"])
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"round-3"}


def test_the_same_weights_give_the_same_picks_on_one_rank_and_two(tmp_path: Path) -> None:
    """With a learning rate of 0 the weights are the same however many ranks train them; 53 points shard unevenly."""
    (alone,) = run(tmp_path / "one", 1, acquisition="batchbald", lr=0.0, epochs=1)
    one, other = run(tmp_path / "two", 2, acquisition="batchbald", lr=0.0, epochs=1)
    picks = [[round["indices"] for round in found["rounds"]] for found in (alone, one, other)]
    assert picks[0] == picks[1] == picks[2]
    for single, double in zip(alone["rounds"], one["rounds"], strict=True):
        assert single["scores"] == pytest.approx(double["scores"], abs=1e-5)


def test_a_cut_off_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole", 2, acquisition="bald", folder=str(tmp_path / "whole" / "run"))
    failed = start(tmp_path / "cut", 2, acquisition="bald", folder=str(tmp_path / "cut" / "run"), fail=3)
    assert failed.returncode != 0
    assert "boom" in failed.stderr
    assert len((tmp_path / "cut" / "run" / "history.jsonl").read_text().splitlines()) == 2
    one, other = run(tmp_path / "cut", 2, acquisition="bald", folder=str(tmp_path / "cut" / "run"))
    assert one == other == whole
