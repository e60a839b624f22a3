"""Run a small run and print what it asked and what weights it ended with, for test_same_questions.py to compare.

Its items are dicts by name, whose order a run must not take from Python's hashes.

Usage: python -m tests.support.questions FOLDER --workers 2 --anew
"""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from tests.support.tasks import CLASSES, FEATURES, Items, trainer

POINTS, ROUNDS = 60, 4


class TwoInputs(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({name: nn.Linear(FEATURES, 16) for name in ("left", "right")})
        self.out = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.out(self.nets["left"](left) + self.nets["right"](right))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch["left"], batch["right"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def fit(folder: str, workers: int, rounds_per_fit: int | None) -> tuple[ActiveLearning, pl.LightningModule]:
    torch.manual_seed(0)
    module = TwoInputs()
    items = Items(POINTS, lambda x, y: {"left": x, "right": x.flip(0), "label": y})
    data = ActiveDataModule(
        items, initial_size=8, batch_size=8, pool_batch_size=16, num_workers=workers, samples_per_epoch=24
    )
    active = ActiveLearning(
        "batchbald", query_size=4, max_rounds=ROUNDS, reset="warm", folder=folder, rounds_per_fit=rounds_per_fit
    )
    trainer(folder, callbacks=[active], max_epochs=2).fit(module, datamodule=data)
    return active, module


def answer(active: ActiveLearning, module: pl.LightningModule) -> dict[str, Any]:
    digest = hashlib.sha256()
    for weights in module.state_dict().values():
        digest.update(weights.numpy().tobytes())
    return {
        "asked": [(round.labelled, round.indices, round.scores) for round in active.history],
        "weights": digest.hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--anew", action="store_true", help="make everything anew for each round, from the folder")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    active, module = fit(given.folder, given.workers, 1 if given.anew else None)
    while not active.done:
        active, module = fit(given.folder, given.workers, 1)
    print(json.dumps(answer(active, module)))


if __name__ == "__main__":
    main()
