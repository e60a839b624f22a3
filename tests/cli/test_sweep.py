"""Sweeps: cells that are done, cut off, broken or of another version, as the command line meets them."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import subprocess
import time
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from matplotlib.image import imread
from omegaconf import OmegaConf

from lightning_al import cli
from lightning_al.report import Run
from lightning_al.run.folder import ERROR
from tests.conftest import Command
from tests.support.programs import Program
from tests.support.sweeps import COMMAND, ROOT, TINY, environment

pytestmark = pytest.mark.usefixtures("as_before")

FRAGILE = ["acquisition._target_=tests.support.sweeps.Fragile", "allow=[tests.support.sweeps]"]


def runs(folder: Path) -> list[Run]:
    return [Run.read(path.parent) for path in sorted(folder.rglob("summary.json"))]


def results(folder: Path) -> list[Any]:
    return [(run.name, run.seed, run.labels, run.values, run.initial, run.indices) for run in runs(folder)]


def table(folder: Path) -> bytes:
    return (folder / "comparison.csv").read_bytes()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture
def whole(out: Path, command: Command) -> Path:
    """The folder of a sweep that nothing disturbed."""
    folder = out / "whole"
    if not folder.exists():
        said = command("-m", *TINY, f"folder={folder}", "acquisition=random,bald", "seed=0,1")
        (out / "said").write_text(said)
    return folder


@pytest.mark.long
def test_a_sweep_ends_with_one_comparison(whole: Path) -> None:
    found = runs(whole)
    assert sorted((run.name, run.seed) for run in found) == [("bald", 0), ("bald", 1), ("random", 0), ("random", 1)]
    first = {(run.name, run.seed): (run.initial, run.values[0]) for run in found}
    for seed in (0, 1):
        assert first["bald", seed] == first["random", seed], "round 0 is the same for all methods of a seed"
    with (whole / "comparison.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["random", "bald"]
    areas = {key: [run.area for run in found if run.name == key] for key in rows}
    difference = sum(areas["bald"]) / 2 - sum(areas["random"]) / 2
    assert float(rows["bald"]["difference"]) == pytest.approx(difference)
    assert imread(whole / "comparison.png").std() > 0.05
    said = (whole.parent / "said").read_text()
    assert said.count("minus random") == 1
    assert said.count("┏") == 1
    assert "n too small" in said


@pytest.mark.long
def test_a_job_of_a_sweep_goes_on_by_its_folder_unquoted(command: Command, whole: Path) -> None:
    [folder] = whole.glob("*bald*seed-0*")
    assert "BALD, seed 0" in command(f"folder={folder}")


@pytest.mark.long
def test_what_is_done_is_shown_and_not_run_again(
    command: Command, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table(whole), {path: path.stat().st_mtime_ns for path in whole.glob("*/[!.]*")}
    returned, of_cell = [], cli.run_cell
    monkeypatch.setattr(cli, "run_cell", lambda *given: returned.append(of_cell(*given)) or returned[-1])
    HydraConfig.instance().cfg = None  # as in the first command of a process, which reads the folder before it is set
    said = command("-m", *TINY, f"folder={whole}", "acquisition=random,bald", "seed=0")
    assert (table(whole), {path: path.stat().st_mtime_ns for path in whole.glob("*/[!.]*")}) == before
    assert said.count("labels is") == 2
    assert said.count("┏") == 1
    assert sorted(returned) == sorted(run.area for run in runs(whole) if run.seed == 0), "what a sweeper gets"


@pytest.mark.long
def test_a_sweep_grows_by_seeds_and_budget_and_not_back(
    command: Command, refused: Command, whole: Path, tmp_path: Path
) -> None:
    small = [*TINY, "acquisition=random", f"folder={tmp_path}"]
    [cell] = whole.glob("*random*seed-0*")
    shutil.copytree(cell, tmp_path / cell.name)
    command("-m", *small, "seed=0,1", "active.budget=16", "metric=test_loss")
    assert [(run.seed, run.labels, run.metric) for run in runs(tmp_path)] == [
        (0, [10, 15, 16], "test_loss"),
        (1, [10, 15, 16], "test_loss"),
    ]
    said = refused("-m", *small, "seed=0")
    assert "active.budget (stored 16, asked 15)" in said


@pytest.mark.long
def test_a_cell_that_fails_leaves_the_others_be_and_is_tried_again(
    command: Command, refused: Command, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken, folder = tmp_path / "broken", tmp_path / "sweep"
    cells = [*TINY, *FRAGILE, "acquisition=random", f"folder={folder}", "seed=1"]
    broken.touch()
    said = refused("-m", *cells, "+acquisition.path=broken,none")
    [path] = folder.rglob(ERROR)
    assert "1 cell failed" in said
    assert f"ArithmeticError: the file is there  (whole traceback: {path})" in said
    assert 'raise ArithmeticError("the file\\nis there")' in path.read_text()
    assert "Traceback" not in said
    assert [run.values for run in runs(folder)] == [[run.values for run in runs(whole) if run.seed == 1][-1]]
    assert f"Compared 1 runs: {folder / 'comparison.png'}" in said
    broken.unlink()
    assert "failed" not in command("-m", *cells, "+acquisition.path=broken")
    assert list(folder.rglob(ERROR)) == []
    assert len(runs(folder)) == 2


@pytest.mark.long
def test_what_cannot_be_made_fails_by_cell_too_and_is_worth_nan_to_a_sweeper(
    refused: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned, of_cell = [], cli.run_cell
    monkeypatch.setattr(cli, "run_cell", lambda *given: returned.append(of_cell(*given)) or returned[-1])
    said = refused("-m", *TINY, "acquisition=random", "active.query_size=0", "seed=0,1", f"folder={tmp_path}")
    assert "2 cells failed" in said
    in_a_line = "`ActiveLearning` needs `query_size` of at least 1, but got 0. Pass a larger one."
    assert said.count(f"Failed: {in_a_line}  (whole traceback: ") == 2
    assert said.count(f"\n  {in_a_line}  (2 cells, the first's whole traceback: ") == 1
    assert "Compared" not in said
    assert len(list(tmp_path.rglob(ERROR))) == 2
    assert len(returned) == 2
    assert all(map(isnan, returned))


@pytest.mark.long
def test_runs_of_another_version_stay_beside_and_are_not_compared(
    command: Command, whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "sweep"))
    for path in list(folder.rglob("summary.json")):
        if "random" in path.parent.name and "seed-0" in path.parent.name:
            path.write_text(path.read_text().replace('"lightning_al": "', '"lightning_al": "99.'))
            path.parent.rename(f"{path.parent}-of-another-version")
    said = command("-m", *TINY, f"folder={folder}", "acquisition=random", "seed=0")
    assert len(runs(folder)) == 5
    assert "Left out 1 runs of other versions of lightning_al" in said
    with (folder / "comparison.csv").open(newline="") as file:
        assert [(row["method"], row["runs"]) for row in csv.DictReader(file)] == [("random", "2"), ("bald", "2")]


@pytest.mark.long
def test_cells_that_cannot_be_told_apart_are_named(
    command: Command, refused: Command, whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "sweep"))
    [cell] = folder.glob("*bald*seed-0*")
    shutil.copytree(cell, folder / "copy")
    said = refused("-m", *TINY, f"folder={folder}", "acquisition=bald", "seed=0")
    assert "were not compared. Two runs of bald have the same seed and settings" in said


# In processes of their own.


def start(*arguments: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "-m", *arguments],
        cwd=cwd,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell lets what it runs in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def sweep(*arguments: str, code: int = 0, cwd: Path = ROOT) -> str:
    process = start(*arguments, cwd=cwd)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def recorded(folder: Path) -> int:
    """How many rounds all cells of a sweep have recorded."""
    return sum(len(path.read_text().splitlines()) for path in folder.glob("*/history.jsonl"))


def stop(process: subprocess.Popen[str] | Program, number: int, folder: Path, *, rounds: int) -> str:
    """Send a signal once the cells have recorded so many rounds, and return what was said."""
    deadline = time.monotonic() + 240
    while recorded(folder) < rounds and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    return said


@pytest.mark.long
def test_a_sweep_that_is_killed_goes_on_to_the_same_end(command: Command, whole: Path, tmp_path: Path) -> None:
    cells = [*TINY, f"folder={tmp_path}", "acquisition=random", "seed=0,1"]
    stop(Program("-m", "lightning_al.cli", "-m", *cells), signal.SIGKILL, tmp_path, rounds=3)
    assert len(runs(tmp_path)) == 1
    for cell in whole.glob("*bald*"):  # of other sweeps in the folder
        shutil.copytree(cell, tmp_path / cell.name)
    command("-m", *cells)
    assert table(tmp_path) == table(whole)
    assert results(tmp_path) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_killed_again_and_again_goes_on_to_the_same_end(whole: Path, tmp_path: Path, launcher: str) -> None:
    cells = [*TINY, f"folder={tmp_path}", "acquisition=random,bald", "seed=0,1", f"hydra/launcher={launcher}"]
    if launcher == "joblib":
        cells += ["hydra.launcher.n_jobs=2"]
    for rounds in (0, 1, 4, 6, 7):
        if recorded(tmp_path) <= rounds:
            stop(start(*cells), signal.SIGKILL, tmp_path, rounds=rounds)
    sweep(*cells)
    assert table(tmp_path) == table(whole)
    assert results(tmp_path) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_whole_sweep_and_says_how_to_go_on(
    whole: Path, tmp_path: Path, launcher: str, number: int, code: int
) -> None:
    cells = [*TINY, f"folder={tmp_path}", "acquisition=random,bald", "seed=0,1", f"hydra/launcher={launcher}"]
    if launcher == "joblib":
        cells += ["hydra.launcher.n_jobs=2"]
    process = start(*cells)
    said = stop(process, number, tmp_path, rounds=1)
    assert process.returncode == code, said
    [line] = [line for line in said.splitlines() if line.startswith("Stopped by")]
    command = line.partition("Resume the sweep with: lightning-al ")[2].split()
    assert command == ["-m", *cells]
    assert len(runs(tmp_path)) < 4
    sweep(*command[1:])
    assert results(tmp_path) == results(whole)


@pytest.mark.slow
def test_joblib_shares_the_cores_and_loads_by_workers(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    loaded = [
        "data._target_=tests.support.sweeps.Loaded",
        "allow=[tests.support.sweeps]",
        "threads=null",
        "acquisition=bald,random",
    ]
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.accelerator=auto"]
    variables = environment(CUDA_VISIBLE_DEVICES="70,50")  # which no machine has, so that it is left at the CPU
    del variables["OMP_NUM_THREADS"]
    command = [*COMMAND, "-m", *TINY, *loaded, *parallel]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    workers = re.findall(r"LokyProcess-(\d+): (\d+) threads, GPU (\d+)", done.stdout)
    threads = str(max(1, joblib.cpu_count() // 2))
    assert workers
    assert set(workers) <= {("1", threads, "70"), ("2", threads, "50")}
    [folder] = tmp_path.glob("multirun/*/*")
    assert len(runs(folder)) == 2, "all cells know when, and by which process, the sweep was started"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "launcher"),
    [
        ("hydra_joblib_launcher", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        ("hydra_submitit_launcher", ["hydra/launcher=submitit_local"]),
        ("hydra_ray_launcher", ["hydra/launcher=ray"]),
    ],
)
def test_every_launcher_gives_the_same_results(
    command: Command, whole: Path, tmp_path: Path, package: str, launcher: list[str]
) -> None:
    pytest.importorskip(f"hydra_plugins.{package}")
    folder, broken = tmp_path / "sweep", tmp_path / "broken"
    said = sweep(*TINY, f"folder={folder}", "acquisition=random,bald", "seed=0,1", *launcher)
    assert results(folder) == results(whole)
    assert table(folder) == table(whole)
    broken.touch()
    cells = [*TINY, *FRAGILE, "acquisition=random", f"folder={folder}", "+acquisition.path=broken", *launcher]
    said = sweep(*cells, code=1, cwd=tmp_path)
    assert "1 cell failed" in said
    assert "Compared 4 runs" in said
    broken.unlink()
    assert "Compared 5 runs" in sweep(*cells, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_cells_of_two_ranks_are_those_that_run_alone(tmp_path: Path, launcher: list[str]) -> None:
    ranks = [*TINY, "trainer.devices=2", "trainer.strategy=ddp", "acquisition=bald"]
    said = sweep(*ranks, f"folder={tmp_path / 'sweep'}", "seed=0,1", *launcher)
    assert said.count("labels is") == 2
    for run in runs(tmp_path / "sweep"):
        alone = tmp_path / f"alone-{run.seed}"
        command = [*COMMAND, *ranks, f"folder={alone}", f"seed={run.seed}"]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=300)
        assert results(alone) == [(run.name, run.seed, run.labels, run.values, run.initial, run.indices)]
    assert "Compared 2 runs" in said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["score", "die"])
def test_a_cell_of_two_ranks_that_fails_leaves_the_others_be(tmp_path: Path, how: str) -> None:
    folder, broken = tmp_path / "sweep", tmp_path / "broken"
    broken.touch()
    cells = [*TINY, *FRAGILE, "acquisition=random", "trainer.devices=2", "trainer.strategy=ddp", f"folder={folder}"]
    cells += ["+acquisition.path=broken,none", f"+acquisition.how={how}"]
    said = sweep(*cells, code=1, cwd=tmp_path)
    assert "1 cell failed" in said
    [path] = folder.rglob(ERROR)
    assert ("the file is there" if how == "score" else "ended with exit code") in path.read_text()
    assert "Compared 1 runs" in said
    broken.unlink()
    assert "Compared 2 runs" in sweep(*cells, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells",
    [
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["trainer.devices=2", "trainer.strategy=ddp"],
    ],
)
def test_a_killed_sweep_takes_the_processes_of_its_cells_with_it(tmp_path: Path, cells: list[str]) -> None:
    # A cell has 11 rounds. The output ends with the last process that holds it open.
    long = [*TINY, "active.budget=60", "acquisition=random", "seed=0,1", f"folder={tmp_path}"]
    stop(start(*long, *cells), signal.SIGKILL, tmp_path, rounds=1)
    assert recorded(tmp_path) < 8


def running(folder: Path) -> int:
    """How many of submitit's jobs have come to their cell."""
    return sum("Run folder:" in path.read_text() for path in folder.rglob("*_log.out"))


