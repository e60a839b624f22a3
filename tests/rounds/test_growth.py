"""A run of many rounds takes no more memory, files, threads and time for a round at its end than at its beginning."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from tests.support.tasks import points, trainer
from tests.test_callback import model

SETTLED = 5
"""From which round on nothing grows: by then what is made once is there, in Python, torch and Lightning."""

EVERY = 20
"""Rounds between two looks at the process, since each look takes longer than a round."""


@dataclass
class Look:
    """What a process holds."""

    round: int
    open_files: int
    threads: int
    tensors: int
    modules: int
    files: int
    resident: int

    @classmethod
    def at(cls, round: int, folder: Path) -> Look:
        gc.collect()
        objects = gc.get_objects()
        return cls(
            round,
            open_files=len(os.listdir("/proc/self/fd")),
            threads=threading.active_count(),
            tensors=sum(type(thing) in (torch.Tensor, nn.Parameter) for thing in objects),
            modules=sum(issubclass(type(thing), nn.Module) for thing in objects),
            files=sum(len(names) for _, _, names in os.walk(folder)),
            resident=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        )


class Looking(pl.Callback):
    """Look at the process at the start of some fits, and count the processor time of all rounds."""

    def __init__(self, folder: Path, rounds: list[int]) -> None:
        self.folder = folder
        self.rounds = rounds
        self.looks: list[Look] = []
        self.seconds: list[float] = []
        self.began: float | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.began is not None:
            self.seconds.append(time.process_time() - self.began)
        if len(self.seconds) in self.rounds:
            self.looks.append(Look.at(len(self.seconds), self.folder))
        self.began = time.process_time()  # which other jobs on the machine do not stretch


def run(folder: Path, rounds: int, looks_at: list[int]) -> Looking:
    """Run rounds of one step and one label each."""
    looking = Looking(folder, looks_at)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=1, max_rounds=rounds, folder=folder / "run")
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=folder / "kept", monitor="val_loss")
    logger = pl.loggers.CSVLogger(folder, name="log", version=0)
    data = ActiveDataModule(
        points(rounds + 60), initial_size=8, val=points(16, seed=1), test=points(16, seed=2), samples_per_epoch=8
    )
    fitting: dict[str, Any] = {"max_epochs": 1, "enable_checkpointing": True, "log_every_n_steps": 1, "logger": logger}
    trainer(folder, callbacks=[active, checkpoint, looking], **fitting).fit(model(), datamodule=data)
    assert len(active.history) == rounds
    return looking


def assert_flat(first: Look, last: Look) -> None:
    assert last.open_files <= first.open_files
    assert last.threads <= first.threads
    assert last.tensors <= first.tensors
    assert last.modules <= first.modules
    assert last.files <= first.files


@pytest.mark.long
def test_nothing_is_left_behind_by_a_round(tmp_path: Path) -> None:
    first, last = run(tmp_path, 12, [SETTLED, 11]).looks
    assert_flat(first, last)


@pytest.mark.slow
def test_two_hundred_rounds_grow_nothing(tmp_path: Path) -> None:
    looking = run(tmp_path, 200, list(range(SETTLED, 200, EVERY)))
    first, *_, last = looking.looks
    for look in looking.looks:
        print(look)
    early, late = statistics.median(looking.seconds[5:55]), statistics.median(looking.seconds[-50:])
    print(
        f"median processor time of a round: {early * 1e3:.1f} ms in rounds 5 to 54, {late * 1e3:.1f} ms in the last 50"
    )
    assert_flat(first, last)
    # A round is a row of the history, some kB in all its forms; a module or a table left behind would be more.
    assert last.resident - first.resident < 200 * 20_000
    assert late < 1.3 * early
