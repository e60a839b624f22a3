"""A user's program, to be run as a job of SLURM's or by itself: three rounds on a few points.

With `--wait-in` it waits in round 1, or in the last one, until something ends it: the first time that its job runs at
the first place, the second time at the second. In HOME it leaves `waiting-TIME-RANK` then, a line in `asked.jsonl` for
each query that its oracle answers, and at the end `end.json` and `weights.pt`. While it scores, the first rank alone
waits, so that another waits for it in a collective call.

Usage: python -m tests.slurm.program HOME [--folder FOLDER] [--wait-in fit|score|label|last ...] [--devices 2]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_al import ActiveLearning, Oracle
from lightning_al.host.namespace import pl
from tests.support.tasks import LitMLP, trainer
from tests.test_callback import active_data, plain

BUDGET = 16


class Waits(pl.Callback):
    """Wait in the fit of round 1, where the pool is scored after it or its points are labelled, or in the last fit."""

    def __init__(self, home: Path, places: Sequence[str]) -> None:
        self.home = home
        self.time = int(os.environ.get("SLURM_RESTART_COUNT", 0))
        self.place = places[self.time] if self.time < len(places) else None
        self.rank = os.environ.get("SLURM_PROCID", "0")

    def at(self, place: str, round: int) -> None:
        if (place, round) != (self.place, 1) or (place == "score" and self.rank != "0"):
            return
        (self.home / f"waiting-{self.time}-{self.rank}").touch()
        while True:
            time.sleep(0.1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        [active] = [callback for callback in trainer.callbacks if isinstance(callback, ActiveLearning)]
        if trainer.current_epoch == 1:
            self.at("fit", active.round)
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self.at("last", 1 if data.pool.num_labelled == BUDGET else 0)

    def logits(self, module: Any, batch: Any) -> torch.Tensor:
        """Give the logits of a batch, and wait where it is one of the pool that is scored after a fit."""
        [active] = [callback for callback in module.trainer.callbacks if isinstance(callback, ActiveLearning)]
        self.at("score", active.round)
        logits: torch.Tensor = module(batch[0])
        return logits


class Logged(Oracle):
    """Give labels that are not the dataset's own, and log what is asked."""

    def __init__(self, home: Path, waits: Waits) -> None:
        self.home, self.waits = home, waits

    def label(self, indices: Sequence[int]) -> Mapping[int, int]:
        log = self.home / "asked.jsonl"
        self.waits.at("label", len(log.read_text().splitlines()) if log.exists() else 0)
        with log.open("a") as file:
            file.write(json.dumps(list(indices)) + "\n")
        return {index: (index + 1) % 4 for index in indices}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--wait-in", choices=["fit", "score", "label", "last"], nargs="+", default=[])
    parser.add_argument("--devices", type=int, default=1)
    given = parser.parse_args()
    waits = Waits(given.home, given.wait_in)
    active = ActiveLearning(
        "bald",
        query_size=4,
        budget=BUDGET,
        seed=1,
        folder=given.folder,
        oracle=Logged(given.home, waits),
        forward=waits.logits,
    )
    torch.set_num_threads(1)
    torch.manual_seed(7)
    module, data = LitMLP(), active_data(20)
    ranks: dict[str, Any] = {"devices": given.devices, "strategy": "ddp"} if given.devices > 1 else {}
    fitting = trainer(given.home, max_epochs=3, callbacks=[active, waits], **ranks)
    fitting.fit(module, datamodule=data)
    if fitting.is_global_zero:
        torch.save(module.state_dict(), given.home / "weights.pt")
        (given.home / "end.json").write_text(json.dumps(plain(active.history)))


if __name__ == "__main__":
    main()
