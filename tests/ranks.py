"""Run by test_ranks.py in processes of its own: a run on one or several ranks, whose history goes to a file.

Usage: python -m tests.ranks OUT RANKS JSON, where JSON holds arguments of `ActiveLearning` and `lr`, `steps`, `fail`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al._lightning import pl
from tests.tasks import LitMLP, points


class Failing(pl.Callback):
    """Raise on every rank at the start of a fit."""

    def __init__(self, fit: int) -> None:
        self.fit = fit
        self.fits = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1
        if self.fits == self.fit:
            raise RuntimeError("boom")


def main(out: Path, ranks: int, arguments: dict[str, Any]) -> None:
    lr, epochs, fail = arguments.pop("lr", 0.02), arguments.pop("epochs", 2), arguments.pop("fail", 0)
    torch.manual_seed(7)
    module = LitMLP(lr=lr)
    data = ActiveDataModule(
        points(61), initial_size=8, val=points(20, seed=1), test=points(20, seed=2), batch_size=8, num_workers=0
    )
    active = ActiveLearning(**{"query_size": 5, "budget": 23, "seed": 1, **arguments})
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=epochs,
        callbacks=[
            active,
            pl.callbacks.EarlyStopping("val_loss", patience=5),
            pl.callbacks.ModelCheckpoint(dirpath=out / "kept", monitor="val_loss"),
            Failing(fail),
        ],
        logger=pl.loggers.CSVLogger(out),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=data)
    found = {
        "rounds": [{**round.to_dict(), "seconds": None} for round in active.history],
        "pool": data.pool.state_dict(),
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "done": active.done,
    }
    (out / f"rank-{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
