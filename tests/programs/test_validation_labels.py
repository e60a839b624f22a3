"""Programs whose validation takes fewer points than its dataset has, or does not know how many it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from lightning_al.host.namespace import pl
from tests.support.numbered import LitNumbers, numbered, run

DS = numbered()
VAL = Subset(DS, range(40, 60))
CombinedLoader = pl.utilities.CombinedLoader


class Stream(IterableDataset[Any]):
    """Points that come one after the other, 20 unless told otherwise."""

    def __init__(self, n: int = 20) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        return (DS[index] for index in range(40, 40 + self.n))


class Sized(Stream):
    def __len__(self) -> int:
        return self.n


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield DS[0]


class Pairs(BatchSampler):
    """A batch sampler of the user's: batches of 2 and of 3 in turns."""

    def __init__(self) -> None:
        super().__init__(SequentialSampler(VAL), 2, False)

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1], [2, 3, 4], [5, 6]])

    def __len__(self) -> int:
        return 3


class Twice(DataLoader[Any]):
    """A loader that leaves every other row out."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return ((x[::2], y[::2]) for x, y in super().__iter__())


PROGRAMS: dict[str, tuple[Callable[[], Any], dict[str, Any], int]] = {
    "plain": (lambda: DataLoader(VAL, 8), {}, 20),
    "limit of batches": (lambda: DataLoader(VAL, 8), {"limit_val_batches": 2}, 16),
    "limit above all": (lambda: DataLoader(VAL, 8), {"limit_val_batches": 20}, 20),
    "limit of a part": (lambda: DataLoader(VAL, 8), {"limit_val_batches": 0.4}, 8),
    "no validation": (lambda: DataLoader(VAL, 8), {"limit_val_batches": 0}, 0),
    "never reached": (lambda: DataLoader(VAL, 8), {"check_val_every_n_epoch": 9}, 0),
    "every step": (lambda: DataLoader(VAL, 8), {"val_check_interval": 1}, 20),
    "fast_dev_run": (lambda: DataLoader(VAL, 8), {"fast_dev_run": True}, 8),
    "overfit": (lambda: DataLoader(VAL, 8), {"overfit_batches": 1}, 8),
    "drop_last": (lambda: DataLoader(VAL, 8, drop_last=True), {}, 16),
    "subset sampler": (lambda: DataLoader(DS, 8, sampler=SubsetRandomSampler(range(45, 60))), {}, 15),
    "list": (lambda: DataLoader(DS, 8, sampler=[1, 5, 7]), {}, 3),
    "samples": (lambda: DataLoader(DS, 8, sampler=RandomSampler(DS, num_samples=11)), {}, 11),
    "batch sampler": (lambda: DataLoader(VAL, batch_sampler=BatchSampler(SequentialSampler(VAL), 6, True)), {}, 18),
    "own batches": (lambda: DataLoader(VAL, batch_sampler=Pairs()), {}, 7),
    "own batches, limited": (lambda: DataLoader(VAL, batch_sampler=Pairs()), {"limit_val_batches": 2}, 5),
    "own loader": (lambda: Twice(VAL, 8), {}, 10),
    "no batching": (lambda: DataLoader(DS, batch_size=None, sampler=[[0, 1, 2], [3, 4]]), {}, 5),
    "two": (lambda: [DataLoader(VAL, 8), DataLoader(Subset(DS, range(5)), 8)], {}, 25),
    "two, limited": (lambda: [DataLoader(VAL, 8), DataLoader(Subset(DS, range(5)), 8)], {"limit_val_batches": 1}, 13),
    "dict": (lambda: {"a": DataLoader(VAL, 8), "b": DataLoader(Subset(DS, range(5)), 2)}, {}, 25),
    "stream": (lambda: DataLoader(Stream(), 8), {}, 20),
    "stream, limited": (lambda: DataLoader(Stream(), 8), {"limit_val_batches": 2}, 16),
    "stream with a length": (lambda: DataLoader(Sized(), 8), {}, 20),
    "stream of workers": (lambda: DataLoader(Stream(), 8, num_workers=1), {}, 20),
    "endless": (lambda: DataLoader(Endless(), 8), {"limit_val_batches": 3}, 24),
    "stream beside a set": (lambda: [DataLoader(Stream(9), 8), DataLoader(VAL, 8)], {}, 29),
    "no DataLoader": (lambda: CombinedLoader(Batches(), "sequential"), {}, 6),
}


class Batches:
    """Any iterable of batches."""

    def __iter__(self) -> Iterator[Any]:
        return iter([DS[0:4], DS[4:6]])


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")
@pytest.mark.filterwarnings("ignore:You requested to overfit")
@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled")
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_point_that_validation_takes_is_counted(tmp_path: Path, name: str) -> None:
    val, arguments, expected = PROGRAMS[name]
    rounds = 2 if name in ("plain", "own batches", "stream") else 1  # one of each way to count
    module, _, active = run(
        tmp_path, lambda: DataLoader(DS, 8), val=val, rounds=rounds, trainer_arguments=arguments, query_size=2
    )
    assert len(active.history) == rounds
    assert sum(map(len, module.validated)) == expected or name == "never reached"
    assert [round.validation_labels for round in active.history] == [expected] * len(active.history)


class LitSideBySide(LitNumbers):
    def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        for part in batch.values():
            if part is not None:
                super().validation_step(part, batch_idx)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("mode", "expected"), [("min_size", 8 + 5), ("max_size", 20 + 5)])
def test_loaders_side_by_side_are_counted_as_they_end(tmp_path: Path, mode: Any, expected: int, streamed: bool) -> None:
    def val() -> Any:
        long = DataLoader(Stream(), 8) if streamed else DataLoader(VAL, 8)
        return CombinedLoader({"long": long, "short": DataLoader(Subset(DS, range(5)), 8)}, mode)

    module, _, active = run(tmp_path, lambda: DataLoader(DS, 8), val=val, module=LitSideBySide(), rounds=2)
    assert sum(map(len, module.validated)) == expected
    assert [round.validation_labels for round in active.history] == [expected] * 2


def test_a_cycled_loader_s_points_count_once(tmp_path: Path) -> None:
    def val() -> Any:
        loaders = {"long": DataLoader(VAL, 8), "short": DataLoader(Subset(DS, range(5)), 8)}
        return CombinedLoader(loaders, "max_size_cycle")

    _, _, active = run(tmp_path, lambda: DataLoader(DS, 8), val=val, module=LitSideBySide(), rounds=1)
    assert active.history[0].validation_labels == 25


def test_a_checkpoint_after_the_last_validation_knows_its_points(tmp_path: Path) -> None:
    """Where a fit resumes and validates no more, the count is that of the uninterrupted run."""
    _, _, active = run(tmp_path, lambda: DataLoader(DS, 8), val=lambda: DataLoader(Stream(), 8), rounds=1)
    state = active.state_dict()["validation"]
    assert torch.tensor(list(state.values())).sum() == 20
