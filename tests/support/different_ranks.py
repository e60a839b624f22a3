"""Run by test_different_ranks.py on several ranks: programs in which one rank differs, what each said going to a file.

Usage: python -m tests.support.different_ranks OUT RANKS PROGRAM ...
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from tests.support.tasks import LitMLP, points, trainer

SIZE = 64
RANK = int(os.environ.get("LOCAL_RANK", 0))


class Augmented(Dataset[Any]):
    """Points in some order with noise on them, all of one class, as where nobody has labelled them yet."""

    def __init__(self, order: Sequence[int]) -> None:
        self.order = order
        self.points = points(SIZE)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Any:
        x, _ = self.points[self.order[place]]
        return x + 0.01 * torch.randn(x.shape), 0


class Faulty(Dataset[Any]):
    """Points of which some hold NaN and some cannot be read."""

    def __init__(self) -> None:
        self.points = points(SIZE)

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Any:
        if index in UNREADABLE:
            raise OSError("cut off")
        x, y = self.points[index]
        return x * torch.nan if index in NAN else x, y


class Broken(Augmented):
    """Cannot be read at all."""

    def __getitem__(self, place: int) -> Any:
        raise OSError("the disk of this rank is not there")


def on_last(ranks: int, here: Any, there: Any) -> Any:
    """Return something on the last rank, and another thing on the others."""
    return there if ranks - 1 == RANK else here


UNREADABLE, NAN = [0, 21, 40, 41, 63], [33, 50]
ORDER = list(range(SIZE))
SWAPPED = [*ORDER[:19], 23, *ORDER[20:23], 19, *ORDER[24:]]
ROLLED = [*ORDER[4:], *ORDER[:4]]

DATASETS: dict[str, Callable[[int], Any]] = {
    "two items swapped": lambda ranks: Subset(points(SIZE), on_last(ranks, ORDER, SWAPPED)),
    "rolled by a period of the labels": lambda ranks: Subset(points(SIZE), on_last(ranks, ORDER, ROLLED)),
    "backwards": lambda ranks: Subset(points(SIZE), on_last(ranks, ORDER, ORDER[::-1])),
    "one item less": lambda ranks: Subset(points(SIZE), on_last(ranks, ORDER, ORDER[:-1])),
    "other contents": lambda ranks: points(SIZE, seed=on_last(ranks, 0, 1)),
    "augmented, without labels": lambda ranks: Augmented(on_last(ranks, ORDER, ROLLED)),
    "unreadable": lambda ranks: on_last(ranks, Augmented, Broken)(ORDER),
}
DATA: dict[str, Callable[[int], dict[str, Any]]] = {
    "seed of the data": lambda ranks: {"seed": on_last(ranks, 0, 1)},
    "initial": lambda ranks: {"initial_size": None, "initial": on_last(ranks, [1, 2, 3, 4], [1, 2, 3, 5])},
    "pool_dataset": lambda ranks: {"pool_dataset": points(SIZE, seed=on_last(ranks, 0, 2))},
    "samples_per_epoch": lambda ranks: {"samples_per_epoch": on_last(ranks, 16, 24)},
    "pool_batch_size": lambda ranks: {"pool_batch_size": on_last(ranks, 16, 24)},
}
ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "query_size": lambda ranks: {"query_size": on_last(ranks, 4, 5)},
    "acquisition": lambda ranks: {"acquisition": on_last(ranks, "bald", "entropy")},
    "seed": lambda ranks: {"seed": on_last(ranks, 0, 1)},
    "posterior": lambda ranks: {"posterior": MCDropout(on_last(ranks, 4, 5))},
    "budget": lambda ranks: {"budget": on_last(ranks, 12, 16)},
    "test": lambda ranks: {"test": on_last(ranks, "module", None)},
    "unscorable": lambda ranks: {"unscorable": on_last(ranks, "raise", "skip")},
}


FAULTY = "some that cannot be scored"


def run(out: Path, ranks: int, name: str) -> dict[str, Any]:
    """Run a program of that name, and return what it raised or, where it raised nothing, what it asked for."""
    if name == FAULTY:
        return run_faulty(out, ranks)
    dataset = DATASETS.get(name, lambda ranks: points(SIZE))(ranks)
    data = {"initial_size": 8, "batch_size": 8, **DATA.get(name, lambda ranks: {})(ranks)}
    arguments = {"acquisition": "bald", "query_size": 4, "budget": 12, "posterior": MCDropout(4)}
    arguments.update(ARGUMENTS.get(name, lambda ranks: {})(ranks))
    active = ActiveLearning(**arguments)
    fit = trainer(out, devices=ranks, strategy="ddp", callbacks=[active], max_epochs=1)
    try:
        fit.fit(LitMLP(), datamodule=ActiveDataModule(dataset, **data))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"asked": [round.indices for round in active.history]}


def run_faulty(out: Path, ranks: int) -> dict[str, Any]:
    """Run with untrained weights, which are the same for any number of ranks."""
    torch.manual_seed(3)
    data = ActiveDataModule(Faulty(), initial=range(1, 9), batch_size=8, pool_batch_size=5)
    active = ActiveLearning("bald", query_size=4, max_rounds=3, posterior=MCDropout(4), unscorable="skip")
    parallel: Any = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = trainer(out, callbacks=[active], max_epochs=1, num_sanity_val_steps=2, **parallel)
        fit.fit(LitMLP(lr=0.0), datamodule=data)
    return {
        "asked": [round.indices for round in active.history],
        "unscorable": [round.unscorable for round in active.history],
    }


def main(out: Path, ranks: int, names: Sequence[str]) -> None:
    logging.disable(logging.INFO)
    found = {name: run(out, ranks, name) for name in names}
    (out / f"rank-{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
