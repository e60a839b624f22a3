"""A program with types as users write them: mypy --strict and pyright take it, and it runs (see test_typing.py).

The repository's own `mypy` reads it. Each mistake at its end has a comment that mypy asks to remove once it finds none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from lightning_al import (
    BALD,
    Acquisition,
    ActiveDataModule,
    ActiveLearning,
    Candidates,
    History,
    MCDropout,
    Oracle,
    Pool,
    Posterior,
    Round,
    ScoreAcquisition,
    Selection,
    available,
)

Pair = tuple[Tensor, Tensor]


class LitMLP(pl.LightningModule):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x))
        return scores

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Pair, batch_idx: int) -> None:
        self.log("test_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class LitPoints(pl.LightningDataModule):
    def __init__(self, n: int = 40) -> None:
        super().__init__()
        self.n = n
        self.num_classes = 3

    def setup(self, stage: str) -> None:
        x = torch.randn(self.n, 6, generator=torch.Generator().manual_seed(0))
        self.train = TensorDataset(x, x[:, :3].argmax(1))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=8, shuffle=True)


# What the library is given.


def logits(module: LitMLP, batch: tuple[Tensor, Tensor]) -> Tensor:
    return module(batch[0])  # type: ignore[no-any-return]


def logits_of_a_list(module: LitMLP, batch: Sequence[Tensor]) -> Tensor:
    return module.head(module.body(batch[0]))  # type: ignore[no-any-return]


def label_of(item: tuple[Tensor, Tensor]) -> int:
    return int(item[1])


def scored(data: LitPoints) -> TensorDataset:
    return data.train


def first_part(data: LitPoints) -> Subset[tuple[Tensor, ...]]:
    return Subset(data.train, range(len(data.train)))


def new_module() -> LitMLP:
    return LitMLP(hidden=8)


def collate(items: list[Pair]) -> list[Tensor]:
    return [torch.stack(parts) for parts in zip(*items, strict=True)]


class Item(NamedTuple):
    x: Tensor
    y: int


class Rows:
    """Items by number, which do not derive from torch's Dataset."""

    def __getitem__(self, index: int) -> Item:
        return Item(torch.full((6,), float(index)), index % 3)

    def __len__(self) -> int:
        return 40


class Typed(Dataset[Pair]):
    def __getitem__(self, index: int) -> Pair:
        return torch.full((6,), float(index)), torch.tensor(index % 3)

    def __len__(self) -> int:
        return 40


class Human(Oracle):
    def label(self, indices: Sequence[int]) -> Mapping[int, int]:
        return {index: index % 3 for index in indices}


class Clerk:
    """Has the method of an oracle, and derives from nothing."""

    def label(self, indices: Sequence[int]) -> dict[int, int]:
        return {index: index % 3 for index in indices}


def ask(indices: list[int]) -> dict[int, int]:
    return {index: index % 3 for index in indices}


def ask_one_by_one(indices: list[int]) -> Iterator[tuple[int, int]]:
    for index in indices:
        yield index, index % 3


class Shortest(ScoreAcquisition):
    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        return -torch.arange(len(candidates), dtype=torch.float32)


class First(Acquisition):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.arange(b), torch.zeros(b))


def callbacks(folder: Path) -> list[ActiveLearning]:
    own: Acquisition = Shortest()
    posterior: Posterior = MCDropout(num_samples=3)
    return [
        ActiveLearning("bald", query_size=4, max_rounds=2),
        ActiveLearning(BALD(), query_size=4, max_rounds=2, posterior=posterior, forward=logits),
        ActiveLearning(
            own, query_size=4, max_rounds=2, forward=logits_of_a_list, oracle=Human(), folder=folder / "run"
        ),
        ActiveLearning(First(), query_size=4, max_rounds=2, reset=new_module),
        ActiveLearning("entropy", query_size=4, max_rounds=2, reset=LitMLP, oracle="revealed"),
        ActiveLearning("entropy", query_size=4, max_rounds=2, forward=lambda module, batch: module(batch[0])),
        ActiveLearning("random", query_size=4, max_rounds=2, oracle=Clerk()),
        ActiveLearning("random", query_size=4, max_rounds=2, oracle=ask),
        ActiveLearning("random", query_size=4, max_rounds=2, oracle=ask_one_by_one),
        ActiveLearning("random", query_size=4, max_rounds=2, oracle=lambda indices: dict.fromkeys(indices, 0)),
    ]


def datamodules() -> list[ActiveDataModule]:
    pairs = [(torch.full((6,), float(number)), number % 3) for number in range(40)]
    return [
        ActiveDataModule(LitPoints(), initial_size=8),
        ActiveDataModule(LitPoints(), initial=[1, 2, 3], pool_dataset=scored, target=-1),
        ActiveDataModule(LitPoints(), initial=range(4), pool_dataset=first_part),
        ActiveDataModule(Typed(), initial_size=8, collate_fn=collate, pool_dataset=Typed(), val=Typed()),
        ActiveDataModule(Rows(), initial_size=8, test=Rows(), target=1, balanced=True),
        ActiveDataModule(pairs, initial_size=8, target=label_of, pool_dataset=pairs),
        ActiveDataModule(TensorDataset(torch.zeros(40, 6), torch.arange(40) % 3), initial_size=8),
    ]


# What it gives back.


def figures(active: ActiveLearning, data: ActiveDataModule) -> tuple[list[int], float, dict[str, Any]]:
    history: History = active.history
    last: Round = history[-1]
    pool: Pool = data.pool
    rounds: list[Round] = list(history)
    asked: list[int] = [index for round in rounds for index in round.indices]
    known: list[str] = available()
    done: bool = active.done
    return (
        asked + pool.labelled,
        sum(round.seconds["fit"] for round in rounds),
        {"done": done, "known": known, **vars(last)},
    )


MakeTrainer = Callable[[ActiveLearning], pl.Trainer]


def run(
    active: ActiveLearning, data: ActiveDataModule, make_trainer: MakeTrainer
) -> tuple[list[int], float, dict[str, Any]]:
    make_trainer(active).fit(LitMLP(), datamodule=data)
    return figures(active, data)


# Mistakes that are found before the program runs.


def mistakes() -> None:
    ActiveLearning("bald")  # type: ignore[call-arg]
    ActiveLearning("bald", query_size="4")  # type: ignore[arg-type]
    ActiveLearning("bald", query_size=4, reset="none")  # type: ignore[arg-type]
    ActiveLearning("bald", query_size=4, forward=lambda module: module)  # type: ignore[arg-type, misc]
    ActiveDataModule(3, initial_size=8)  # type: ignore[arg-type]
