"""Run by test_features.py in processes of its own: a run on features with a cold start; each rank writes what it found.

Usage: python -m tests.support.features_on_ranks OUT RANKS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.data.features.points import features_at
from lightning_al.host.namespace import pl
from tests.support.tasks import LitMLP, points

encoded = []


def encode(inputs: Tensor) -> Tensor:
    encoded.append(len(inputs))
    return 3 * inputs[:, :5]


def main(out: Path, ranks: int) -> None:
    torch.manual_seed(0)
    strategy = "auto" if ranks == 1 else pl.strategies.DDPStrategy(process_group_backend="gloo")
    module = LitMLP()
    module.net[0] = nn.Linear(5, 16)
    data = ActiveDataModule(
        points(70), initial="max_herding", initial_size=6, features=encode, inputs="features", seed=0, batch_size=8
    )
    active = ActiveLearning(
        "max_herding", query_size=4, max_rounds=2, posterior="deterministic", seed=0, folder=out / f"run-{ranks}"
    )
    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, strategy=strategy, max_epochs=1, callbacks=[active], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=out,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    found = {
        "encoded": sum(encoded),
        "initial": data.pool.initial,
        "asked": active.history[0].indices,
        "features": features_at(data, range(70)).tolist(),
    }
    (out / f"{ranks}-{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
