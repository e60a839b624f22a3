"""Runs of programs, which have no configuration: which of them are runs of one task, of one method, or the same run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_al import Acquisition, ActiveDataModule, ActiveLearning, Deterministic, Margin, MCDropout, Stochastic
from lightning_al.report.runs import LeftOut, read_all
from lightning_al.report.sentences import caveats
from lightning_al.report.study import Study, make_studies
from tests.released.task import HERE
from tests.support.tasks import LitMLP, points, trainer


def record(
    folder: Path,
    acquisition: Any,
    seed: int,
    X: Tensor,
    y: Tensor,
    *,
    budget: int = 4,
    hidden: int = 16,
    active_seed: int | None = None,
    options: dict[str, Any] | None = None,
    **of_data: Any,
) -> None:
    torch.manual_seed(seed)
    data = ActiveDataModule((X, y), initial_size=4, batch_size=8, seed=seed, test=points(24, seed=2), **of_data)
    active = ActiveLearning(
        acquisition,
        query_size=3,
        budget=budget,
        folder=folder,
        seed=seed if active_seed is None else active_seed,
        **{"posterior": MCDropout(2), **(options or {})},
    )
    trainer(folder, max_epochs=1, callbacks=[active]).fit(LitMLP(hidden), datamodule=data)


def study(folder: Path) -> list[Study]:
    return make_studies(read_all([folder])[0])[0]


def seeds(found: Study) -> dict[str, list[int]]:
    return {name: [run.seed for run in runs] for name, runs in found.methods.items()}


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Draw a pool whose size and whose classes depend on the seed."""
    X, y = points(40).tensors
    kept = torch.randperm(40, generator=torch.Generator().manual_seed(seed))[: 20 + seed]
    kept = kept[(y[kept] != 3) | (seed == 0)]
    return X[kept], y[kept]


BOTH = {"random": [0, 1], "bald": [0, 1]}
POOL_DIFFERS = "Runs with different seeds also differ in: pool."


def test_a_pool_that_is_drawn_by_the_seed_makes_one_task(tmp_path: Path) -> None:
    for seed in (0, 1):
        for acquisition in ("random", "bald"):
            record(tmp_path / f"{acquisition}-{seed}", acquisition, seed, *drawn(seed))
    [found] = study(tmp_path)
    assert seeds(found) == BOTH
    assert POOL_DIFFERS in caveats(found)


def test_all_that_is_drawn_by_the_seed_with_the_pool_makes_one_task(tmp_path: Path) -> None:
    for seed in (0, 1):
        X, y = drawn(seed)
        mean, encoder = X.mean(0), torch.nn.Linear(8, 8)
        with torch.no_grad():
            encoder.weight.fill_(seed)
        options = {"forward": lambda module, batch, mean=mean: module(batch[0] - mean)}
        for acquisition in ("random", "bald"):
            folder, val = tmp_path / f"{acquisition}-{seed}", (X[:9], y[:9])
            record(folder, acquisition, seed, X, y, options=options, val=val, features=encoder)
    [found] = study(tmp_path)
    assert seeds(found) == BOTH
    assert "Runs with different seeds also differ in: features, forward, pool, val." in caveats(found)


def test_two_pools_of_one_seed_are_two_tasks(tmp_path: Path) -> None:
    X, y = points(40).tensors
    pools = {"all": (X, y), "half": (X[:20], y[:20]), "two classes": (X, y % 2), "other inputs": (-X, y)}
    for name, pool in pools.items():
        record(tmp_path / name, "random", 0, *pool)
    found = study(tmp_path)
    assert len({one.title for one in found}) == 4
    assert max(len(one.title) for one in found) < 64, "a title holds no hash"
    assert [list(one.methods) for one in found] == [["random"]] * 4
    assert not any(POOL_DIFFERS in caveats(one) for one in found)


def test_two_pools_of_one_size_are_two_tasks_with_all_of_their_seeds(tmp_path: Path) -> None:
    X, y = points(40).tensors
    for name, pool in {"one": X, "other": -X}.items():
        for seed in (0, 1):
            record(tmp_path / name / str(seed), "random", seed, pool, y)
    found = study(tmp_path)
    assert [seeds(one) for one in found] == [{"random": [0, 1]}] * 2
    assert [{run.folder.parent.name for run in one.runs} for one in found] == [{"one"}, {"other"}]


def test_two_pools_that_are_drawn_by_the_seed_are_told_apart_by_their_sizes(tmp_path: Path) -> None:
    X, y = points(40).tensors
    for size in (15, 20):
        for seed in (0, 1):
            kept = torch.randperm(40, generator=torch.Generator().manual_seed(seed))[:size]
            record(tmp_path / f"{size}-{seed}", "random", seed, X[kept], y[kept])
    assert {one.title: seeds(one) for one in study(tmp_path)} == {
        "One task data.length=15": {"random": [0, 1]},
        "One task data.length=20": {"random": [0, 1]},
    }


