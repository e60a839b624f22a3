"""Runs that are given no folder each take one of their own, even those that begin within the same second.

Processes that train together are one run, whoever starts them.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch.distributed import TCPStore

import lightning_al.cli  # noqa: F401, whose resolvers the configuration names
from lightning_al.cli.external_launch import is_first_rank, started_by
from lightning_al.report import Run
from tests.support import programs

TWO = ("trainer.devices=2", "trainer.strategy=ddp")
QUICK = (
    *TWO,
    "trainer.max_steps=2",
    "trainer.enable_progress_bar=false",
    "pool.samples_per_epoch=64",
    "active.query_size=5",
    "active.max_rounds=2",
    "acquisition=random",
    "callbacks=none",
)


def composed(*overrides: str) -> DictConfig:
    """Compose a configuration, whose references to the process and its variables are read when they are used."""
    return copy.deepcopy(composed_once(overrides))


@cache
def composed_once(overrides: tuple[str, ...]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_module(version_base="1.3", config_module="lightning_al.conf"):
        return compose("config", [*overrides], return_hydra_config=True)


@pytest.mark.long
@pytest.mark.parametrize("processes", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_processes_within_a_second_share_no_folder(tmp_path: Path, processes: int) -> None:
    config = composed()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                (tmp_path / config.hydra.run.dir).mkdir(parents=True)  # raises where another has made it
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    folders = list(tmp_path.glob("outputs/*/*"))
    seconds = {match[0] for folder in folders if (match := re.match(r"\d\d-\d\d-\d\d", folder.name))}
    assert len(seconds) < processes / 5, "they did not begin together"
    assert statuses == [0] * processes
    assert len(folders) == processes


def test_the_cells_of_a_sweep_in_other_processes_are_told_its_folder(tmp_path: Path) -> None:
    config = composed()
    before = config.hydra.sweep.dir
    child = os.fork()
    if child == 0:
        try:
            (tmp_path / "told").write_text(config.hydra.sweep.dir)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "told").read_text() == before


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}
SRUN = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "3", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
BY_HAND = {"NODE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "1234"}
JSRUN = {"JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_RANK": "1"}
EVERY = {*TORCHRUN, *SRUN, *MPIRUN, *BY_HAND, *JSRUN, "SLURM_JOB_NAME"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process that was started alone, to be changed."""
    for name in EVERY:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "trainer", "launcher", "is_first"),
    [
        ({}, TWO, None, True),
        (TORCHRUN, TWO, "torchrun", False),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, TWO, "torchrun", True),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, TWO, "torchrun", False),
        ({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, TWO, None, True),
        ({**TORCHRUN, **SRUN, "SLURM_PROCID": "0"}, TWO, "torchrun", False),
        (SRUN, TWO, "srun", False),
        (SRUN, ["trainer.devices=auto", "trainer.strategy=ddp"], "srun", False),
        (SRUN, ["trainer.num_nodes=2", "trainer.strategy=ddp"], "srun", False),
        ({**SRUN, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, TWO, "srun", True),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, TWO, None, True),
        ({**SRUN, "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, TWO, None, True),
        # Each on one device: runs of their own, say of several seeds.
        (SRUN, ["seed=1"], None, True),
        (SRUN, ["trainer.devices=[0]"], None, True),
        (MPIRUN, TWO, "another launcher", False),
        (JSRUN, TWO, "another launcher", False),
        (BY_HAND, ["trainer.num_nodes=2"], "another launcher", True),
        ({**BY_HAND, "LOCAL_RANK": "0"}, ["trainer.num_nodes=2"], "another launcher", False),
        # A process that Lightning started for one that was started alone.
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, TWO, "another launcher", False),
    ],
)
def test_processes_know_whether_they_were_started_together(environment, variables, trainer, launcher, is_first):
    for name, value in variables.items():
        environment.setenv(name, value)
    config = composed(*trainer)
    assert (started_by(config), is_first_rank(config)) == (launcher, is_first)
    assert config.hydra.output_subdir == (".hydra" if is_first else None)


