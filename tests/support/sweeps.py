"""What the sweeps of test_sweep.py are made of: a method that can fail, data that workers load, and how they run."""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from torch.utils.data import DataLoader

from lightning_al.acquisition import Random
from lightning_al.demos import Digits
from lightning_al.points import Candidates

ROOT = Path(__file__).parents[2]

TINY = [
    "data.test_size=1697",  # a pool of 100, and the first batch of the test
    "+trainer.limit_test_batches=1",
    "pool.samples_per_epoch=64",
    "trainer.max_steps=2",
    "active.query_size=5",
    "active.budget=15",
    "posterior.num_samples=3",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "logger=none",
]

COMMAND = [sys.executable, "-m", "lightning_al.cli"]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}


@dataclass(frozen=True)
class Fragile(Random):
    """Fail while a file is there, with `score`, or die without a word, with `die`."""

    path: str
    how: str = "score"

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Any:
        if Path(self.path).exists():
            if self.how == "die":
                os._exit(3)
            raise ArithmeticError("the file\nis there")
        return super().select(candidates, b, generator)


class Loaded(Digits):
    """The digits as two processes load them, which note with how many threads and GPUs."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        print(f"{multiprocessing.current_process().name}: {torch.get_num_threads()} threads, GPU {gpus}", flush=True)

    def train_dataloader(self) -> DataLoader[Any]:
        loader = super().train_dataloader()
        return DataLoader(loader.dataset, batch_size=loader.batch_size, num_workers=2)


class Searching(Sweeper):
    """A sweeper that has a direction, as Optuna's has, and ends at a cell that failed."""

    def __init__(self, direction: str, **arguments: Any) -> None:
        made_by: Any = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
        self.basic = made_by(**arguments)

    def setup(self, **given: Any) -> None:
        self.basic.setup(**given)

    def sweep(self, arguments: list[str]) -> Any:
        return self.basic.sweep(arguments)
