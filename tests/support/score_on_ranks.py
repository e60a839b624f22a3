"""Run by test_score_pool.py in processes of its own: a table of the pool on each rank, which goes to a file.

Usage: python -m tests.support.score_on_ranks OUT RANKS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from lightning_al import ActiveDataModule, score_pool
from lightning_al.host.namespace import pl
from tests.support.tasks import LitMLP, points


def main(out: Path, ranks: int) -> None:
    torch.manual_seed(0)
    strategy = "auto" if ranks == 1 else pl.strategies.DDPStrategy(process_group_backend="gloo")
    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, strategy=strategy, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, default_root_dir=out,
    )  # fmt: skip
    data = ActiveDataModule(points(53), initial_size=8, pool_batch_size=8)
    frame = score_pool(trainer, LitMLP(), data, acquisition="bald", seed=2)
    frame.to_json(out / f"{ranks}-{trainer.global_rank}.json", double_precision=15)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
