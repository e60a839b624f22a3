"""Run by test_page_on_ranks.py: a run on two ranks that people answer by page, what each rank got going to a file.

Usage: python -m tests.support.page_on_ranks FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Page
from lightning_al.host.namespace import pl
from tests.support.page_kills import NAMES, X
from tests.support.tasks import LitMLP


def main(out: Path) -> None:
    oracle = Page(open_browser=False, wait=0.05)
    posterior = MCDropout(2)
    active = ActiveLearning("bald", oracle=oracle, folder=out / "run", budget=20, query_size=4, posterior=posterior)
    data = ActiveDataModule(X, initial_size=6, audit=4, classes=NAMES, batch_size=8, seed=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        callbacks=[active],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitMLP(), datamodule=data)
    pool = data.pool
    found = {
        "labels": dict(pool.labels),
        "audit": dict(pool.audit.answers),
        "rounds": [list(round.indices) for round in active.history],
        "done": active.done,
    }
    (out / f"rank-{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