class Own(Acquisition):
    """An acquisition function of a user, without a repr."""

    def __init__(self, rate: float, seed: int = 0, table: Tensor | None = None) -> None:
        self.rate = rate
        self.seed = seed
        self.table = table

    def select(self, candidates: Any, batch_size: int, generator: torch.Generator) -> Any:
        return Margin().select(candidates, batch_size, generator)


def test_the_options_of_a_method_tell_it_apart_but_not_its_seed(tmp_path: Path) -> None:
    X, y = points(40).tensors
    for seed in (0, 1):
        for rate in (0.1, 0.9):
            own = Own(rate, seed=seed, table=torch.full((3,), float(seed)))
            record(tmp_path / f"{rate}-{seed}", own, seed, X, y)
    [found] = study(tmp_path)
    assert seeds(found) == {"own rate=0.1": [0, 1], "own rate=0.9": [0, 1]}
    assert {run.acquisition for run in found.runs} == {"Own"}


def test_a_method_is_named_by_the_options_in_which_it_differs(tmp_path: Path) -> None:
    X, y = points(40).tensors
    record(tmp_path / "a", Stochastic(Margin()), 0, X, y)
    record(tmp_path / "b", Stochastic("entropy"), 0, X, y)
    record(tmp_path / "c", "random", 0, X, y)
    record(tmp_path / "d", "random", 0, X, y, options={"posterior": Deterministic()})
    [found] = study(tmp_path)
    assert set(found.methods) == {
        "random posterior=MCDropout(num_samples=2, autocast=False)",
        "random posterior=Deterministic(num_samples=1)",
        "stochastic acquisition=Margin()",
        "stochastic acquisition=Entropy()",
    }


def test_runs_of_released_versions_are_named_alike(tmp_path: Path) -> None:
    for version in ("0.1.0", "0.2.0"):
        shutil.copytree(HERE / version / "run", tmp_path / version)
    runs, left_out = read_all([tmp_path])
    assert (left_out, [(run.name, run.acquisition) for run in runs]) == ([], [("bald", "BALD")] * 2)
    for setting in ("posterior", "active.last_layer"):
        assert len({run.settings[setting] for run in runs}) == 1


def test_a_run_that_a_longer_one_repeats_is_left_out(tmp_path: Path) -> None:
    for budget in (4, 7):
        record(tmp_path / str(budget), "random", 0, *points(40).tensors, budget=budget)
    [found], [left_out] = make_studies(read_all([tmp_path])[0])
    assert [run.folder.name for run in found.runs] == ["7"]
    assert (left_out.folder.name, "part of the run in" in left_out.reason) == ("4", True)


def test_the_same_picks_with_other_results_are_no_repeat(tmp_path: Path) -> None:
    for hidden in (2, 32):
        record(tmp_path / str(hidden), "random", 0, *points(40).tensors, hidden=hidden)
    with pytest.raises(
        ValueError, match=r"recorded different results.*does not record the model.*a report of each folder alone"
    ):
        study(tmp_path)


def test_a_task_with_a_clash_is_left_out_and_the_others_are_reported(tmp_path: Path) -> None:
    X, y = points(40).tensors
    record(tmp_path / "fine", "random", 0, X[:20], y[:20])
    for hidden in (2, 32):
        record(tmp_path / str(hidden), "random", 0, X, y, hidden=hidden)
    record(tmp_path / "beside", "margin", 1, X, y)
    left_out: list[LeftOut]
    [found], left_out = make_studies(read_all([tmp_path])[0])
    assert [run.folder.name for run in found.runs] == ["fine"]
    reasons = {one.folder.name: one.reason for one in left_out}
    assert set(reasons) == {"2", "32", "beside"}
    assert "recorded different results" in reasons["2"] + reasons["32"]
    assert "in its task, two runs clash" in reasons["beside"]


def test_the_seed_of_the_pool_counts_where_it_alone_differs(tmp_path: Path) -> None:
    for seed in (0, 1):
        for acquisition in ("random", "bald"):
            record(tmp_path / f"{acquisition}-{seed}", acquisition, seed, *points(40).tensors, active_seed=5)
    [found] = study(tmp_path)
    assert seeds(found) == BOTH


def test_a_clash_of_runs_with_other_pool_seeds_says_so(tmp_path: Path) -> None:
    for seed in (0, 1):
        record(tmp_path / f"a-{seed}", "random", seed, *points(40).tensors, active_seed=5)
    record(tmp_path / "b", "random", 2, *points(40).tensors)
    with pytest.raises(ValueError, match=r"Their `ActiveDataModule`s have the seeds \d and \d\."):
        study(tmp_path)
