"""Runs of programs, which have no configuration: which of them are runs of one task."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.report.runs import read_all
from lightning_al.report.study import Study, make_studies
from tests.support.tasks import LitMLP, points, trainer


def record(folder: Path, acquisition: str, seed: int, X: Tensor, y: Tensor) -> None:
    data = ActiveDataModule((X, y), initial_size=4, batch_size=8, seed=seed)
    active = ActiveLearning(acquisition, query_size=3, budget=7, posterior=MCDropout(2), folder=folder, seed=seed)
    trainer(folder, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)


def study(folder: Path) -> list[Study]:
    return make_studies(read_all([folder])[0])[0]


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Draw a pool whose size and whose classes depend on the seed."""
    X, y = points(40).tensors
    kept = torch.randperm(40, generator=torch.Generator().manual_seed(seed))[: 20 + seed]
    kept = kept[(y[kept] != 3) | (seed == 0)]
    return X[kept], y[kept]


def test_a_pool_that_is_drawn_by_the_seed_makes_one_task(tmp_path: Path) -> None:
    for seed in (0, 1):
        for acquisition in ("random", "bald"):
            record(tmp_path / f"{acquisition}-{seed}", acquisition, seed, *drawn(seed))
    [found] = study(tmp_path)
    assert {name: [run.seed for run in runs] for name, runs in found.methods.items()} == {
        "random": [0, 1],
        "bald": [0, 1],
    }


def test_two_pools_of_one_seed_are_two_tasks(tmp_path: Path) -> None:
    X, y = points(40).tensors
    pools = {"all": (X, y), "half": (X[:20], y[:20]), "two classes": (X, y % 2)}
    for name, pool in pools.items():
        record(tmp_path / name, "random", 0, *pool)
    found = study(tmp_path)
    assert len({one.title for one in found}) == 3
    assert [list(one.methods) for one in found] == [["random"]] * 3
