"""Score a pool in a real run on one or several processes, and print what it took as a line of JSON.

``tests.benchmarks.processes`` starts this once for each case, side and turn; where there are several ranks, Lightning
starts the others. Nothing is learned, so the weights are the same however many ranks there are. Round 0 warms up, round
1 is timed.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.demos.networks import paper_cnn
from lightning_al.host.namespace import NAMESPACE, pl
from lightning_al.posterior import MCDropout
from lightning_al.prediction.scoring import gather, turns_of
from tests.benchmarks.machine import resident

LABELLED, CLASSES = 20, 10


@dataclass(frozen=True)
class Outcome:
    """What a rank found in the timed round.

    Attributes:
        picks: Dataset indices in the order of choice.
        score: Seconds of predicting the pool, and of exchanging the predictions.
        select: Seconds of choosing from them.
        exchange: Seconds of exchanging as many predictions alone, while no rank waits for another's.
        peak_bytes: The memory that the rank held at most.
    """

    picks: list[int]
    score: float
    select: float
    exchange: float
    peak_bytes: int


class Untrained(pl.LightningModule):
    """The paper's network with larger weights, so that its samples disagree as those of a trained one do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = paper_cnn(CLASSES)
        with torch.no_grad():
            for weight in self.parameters():
                weight.mul_(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(ranks: int, N: int, K: int, batch_size: int, b: int, folder: str) -> tuple[int, Outcome]:
    """Run three rounds, the last of which asks for nothing, and return this process's rank and what it found."""
    torch.manual_seed(0)
    size = N + LABELLED + b
    pool = TensorDataset(torch.rand(size, 1, 28, 28), torch.arange(size) % CLASSES)
    data = ActiveDataModule(pool, initial_size=LABELLED, batch_size=LABELLED, pool_batch_size=batch_size)
    active = ActiveLearning("batchbald", query_size=b, max_rounds=3, posterior=MCDropout(K))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=1,
        callbacks=[active],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Untrained(), datamodule=data)
    timed = active.history[1]
    peak_bytes = resident("VmHWM")
    exchange = exchange_seconds(trainer, N, K, batch_size)
    return trainer.global_rank, Outcome(
        timed.indices, timed.seconds["score"], timed.seconds["select"], exchange, peak_bytes
    )


def exchange_seconds(trainer: pl.Trainer, N: int, K: int, batch_size: int, repeats: int = 10) -> float:
    """Time the exchange of predictions for a pool of N, the mean of some repeats."""
    lengths = [[len(batch) for batch in turn] for turn in turns_of(list(range(N)), batch_size, trainer.world_size)]
    own = [torch.zeros(turn[trainer.global_rank], K, CLASSES) for turn in lengths]
    trainer.strategy.barrier()
    began = time.perf_counter()
    for _ in range(repeats):
        for log_probs_n_K_C, turn in zip(own, lengths, strict=True):
            gather(trainer, log_probs_n_K_C, turn)
    return (time.perf_counter() - began) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("ranks", "N", "K", "batch-size", "b"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger(f"{NAMESPACE}.utilities.rank_zero").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        rank, outcome = run(**vars(arguments), folder=folder)
    outcomes: list[Any] = [asdict(outcome)]
    if arguments.ranks > 1:
        outcomes *= arguments.ranks
        torch.distributed.all_gather_object(outcomes, asdict(outcome))
    if rank == 0:
        print(json.dumps({"ranks": outcomes}))


if __name__ == "__main__":
    main()
