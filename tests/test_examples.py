"""Every example runs, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(tmp_path: Path, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", ["quickstart.py", "own_acquisition.py"])
def test_prints_its_history(tmp_path: Path, name: str) -> None:
    said = run(tmp_path, name)
    assert "round 0: 20 labels, test_acc" in said
    assert "asked nothing" in said


def test_own_loop(tmp_path: Path) -> None:
    said = run(tmp_path, "own_loop.py")
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("round")] == [
        "round 0",
        "round 1",
        "round 2",
    ]


def test_lightning_and_hydra(tmp_path: Path) -> None:
    overrides = ["acquisition=bald", "active.query_size=20", "posterior.num_samples=5", "trainer.max_epochs=2"]
    said = run(tmp_path, "lightning_and_hydra.py", *overrides, "hydra.run.dir=out")
    assert "round 2: 50 labels" in said
    assert (tmp_path / "out" / "al" / "history.jsonl").exists()


def test_every_example_is_here() -> None:
    tested = {"quickstart.py", "own_acquisition.py", "own_loop.py", "lightning_and_hydra.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