@pytest.mark.slow
def test_a_job_that_submitit_queues_again_goes_on_from_its_journal(
    command: Command, whole: Path, tmp_path: Path
) -> None:
    psutil = pytest.importorskip("psutil")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    cells = [*TINY, f"folder={tmp_path}", "acquisition=random,bald", "seed=0,1", "hydra/launcher=submitit_local"]
    process = start(*cells)
    deadline = time.monotonic() + 240
    # Until all four run cells: a signal that comes before submitit listens for it ends the job.
    while running(tmp_path) < 4 or recorded(tmp_path) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    jobs = [job for controller in psutil.Process(process.pid).children() for job in controller.children()]
    assert jobs
    for job in jobs:
        # As SLURM does: the warning, which submitit passes by, and the signal that it asks for.
        job.send_signal(signal.SIGTERM)
        job.send_signal(signal.SIGUSR2)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert any("Requeued job" in path.read_text() for path in tmp_path.rglob("*_log.out"))
    assert results(tmp_path) == results(whole)


@pytest.mark.slow
def test_optuna_maximises_the_area_past_a_cell_that_fails(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweeper = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=maximize"]
    sweeper += ["hydra.sweeper.sampler.seed=1", "hydra.sweeper.max_failure_rate=1"]
    cells = [*TINY, "acquisition=random", f"folder={tmp_path}", "model.lr=choice(0.01,-1,0.001)"]
    said = sweep(*cells, *sweeper, code=1)
    best = max(runs(tmp_path), key=lambda run: run.area)
    found = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert (found.best_value, found.best_params["model.lr"]) == (best.area, best.settings["model.lr"])
    assert "1 cell failed" in said
    assert "Invalid learning rate: -1" in said
