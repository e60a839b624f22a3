"""Run by test_on_ranks.py in processes of its own: programs on two ranks, what each rank trained going to a file.

Usage: python -m tests.support.programs_on_ranks OUT PROGRAM ...
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from tests.support.numbered import LitNumbers, numbered, run

DS = numbered()
TRAIN, VAL = list(range(5, 45)), list(range(45, 60))
RANKS = 2


class Scaled(DataLoader[Any]):
    """A loader with an argument that is no attribute."""

    def __init__(self, dataset: Dataset[Any], percent: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset, *args, **kwargs)
        self.factor = percent / 100

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for x, y in super().__iter__():
            yield torch.cat([x[:, :1], x[:, 1:] * self.factor], dim=1), y


class Stream(IterableDataset[Any]):
    """Points that each rank takes its own part of."""

    def __iter__(self) -> Iterator[Any]:
        rank = torch.distributed.get_rank()
        return (DS[index] for index in range(40 + rank, 60, RANKS))


OWN_SHARES = {"use_distributed_sampler": False}
PROGRAMS: dict[str, dict[str, Any]] = {
    "subset": {
        "train": lambda: DataLoader(DS, 4, sampler=SubsetRandomSampler(TRAIN)),
        "val": lambda: DataLoader(DS, 4, sampler=SubsetRandomSampler(VAL)),
    },
    "weights": {
        "train": lambda: DataLoader(DS, 4, sampler=WeightedRandomSampler([0.0, 1.0] * 30, 24)),
        "val": lambda: DataLoader(Subset(DS, VAL), 4),
        "trainer_arguments": {"limit_val_batches": 1},
    },
    "own loader": {"train": lambda: Scaled(DS, 100, 4, shuffle=True), "val": lambda: DataLoader(Stream(), 4)},
    "own loader, norm": {"train": lambda: Scaled(DS, 100, 4), "module": True, "initial_size": 17},
    "norm": {"train": lambda: DataLoader(DS, 4, shuffle=True), "module": True, "initial_size": 9, "query_size": 8},
    "own shares": {
        "train": lambda: DataLoader(DS, 4, sampler=DistributedSampler(DS, shuffle=True, seed=3)),
        "val": lambda: DataLoader(Subset(DS, VAL), 4, sampler=DistributedSampler(Subset(DS, VAL), shuffle=False)),
        "trainer_arguments": OWN_SHARES,
    },
    "own shares, more samples": {
        "train": lambda: DataLoader(DS, 4, sampler=DistributedSampler(DS, shuffle=True, seed=3)),
        "samples_per_epoch": 20,
        "trainer_arguments": OWN_SHARES,
    },
    "nothing shared": {
        "train": lambda: DataLoader(DS, 4, shuffle=True),
        "val": lambda: DataLoader(Subset(DS, VAL), 4),
        "trainer_arguments": OWN_SHARES,
    },
    "few labels": {"train": lambda: DataLoader(DS, 8, shuffle=True, drop_last=True), "initial_size": 10},
    "one point on a rank": {"train": lambda: DataLoader(DS, 4), "module": True, "initial_size": 2},
    "two splits": {
        "train": lambda: DataLoader(DS, 4, sampler=TRAIN[int(os.environ.get("LOCAL_RANK", 0)) :][:30]),
    },
}


def main(out: Path, names: list[str]) -> None:
    found = {}
    for name in names:
        program = {"query_size": 4, **PROGRAMS[name]}
        ranks = {"devices": RANKS, "strategy": "ddp", **program.pop("trainer_arguments", {})}
        module = LitNumbers(norm=program.pop("module", False))
        module, data, active = run(
            out, program.pop("train"), rounds=2, epochs=2, module=module, trainer_arguments=ranks, **program
        )
        found[name] = {
            "trained": list(module.trained.values()),
            "rounds": data.pool.rounds,
            "validation_labels": [round.validation_labels for round in active.history],
        }
    (out / f"rank-{module.trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
