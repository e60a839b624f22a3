"""Modules that change in training what no checkpoint holds: numbers, tensors, metrics, optimizers and generators."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MinMetric

from lightning_al.host.namespace import pl
from tests.support.plain import plain_round, run, same_weights, weights_of
from tests.support.tasks import CLASSES, LitMLP, trainer


class Anneals(LitMLP):
    temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.temperature

    def on_train_epoch_end(self) -> None:
        self.temperature *= 0.7


class WarmsUp(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1
        return super().training_step(batch, batch_idx) * min(1.0, self.steps / 4)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class WeighsItsClassesOnce(LitMLP):
    """By the labels of its first batch, if it has not done so."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: Tensor | None = None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.weights is None:
            self.weights = 1.0 / (1 + torch.bincount(batch[1], minlength=CLASSES))
        return F.cross_entropy(self(batch[0]), batch[1], weight=self.weights)


class CachesItsSize(LitMLP):
    @cached_property
    def size(self) -> int:
        return len(self.trainer.train_dataloader.dataset)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) / self.size


class LowersItsHyperparameter(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"rate": 0.5})

    def on_train_end(self) -> None:
        self.hparams["rate"] *= 0.1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["rate"])


class Centred(nn.Module):
    """Keep a running mean in a tensor that is no buffer."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.mean = torch.zeros(())
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.in_place:
            self.mean.mul_(0.9).add_(x.detach().mean())
        elif self.training:
            self.mean = 0.9 * self.mean + x.detach().mean()
        return x - self.mean


class KeepsAMean(LitMLP):
    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(Centred(in_place), self.net)


class KeepsAMeanInPlace(KeepsAMean):
    def __init__(self) -> None:
        super().__init__(in_place=True)


class NeverResetsItsMetric(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.least = MinMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.least.update(loss.detach())
        return loss * (1 + self.least.compute())


class HidesItsMetric(NeverResetsItsMetric):
    """In a dict, where torch does not look for modules."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = {"least": MinMetric()}
        del self.least

    @property
    def least(self) -> MinMetric:  # type: ignore[override]
        return self.hidden["least"]


class MakesItsOptimizerFirst(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        self.schedules = [torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)]

    def configure_optimizers(self) -> Any:
        return [self.optimizer], self.schedules


class MakesItsOptimizerOnce(LitMLP):
    optimizer = None

    def configure_optimizers(self) -> Any:
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return self.optimizer


class AddsItsOwnNoise(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.noise = torch.Generator().manual_seed(0)
        self.scale = np.random.default_rng(0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        noise = self.scale.random() * torch.randn(x.shape, generator=self.noise)
        return F.cross_entropy(self(x + noise), y)


PROGRAMS = [
    Anneals,
    WarmsUp,
    WeighsItsClassesOnce,
    CachesItsSize,
    LowersItsHyperparameter,
    KeepsAMean,
    KeepsAMeanInPlace,
    NeverResetsItsMetric,
    HidesItsMetric,
    MakesItsOptimizerFirst,
    MakesItsOptimizerOnce,
    AddsItsOwnNoise,
]


class KeepsWeights(pl.Callback):
    def __init__(self) -> None:
        self.ends: list[dict[str, Tensor]] = []

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ends.append(weights_of(pl_module))


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_round_is_the_plain_program(tmp_path: Path, program: type[LitMLP]) -> None:
    kept = KeepsWeights()
    _, active, data = run(program, tmp_path, lambda: [kept], max_epochs=2, weights="last")
    assert len(kept.ends) == 2
    for number, weights in enumerate(kept.ends):
        plain = plain_round(program, active, data, number, tmp_path, max_epochs=2, tested=False)
        assert same_weights(plain.weights, weights), f"round {number}"


@pytest.mark.long
@pytest.mark.parametrize("program", [WarmsUp, KeepsAMeanInPlace, MakesItsOptimizerFirst, AddsItsOwnNoise])
def test_a_resumed_run_and_one_call_by_call_are_the_whole_one(tmp_path: Path, program: type[LitMLP]) -> None:
    def made() -> LitMLP:
        torch.manual_seed(9)
        return program()

    whole, active, _ = run(made, tmp_path / "whole", max_epochs=2)
    for max_rounds in (1, 2):
        resumed, again, _ = run(made, tmp_path, folder=tmp_path / "run", max_rounds=max_rounds, max_epochs=2)
    module, by_call, data = run(made, tmp_path / "calls", max_epochs=2, rounds_per_fit=1)
    trainer(tmp_path / "calls", callbacks=[by_call], max_epochs=2).fit(module, datamodule=data)
    for other in (again, by_call):
        assert [round.indices for round in other.history] == [round.indices for round in active.history]
    for ended in (resumed, module):
        assert same_weights(weights_of(ended), weights_of(whole))


class Gathers(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []
        self.by_epoch: dict[tuple[int, int], int] = {}
        self.sizes: set[int] = set()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        self.by_epoch[self.current_epoch, len(self.losses)] = len(batch[0])
        self.sizes.add(len(self.trainer.train_dataloader.dataset))
        return loss


def test_what_a_module_gathers_over_the_rounds_stays(tmp_path: Path) -> None:
    module, _, _ = run(Gathers, tmp_path, max_epochs=1)
    assert isinstance(module, Gathers)
    assert len(module.losses) == len(module.by_epoch) == 1 + 2
    assert module.sizes == {8, 13}


def test_what_the_user_sets_between_two_calls_stays(tmp_path: Path) -> None:
    module, active, data = run(Anneals, tmp_path, max_epochs=1, max_rounds=3, rounds_per_fit=1)
    assert module.temperature == pytest.approx(0.7)
    module.temperature = 5.0
    for _ in range(2):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(module, datamodule=data)
        assert module.temperature == pytest.approx(3.5)
