"""How much slower is training through ActiveDataModule than through a plain loader over a Subset?

Run on demand, ``python -m tests.benchmarks.training_overhead``. Both sides train the same small module on the same
labelled points of the same dataset for the same steps, in one process and one thread, in turns, after one round to
warm up. The library promises at most 5 % more time. Times are of the processor, since other work on the machine
disturbs the clock on the wall. Beside that it prints how many items a second the bare loaders give, over the labelled
points in training and over a large pool in training and scoring.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from lightning_al import ActiveDataModule
from lightning_al.host.namespace import NAMESPACE, pl
from tests.support.tasks import LitMLP, points, trainer

POOL, LABELLED, BATCH = 20_000, 2_000, 32
LARGE, LARGE_BATCH = 300_000, 256


def active_data(relabelled: bool = False) -> ActiveDataModule:
    """Wrap the pool; with labels of an oracle, items pass through one more dataset of ours."""
    data = ActiveDataModule(points(POOL), initial_size=LABELLED - 1, batch_size=BATCH)
    data.setup("fit")
    last = data.pool.unlabelled[0]
    data.pool.label([last], {last: 0} if relabelled else {})
    return data


def plain_loader() -> DataLoader[Any]:
    return DataLoader(Subset(points(POOL), active_data().pool.labelled), batch_size=BATCH, shuffle=True)


class Plain(pl.LightningDataModule):
    """The same points through a plain Subset."""

    def train_dataloader(self) -> DataLoader[Any]:
        return plain_loader()


def fit_seconds(data: pl.LightningDataModule, epochs: int) -> float:
    """Time the epochs of one fit."""
    clock = Clock()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer(folder, max_epochs=epochs, callbacks=[clock], limit_val_batches=0).fit(LitMLP(), datamodule=data)
    return clock.seconds


class Clock(pl.Callback):
    """Time a fit's training, without what comes before and after."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.process_time() - self.began


def pass_seconds(loader: DataLoader[Any]) -> float:
    """Time one pass through a loader."""
    began = time.process_time()
    for _ in loader:
        pass
    return time.process_time() - began


def in_turns(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Time each side once to warm up, and then in turns, each side first as often as any other."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(-1, repeats):
        names = list(sides)
        for name in names if repeat % 2 else reversed(names):
            taken = sides[name]()
            if repeat >= 0:
                seconds[name].append(taken)
    return seconds


def report(title: str, seconds: dict[str, list[float]], items: int) -> None:
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(title)
    for name, taken in seconds.items():
        ratio = medians[name] / medians["plain Subset"]
        spread = f"{min(taken):.3f} to {max(taken):.3f} s"
        print(
            f"  {name:36} median {medians[name]:.3f} s ({spread}), {items / medians[name]:9,.0f} items/s, {ratio:.3f}"
        )


def large_loaders() -> dict[str, DataLoader[Any]]:
    """Make loaders over half of a large TensorDataset each: plain, labelled, relabelled and to be scored."""
    half = LARGE // 2
    sides = []
    for relabelled in (False, True):
        data = ActiveDataModule(points(LARGE), initial_size=half - 1, batch_size=LARGE_BATCH)
        data.setup("fit")
        last = data.pool.unlabelled[0]
        data.pool.label([last], {last: 0} if relabelled else {})
        sides.append(data)
    plain = Subset(points(LARGE), sides[0].pool.labelled)
    return {
        "plain Subset": DataLoader(plain, batch_size=LARGE_BATCH, shuffle=True),
        "ActiveDataModule": sides[0].train_dataloader(),
        "ActiveDataModule, an oracle's labels": sides[1].train_dataloader(),
        "ActiveDataModule, scoring": sides[0].pool_dataloader(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    logging.getLogger(f"{NAMESPACE}.utilities.rank_zero").setLevel(logging.ERROR)

    plain, active, relabelled = Plain(), active_data(), active_data(relabelled=True)
    report(
        f"Training, {arguments.epochs} epochs of {LABELLED} points in batches of {BATCH}, {arguments.repeats} repeats; "
        "last: ratio of medians",
        in_turns(
            {
                "plain Subset": lambda: fit_seconds(plain, arguments.epochs),
                "ActiveDataModule": lambda: fit_seconds(active, arguments.epochs),
                "ActiveDataModule, an oracle's labels": lambda: fit_seconds(relabelled, arguments.epochs),
            },
            arguments.repeats,
        ),
        arguments.epochs * LABELLED,
    )
    loaders = {
        "plain Subset": plain_loader(),
        "ActiveDataModule": active.train_dataloader(),
        "ActiveDataModule, an oracle's labels": relabelled.train_dataloader(),
    }
    report(
        "Bare loaders, one pass",
        in_turns({name: lambda loader=loader: pass_seconds(loader) for name, loader in loaders.items()}, 15),  # type: ignore[misc]
        LABELLED,
    )
    large = large_loaders()
    report(
        f"Bare loaders, one pass over half of {LARGE} points in batches of {LARGE_BATCH}",
        in_turns({name: lambda loader=loader: pass_seconds(loader) for name, loader in large.items()}, 5),  # type: ignore[misc]
        LARGE // 2,
    )


if __name__ == "__main__":
    main()