def test_the_tasks_of_a_step_choose_its_folder(environment):
    for name, value in SRUN.items():
        environment.setenv(name, value)
    assert composed(*TWO).hydra.run.dir == "outputs/slurm/4711-3"
    assert composed(*TWO, "folder=mine").hydra.run.dir == "mine"
    assert re.match(r"outputs/20\d\d-", composed("seed=1").hydra.run.dir)
    environment.delenv("SLURM_STEP_ID")
    assert composed(*TWO).hydra.run.dir == "outputs/slurm/4711"


@pytest.mark.parametrize(
    ("variables", "trainer"), [(MPIRUN, TWO), (BY_HAND, [*TWO, "trainer.num_nodes=2"]), (TORCHRUN, TWO)]
)
def test_processes_that_cannot_agree_are_asked_for_a_folder(environment, refused, tmp_path, variables, trainer):
    environment.chdir(tmp_path)
    for name, value in variables.items():
        environment.setenv(name, value)
    said = refused(*QUICK, *trainer)
    assert said.startswith("lightning-al was started by ")
    assert said.endswith(" cannot agree on a folder. Give all of them the same one by `folder=`.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variables", [SRUN, TORCHRUN], ids=["srun", "torchrun"])
def test_a_sweep_is_started_once(environment, refused, tmp_path, variables):
    environment.chdir(tmp_path)
    for name, value in variables.items():
        environment.setenv(name, value)
    said = refused("-m", *QUICK, "seed=0,1")
    assert "each of which would run the whole sweep. Start the sweep once, without it" in said
    assert list(tmp_path.iterdir()) == []


COMMAND = ["-m", "lightning_al.cli", *QUICK]


def torchrun(folder: Path, *overrides: str) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return programs.run(*launcher, *COMMAND, *overrides, cwd=folder, fork=False).stdout


def as_torchrun(folder: Path) -> str:
    """Start two forks with the store and the variables that torchrun gives them."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {
        **TORCHRUN,
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }
    of_ranks = {name: value for name, value in variables.items() if "RANK" not in name}
    return programs.run(*COMMAND, cwd=folder, environment=of_ranks, ranks=2).stdout


@pytest.mark.long
@pytest.mark.parametrize("start", [as_torchrun, pytest.param(torchrun, marks=pytest.mark.slow)])
def test_two_processes_of_torchruns_make_one_folder(tmp_path: Path, start: Any) -> None:
    said = start(tmp_path)
    (folder,) = tmp_path.glob("outputs/*/*")
    assert said.count(f"to resume it: lightning-al folder={folder}") == 1
    assert Run.read(folder).labels == [10, 15]
    assert {path.name for path in folder.iterdir()} == {
        ".hydra",
        "asked.png",
        "config.yaml",
        "csv",
        "curve.png",
        "history.jsonl",
        "initial.pt",
        "journal.sqlite",
        "labels.csv",
        "loggers.json",
        "model.ckpt",
        "summary.json",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.slow
def test_two_processes_of_torchruns_agree_on_a_folder_that_each_would_name_otherwise(tmp_path: Path) -> None:
    name = "folder='runs/${now:%f}'"
    assert torchrun(tmp_path, name).count("Run folder: ") == 2
    (folder,) = tmp_path.glob("runs/*")
    said = torchrun(tmp_path, f"folder={folder}")
    assert said.count("Random, seed 0: mean test_acc") == 1


@pytest.mark.slow
def test_two_tasks_of_srun_make_one_folder_and_a_job_started_anew_goes_on(tmp_path: Path) -> None:
    def srun(*overrides: str) -> list[str]:
        tasks = []
        for rank in (0, 1):
            environment = {
                **os.environ,
                **SRUN,
                "SLURM_NTASKS_PER_NODE": "2",
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
                "SLURM_NODEID": "0",
                "SLURM_NODELIST": "127.0.0.1",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(programs.ROOT),
            }
            command = [sys.executable, "-m", "lightning_al.cli", *QUICK, *overrides]
            tasks.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True))
        said = [task.communicate(timeout=300)[0] for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0]
        return said

    first, second = srun()
    assert "Run folder: " in first
    assert second == ""
    assert [path.name for path in tmp_path.glob("outputs/*/*")] == ["4711-3"]
    again, _ = srun("active.max_rounds=3")
    assert Run.read(tmp_path / "outputs" / "slurm" / "4711-3").labels == [10, 15, 20]
    assert "mean test_acc over 10 to 20 labels" in again
