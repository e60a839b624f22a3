"""The plain program of a round: a new Trainer and a new module, fitted and tested as if there were no other round."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.run.seeds import derive, generator, seeded
from tests.support.tasks import points, trainer

TRAIN, VAL, TEST = points(40), points(16, seed=1), points(24, seed=2)


class Fitted(NamedTuple):
    """What a round ends with."""

    weights: dict[str, Tensor]
    metrics: dict[str, float]


class StartOfRound(pl.Callback):
    """Begin from given weights and seeds, once everything is set up."""

    def __init__(self, weights: dict[str, Tensor], seed: int) -> None:
        self.weights = weights
        self.seed = seed
        self.seeds = ExitStack()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        missing = pl_module.load_state_dict(self.weights, strict=False).unexpected_keys
        buffers = dict(pl_module.named_buffers())
        for name in missing:  # those that the `state_dict` leaves out
            buffers[name].copy_(self.weights[name])
        self.seeds.enter_context(seeded(self.seed))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seeds.close()


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copy parameters and all buffers."""
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value.detach().clone() for name, value in held.items()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def plain_round(
    make: Callable[[], pl.LightningModule],
    active: ActiveLearning,
    data: ActiveDataModule,
    number: int,
    tmp_path: Path,
    callbacks: Callable[[], list[pl.Callback]] = list,
    dataset: TensorDataset = TRAIN,
    tested: bool = True,
    batch_size: int = 8,
    **settings: Any,
) -> Fitted:
    """Fit one round, and test it where asked to, of a finished run without the library's callback and datamodule."""
    labelled = [index for indices in data.pool.rounds[: number + 1] for index in indices]
    order = generator(data.seed, number, "batches")
    train = DataLoader(Subset(dataset, labelled), batch_size=batch_size, shuffle=True, generator=order)
    module = make()
    start = StartOfRound(active.state_dict()["initial"], derive(active.seed, number, "fit"))
    fitting = trainer(tmp_path / f"plain-{number}", callbacks=[*callbacks(), start], **settings)
    fitting.fit(module, train, DataLoader(VAL, batch_size=batch_size))
    fitted = weights_of(module)
    metrics: dict[str, float] = {}
    if tested:
        for found in fitting.test(module, DataLoader(TEST, batch_size=batch_size), verbose=False):
            metrics.update(found)
    return Fitted(fitted, metrics)


def run(
    make: Callable[[], pl.LightningModule],
    tmp_path: Path,
    callbacks: Callable[[], list[pl.Callback]] = list,
    *,
    folder: Path | None = None,
    acquisition: str = "bald",
    max_rounds: int = 2,
    rounds_per_fit: int | None = None,
    reset: Any = "initial",
    weights: Any = "best",
    batch_size: int = 8,
    **settings: Any,
) -> tuple[pl.LightningModule, ActiveLearning, ActiveDataModule]:
    """Run rounds from 8 labels, 5 more in each, and test after each fit."""
    active = ActiveLearning(
        acquisition,
        posterior=MCDropout(4),
        query_size=5,
        max_rounds=max_rounds,
        seed=3,
        folder=folder,
        rounds_per_fit=rounds_per_fit,
        reset=reset,
        weights=weights,
    )
    data = ActiveDataModule(TRAIN, val=VAL, test=TEST, initial_size=8, batch_size=batch_size, seed=2)
    module = make()
    fitting = trainer(tmp_path / "run", callbacks=[active, *callbacks()], **settings)
    fitting.fit(module, datamodule=data)
    return module, active, data
