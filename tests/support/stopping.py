"""Stop runs with workers and tiny epochs at random moments, by one signal each.

Torch, Lightning and the library are imported once, here; each run is a fork of this process. Run by test_stopping.py in
a process of its own, and by hand; a line of JSON a run: its exit code, how long it took to end, and what it said.

Usage: python -m tests.support.stopping OUT TIMES SEED LATEST, where LATEST says how many seconds after the first step a
signal may come; a run takes far longer than 8.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.run.journal import Journal
from tests.support.tasks import LitMLP, points

SECONDS = 60.0


class Ready(pl.Callback):
    """Say, once, that training begins."""

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.answer >= 0:
            os.write(self.answer, b"ready\n")
            self.answer = -1


def run(folder: Path, answer: int) -> None:
    torch.manual_seed(7)
    data = ActiveDataModule(
        points(200),
        initial_size=4,
        val=points(8, seed=1),
        test=points(8, seed=2),
        batch_size=4,
        pool_batch_size=64,
        num_workers=2,
    )
    active = ActiveLearning("batchbald", query_size=2, seed=1, folder=folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[active, Ready(answer)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitMLP(), datamodule=data)


def stop(out: Path, number: int, signal_number: signal.Signals, seconds: float, is_group: bool) -> dict[str, Any]:
    """Start a run, send a signal to it, or to its workers too as a terminal does, and say how it ended."""
    folder, log = out / f"run-{number}", out / f"run-{number}.log"
    reading, answer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.setsid()
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(said, 1)
            os.dup2(said, 2)
            run(folder, answer)
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(answer)
    with os.fdopen(reading) as pipe:
        pipe.readline()
        time.sleep(seconds)
    (os.killpg if is_group else os.kill)(child, signal_number)
    began = time.monotonic()
    ended, status = 0, 0
    while not ended and time.monotonic() < began + SECONDS:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.005)
    took = time.monotonic() - began
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {
        "signal": signal_number.name,
        "group": is_group,
        "after": seconds,
        "code": os.waitstatus_to_exitcode(status) if ended else "it ran on",
        "took": took,
        "rounds": len(Journal.read_history(folder)),
        "left": sorted(path.name for path in folder.iterdir()),
        "said": log.read_text()[-3000:],
    }


def main(out: Path, times: int, seed: int, latest: float) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out.mkdir(parents=True, exist_ok=True)
    moments = random.Random(seed)
    for number in range(times):
        signal_number = signal.SIGINT if number % 4 == 3 else signal.SIGTERM
        print(json.dumps(stop(out, number, signal_number, moments.uniform(0, latest), number % 2 == 1)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
