"""What a newcomer passes at the first try, and what the error says to pass instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al import BALD, ActiveDataModule, ActiveLearning, Deterministic, MCDropout
from lightning_al.host.namespace import pl
from tests.support.tasks import LitMLP, points, trainer


class LitPoints(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(points(40), batch_size=8, shuffle=True)


class LitTwoInputs(LitMLP):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().forward(x * mask)


def fit(folder: Path, module: pl.LightningModule, **arguments: Any) -> None:
    data = ActiveDataModule(LitPoints(), initial_size=8, **arguments)
    active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(2))
    trainer(folder, callbacks=[active], num_sanity_val_steps=2).fit(module, datamodule=data)


CLASSES: dict[str, tuple[Callable[[], Any], str]] = {
    "acquisition": (
        lambda: ActiveLearning(BALD, query_size=4),
        r"the name of the acquisition function or an object, but got the class `BALD`. Pass an object, `BALD\(\)`",
    ),
    "posterior": (
        lambda: ActiveLearning("entropy", query_size=4, posterior=Deterministic),  # type: ignore[arg-type]
        r"got the class `Deterministic`. Pass an object, `Deterministic\(\)`",
    ),
    "datamodule": (
        lambda: ActiveDataModule(LitPoints, initial_size=4),
        r"a LightningDataModule or a dataset, but got the class `LitPoints`. Pass an object, `LitPoints\(\)`",
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_in_place_of_an_object(name: str) -> None:
    make, said = CLASSES[name]
    with pytest.raises(TypeError, match=said):
        make()


def test_a_position_that_no_item_has(tmp_path: Path) -> None:
    said = r"got items of only 2 parts: \(Tensor .*\)\. Give it a number from 0 to 1\."
    with pytest.raises(ValueError, match=said):
        fit(tmp_path, LitMLP(), target=5)


def test_what_failed_and_what_to_pass_are_two_sentences(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'mask'\. Pass `forward=`"):
        fit(tmp_path, LitTwoInputs())
