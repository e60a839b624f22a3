"""Runs that are given no folder each take one of their own, even those that begin within the same second."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

import lightning_al.cli  # noqa: F401, whose resolvers the configuration names

PROCESSES = 200


def composed() -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_module(version_base="1.3", config_module="lightning_al.conf"):
        return compose("config", return_hydra_config=True)


def test_200_processes_within_a_second_share_no_folder(tmp_path: Path) -> None:
    config = composed()
    children = []
    for _ in range(PROCESSES):
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
    assert len(seconds) < PROCESSES / 10, "they did not begin together"
    assert statuses == [0] * PROCESSES
    assert len(folders) == PROCESSES


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
