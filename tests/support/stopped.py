"""Run by test_stopping.py in a process of its own: a run that waits at a place for a signal to stop it.

Usage: python -m tests.support.stopped FOLDER PLACE WORKERS, where PLACE is fit, score, test, label, last or nowhere.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.oracle import Oracle
from lightning_al.posterior.base import Forward, Posterior, PosteriorSamples
from tests.support.tasks import LitMLP, points, trainer

ROUND = 1
"""In which round to wait."""


class Waiting:
    """Say where the run is, and stay there for long."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.seen = 0

    def __call__(self, place: str, round: int) -> None:
        if (place, round) == (self.place, ROUND):
            print(f"waiting at {place}", flush=True)
            for _ in range(80):
                time.sleep(0.1)


class WaitingMLP(LitMLP):
    def __init__(self, wait: Waiting) -> None:
        super().__init__()
        self.wait = wait

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.wait("fit", self.active_round)
        return super().training_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.wait("test" if batch_idx == 0 else "last", self.active_round)

    @property
    def active_round(self) -> int:
        (active,) = (callback for callback in self.trainer.callbacks if isinstance(callback, ActiveLearning))
        return active.round


class WaitingPosterior(Posterior):
    def __init__(self, wait: Waiting) -> None:
        self.wait = wait

    def __repr__(self) -> str:
        return "WaitingPosterior()"

    def config(self) -> dict[str, Any]:
        return {"class": "tests.support.stopped.WaitingPosterior"}  # whether this file is imported or run

    def draw(self, fits: Any, module: nn.Module, labelled: Any, *, forward: Forward, seed: int) -> PosteriorSamples:
        samples = MCDropout(4).draw(fits, module, labelled, forward=forward, seed=seed)
        return WaitingSamples(self.wait, module, samples)


class WaitingSamples(PosteriorSamples):
    num_samples = 4

    def __init__(self, wait: Waiting, module: Any, samples: PosteriorSamples) -> None:
        self.wait, self.module, self.samples = wait, module, samples

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        outputs = list(self.samples.outputs(batch))
        self.wait("score", self.module.active_round)
        yield from outputs


class WaitingOracle(Oracle):
    def __init__(self, wait: Waiting) -> None:
        self.wait_at = wait
        self.round = -1

    def label(self, indices: Sequence[int]) -> dict[int, Any]:
        self.round += 1
        self.wait_at("label", self.round)
        return dict.fromkeys(indices)


def run(folder: Path, place: str = "nowhere", workers: int = 0) -> list[list[int]]:
    """Return what each round asked."""
    wait = Waiting(place)
    torch.manual_seed(7)
    module = WaitingMLP(wait)
    data = ActiveDataModule(
        points(40), initial_size=8, test=points(16, seed=2), batch_size=8, pool_batch_size=8, num_workers=workers
    )
    active = ActiveLearning(
        "bald",
        query_size=4,
        budget=20,
        posterior=WaitingPosterior(wait),
        oracle=WaitingOracle(wait),
        seed=1,
        folder=folder / "run",
    )
    trainer(folder, callbacks=[active]).fit(module, datamodule=data)
    return [round.indices for round in active.history]


if __name__ == "__main__":
    found = run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print("after the run: " + json.dumps(found), flush=True)
