"""A dataset that grows or shrinks while a run goes on is refused by its lengths, wherever the run meets it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from tests.support.tasks import LitMLP, points, trainer


class Listed(list[Any]):
    """Points in a list, which the program changes while labels are given, and labels none itself."""

    def __init__(self, change: int) -> None:
        super().__init__(points(40))
        self.change = change

    def label(self, indices: Sequence[int]) -> dict[int, Any]:
        if self.change > 0:
            self.extend(points(self.change))
        else:
            del self[self.change or len(self) :]
        return dict.fromkeys(indices)


def start(
    tmp_path: Path, dataset: Listed, query_size: int = 4, **arguments: Any
) -> tuple[Any, ActiveLearning, ActiveDataModule]:
    torch.manual_seed(0)
    data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
    given = {"query_size": query_size, "max_rounds": 3, "posterior": MCDropout(3), **arguments}
    active = ActiveLearning("bald", oracle=dataset, **given)
    return trainer(tmp_path, callbacks=[active], max_epochs=1), active, data


@pytest.mark.parametrize(("change", "now"), [(1, 41), (-1, 39), (20, 60)])
def test_within_one_fit(tmp_path: Path, change: int, now: int) -> None:
    fit, active, data = start(tmp_path, Listed(change), folder=tmp_path / "run")
    with pytest.raises(ValueError, match=rf"had 40 points when the run began and have {now} now, in its round 1"):
        fit.fit(LitMLP(), datamodule=data)
    assert len(active.history) == 1  # with its labels


def test_a_queried_point_that_is_gone_is_no_wrong_answer(tmp_path: Path) -> None:
    fit, _, data = start(tmp_path, Listed(-1), query_size=32)  # all that is left, and the last is gone
    with pytest.raises(ValueError, match="had 40 points when the run began and have 39 now, in its round 0"):
        fit.fit(LitMLP(), datamodule=data)


@pytest.mark.parametrize(("change", "now"), [(1, 41), (-1, 39)])
def test_between_two_fits(tmp_path: Path, change: int, now: int) -> None:
    fit, active, data = start(tmp_path, Listed(change), rounds_per_fit=1)
    fit.fit(LitMLP(), datamodule=data)
    with pytest.raises(ValueError, match=f"changed between two calls of its `setup` from 40 to {now} points, so"):
        fit.fit(LitMLP(), datamodule=data)
    assert len(active.history) == 1


def test_a_dataset_that_stays_is_let_be(tmp_path: Path) -> None:
    fit, active, data = start(tmp_path, Listed(0))
    fit.fit(LitMLP(), datamodule=data)
    assert active.done
