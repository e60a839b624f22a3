"""Runs as jobs of a real SLURM: queued again in their middle, they end as a local run that nothing cut off.

`tests/slurm/set_up.sh` sets one up on one machine. Where there is none, the tests are skipped.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_sweep import recorded, results, runs, start, sweep
from tests.support.sweeps import ROOT, TINY, environment

SECONDS = 300


def is_up() -> bool:
    """Whether a node of SLURM's takes jobs."""
    if any(shutil.which(command) is None for command in ("sinfo", "sbatch", "srun", "scontrol")):
        return False
    try:
        asked = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and any(state in asked.stdout for state in ("idle", "mixed", "allocated"))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    if not is_up():
        pytest.skip("no SLURM here: see tests/slurm/set_up.sh")


def wait_until(happens: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happens():
        assert time.monotonic() < deadline, f"{what} did not happen within {SECONDS} seconds."
        time.sleep(0.2)


class Job:
    """The program as a job of SLURM's."""

    def __init__(self, home: Path, *arguments: str, tasks: int = 1, options: tuple[str, ...] = ()) -> None:
        self.home = home
        # One rank alone has points labelled, or waits while all score.
        self.waiting = 1 if {"label", "score"} & set(arguments) else tasks
        program = [sys.executable, "-m", "tests.slurm.program", str(home), *arguments, f"--devices={tasks}"]
        script = home / "job.sh"
        script.write_text(f"#!/bin/bash\nsrun {shlex.join(program)}\n")
        command = ["sbatch", "--parsable", "--requeue", "--open-mode=append", f"--output={home}/job.log"]
        command += [f"--ntasks={tasks}", f"--ntasks-per-node={tasks}", f"--chdir={ROOT}", *options, str(script)]
        self.number = subprocess.run(
            command, env=environment(), check=True, capture_output=True, text=True
        ).stdout.strip()

    def tell(self, *command: str) -> None:
        subprocess.run([*command, self.number], check=True)

    def fact(self, name: str) -> str:
        shown = subprocess.run(["scontrol", "show", "job", self.number], check=True, capture_output=True, text=True)
        found = re.search(rf"\b{name}=(\S+)", shown.stdout)
        assert found is not None
        return found[1]

    def wait_for_its_middle(self, time: int = 0) -> None:
        def is_there() -> bool:
            assert self.fact("JobState") != "FAILED", (self.home / "job.log").read_text()
            return len(list(self.home.glob(f"waiting-{time}-*"))) == self.waiting

        wait_until(is_there, "The middle of the job")

    def wait_for_its_end(self) -> None:
        wait_until(lambda: self.fact("JobState") not in ("PENDING", "RUNNING", "COMPLETING"), "The end of the job")
        assert self.fact("JobState") == "COMPLETED", (self.home / "job.log").read_text()


def end_of(home: Path) -> tuple[Any, dict[str, torch.Tensor], list[list[int]]]:
    """What the program left in its folder: its rounds, its weights, and what it asked."""
    asked = [json.loads(line) for line in (home / "asked.jsonl").read_text().splitlines()]
    return json.loads((home / "end.json").read_text()), torch.load(home / "weights.pt", weights_only=True), asked


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run outside of SLURM, on so many processes."""
    homes: dict[int, Path] = {}

    def run(devices: int) -> Path:
        if devices not in homes:
            homes[devices] = tmp_path_factory.mktemp("local")
            command = [sys.executable, "-m", "tests.slurm.program", str(homes[devices]), f"--devices={devices}"]
            subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=SECONDS)
        return homes[devices]

    return run


def check_same_end(home: Path, whole: Path) -> None:
    rounds, weights, asked = end_of(home)
    expected, expected_weights, expected_asked = end_of(whole)
    assert rounds == expected
    assert asked == expected_asked
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())


@pytest.mark.parametrize(("tasks", "place"), [(1, "fit"), (2, "fit"), (2, "score"), (2, "label"), (1, "last")])
def test_a_job_queued_again_in_its_middle(tmp_path: Path, local: Callable[[int], Path], tasks: int, place: str) -> None:
    job = Job(tmp_path, f"--folder={tmp_path / 'run'}", "--wait-in", place, tasks=tasks)
    job.wait_for_its_middle()
    job.tell("scontrol", "requeue")
    job.wait_for_its_end()
    assert job.fact("Restarts") == "1"
    check_same_end(tmp_path, local(tasks))


@pytest.mark.parametrize("with_folder", [False, True], ids=["without", "with"])
@pytest.mark.parametrize(("tasks", "place"), [(1, "fit"), (1, "label"), (2, "label"), (2, "score"), (1, "last")])
def test_a_job_that_lightning_queues_again(
    tmp_path: Path, local: Callable[[int], Path], tasks: int, place: str, with_folder: bool
) -> None:
    folder = [f"--folder={tmp_path / 'run'}"] if with_folder else []
    job = Job(tmp_path, *folder, "--wait-in", place, tasks=tasks)
    job.wait_for_its_middle()
    job.tell("scancel", "--signal=USR1")
    job.wait_for_its_end()
    assert job.fact("Restarts") == "1"
    assert (tmp_path / "hpc_ckpt_1.ckpt").exists()
    said = (tmp_path / "job.log").read_text()
    word = "It is ignored, since the run folder" if with_folder else "Resuming the run in"
    assert said.count(f"{tmp_path / 'hpc_ckpt_1.ckpt'}") > 0
    assert said.count(word) == 1
    check_same_end(tmp_path, local(tasks))


@pytest.mark.parametrize("with_folder", [False, True], ids=["without", "with"])
def test_a_job_that_is_queued_again_twice(tmp_path: Path, local: Callable[[int], Path], with_folder: bool) -> None:
    folder = [f"--folder={tmp_path / 'run'}"] if with_folder else []
    job = Job(tmp_path, *folder, "--wait-in", "score", "label")
    for number in range(2):
        job.wait_for_its_middle(number)
        job.tell("scancel", "--signal=USR1")
    job.wait_for_its_end()
    assert job.fact("Restarts") == "2"
    assert (tmp_path / "hpc_ckpt_2.ckpt").exists()
    check_same_end(tmp_path, local(1))


def test_a_job_near_the_end_of_its_time(tmp_path: Path, local: Callable[[int], Path]) -> None:
    """SLURM sends the signal by itself, so that the job is queued again until it is done."""
    job = Job(tmp_path, "--wait-in", "label", options=("--time=3", "--signal=SIGUSR1@60"))
    job.wait_for_its_end()
    assert int(job.fact("Restarts")) >= 1
    check_same_end(tmp_path, local(1))


LAUNCHER = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1"]


@pytest.mark.parametrize("is_queued_again", [False, True])
def test_a_sweep_by_submitit(tmp_path: Path, is_queued_again: bool) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    cells = [*TINY, "active.budget=60", "acquisition=random,bald", "seed=0"]
    sweep(*cells, f"folder={tmp_path / 'local'}", cwd=tmp_path)
    process = start(*cells, f"folder={tmp_path / 'slurm'}", *LAUNCHER)
    if is_queued_again:
        wait_until(lambda: recorded(tmp_path / "slurm") > 0, "A first round")
        logs = [path for path in (tmp_path / "slurm").rglob("*_log.out") if "Run folder:" in path.read_text()]
        job = logs[0].name.removesuffix("_0_log.out")
        subprocess.run(["scontrol", "requeue", job], check=True)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert len(runs(tmp_path / "slurm")) == 2
    assert results(tmp_path / "slurm") == results(tmp_path / "local")
