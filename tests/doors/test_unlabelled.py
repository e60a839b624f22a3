"""Data without labels: inputs of any form, whose labels only an oracle knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Query
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]


class OneByOne(Dataset[Any]):
    """A dataset of inputs, each in some form."""

    def __init__(self, form: Callable[[int], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return self.form(index)


class LitAny(LitMLP):
    """Trains on batches of pairs, or of dicts, and reads texts as numbers."""

    def forward(self, x: Any) -> Tensor:
        if isinstance(x, dict):
            x = torch.stack([x[str(column)] for column in range(X.shape[1])], dim=1).float()
        if not isinstance(x, Tensor):
            x = torch.tensor([[float(number) for number in text.split()] for text in x])
        return self.net(x.float())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if isinstance(batch, dict):
            batch = ({key: value for key, value in batch.items() if key not in ("label", "kind")}, self._labels(batch))
        x, y = batch
        return F.cross_entropy(self(x), y)

    def _labels(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["kind" if "kind" in batch else "label"]


def run(root: Path, data: Any, oracle: Any, classes: Sequence[str] | None = NAMES, **arguments: Any) -> Any:
    torch.manual_seed(0)
    module = LitAny()
    pool = ActiveDataModule(data, initial_size=6, classes=classes, batch_size=4, seed=0, **arguments)
    active = ActiveLearning("bald", query_size=4, max_rounds=3, posterior=MCDropout(2), oracle=oracle, seed=0)
    trainer(root, max_epochs=1, callbacks=[active]).fit(module, datamodule=pool)
    return active, pool, module


def knows(query: Query) -> dict[int, str]:
    return {index: NAMES[int(Y[index])] for index in query}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run over the same points with their labels, which are revealed."""
    return run(tmp_path_factory.mktemp("labelled"), TensorDataset(X, Y), "revealed")


AS_TEXT = [" ".join(map(str, row)) for row in X.tolist()]
FRAME = pd.DataFrame(X.numpy(), columns=[str(column) for column in range(X.shape[1])])


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        (X, {}),
        (X.double().numpy(), {}),
        (list(X), {}),
        (TensorDataset(X), {}),
        (OneByOne(lambda index: X[index]), {}),
        (AS_TEXT, {}),
        (pd.Series(AS_TEXT), {}),
        (FRAME, {}),
        (FRAME.assign(name="x").drop(columns="name").to_dict("records"), {}),
        (OneByOne(lambda index: dict(FRAME.iloc[index])), {"target": "kind"}),
    ],
    ids=["tensor", "array", "list", "one column", "dataset", "texts", "series", "table", "dicts", "a key of one's own"],
)
def test_a_run_equals_the_one_over_the_same_points_with_labels(
    tmp_path: Path, labelled: Any, data: Any, arguments: dict[str, Any]
) -> None:
    active, pool, module = run(tmp_path, data, knows, **arguments)
    before, _, other = labelled
    assert [round.indices for round in active.history] == [round.indices for round in before.history]
    assert [round.class_counts for round in active.history] == [round.class_counts for round in before.history]
    for name, value in module.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], atol=1e-5)
    assert pool.pool.labels == {index: int(Y[index]) for index in pool.pool.labelled}


def test_each_point_is_asked_once_the_initial_ones_first(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def notes(query: Query) -> dict[int, str]:
        asked.append(list(query))
        return knows(query)

    _, data, _ = run(tmp_path, X, notes)
    assert asked == data.pool.rounds
    assert list(map(len, asked)) == [6, 4, 4]


def test_rows_of_a_table_with_texts_are_dicts() -> None:
    data = ActiveDataModule(pd.DataFrame({"text": ["a", "b", "c"], "size": [1, 2, 3]}), initial_size=1, classes=NAMES)
    data.setup("fit")
    assert data.item_of(1) == {"text": "b", "size": 2, "label": None}
    assert data.is_unlabelled


def test_items_that_have_a_place_for_labels_are_unchanged() -> None:
    pairs = TensorDataset(X, Y)
    data = ActiveDataModule(pairs, initial_size=2, classes=NAMES)
    data.setup("fit")
    assert data.dataset is pairs
    assert not data.is_unlabelled


def test_inputs_are_taken_for_unlabelled_data_only_with_their_classes() -> None:
    data = ActiveDataModule([{"x": 0.5, "kind": 1}, {"x": 1.5, "kind": 0}], initial_size=1)
    with pytest.raises(ValueError, match="but found only \\['kind', 'x'\\]"):
        data.setup("fit")


def test_an_unreadable_first_item_does_not_hide_that_there_are_no_labels() -> None:
    def form(index: int) -> Any:
        if index == 0:
            raise OSError("truncated")
        return X[index]

    data = ActiveDataModule(OneByOne(form), initial=[1, 2], classes=NAMES)
    data.skips_unreadable = True
    data.setup("fit")
    assert data.is_unlabelled


def test_nothing_can_be_revealed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have no labels, so `Revealed` has none to reveal"):
        run(tmp_path, X, "revealed")


def test_another_reading_for_scores_has_no_labels_either(tmp_path: Path, labelled: Any) -> None:
    active, _, _ = run(tmp_path, X, knows, pool_dataset=OneByOne(lambda index: X[index]))
    assert [round.indices for round in active.history] == [round.indices for round in labelled[0].history]


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping("val_loss"), ModelCheckpoint(monitor="val/acc", mode="max"), EarlyStopping("valid_loss")],
    ids=["early stopping", "checkpoint", "valid"],
)
def test_a_metric_of_no_validation_is_refused_before_anybody_is_asked(tmp_path: Path, callback: Any) -> None:
    active = ActiveLearning("bald", query_size=4, budget=20, posterior=MCDropout(2), oracle=lambda query: 1 / 0)
    fitter = trainer(tmp_path, enable_checkpointing=True, callbacks=[active, callback])
    with pytest.raises(ValueError, match="watches a metric of the validation, but there is none"):
        fitter.fit(LitAny(), datamodule=ActiveDataModule(X, initial_size=4, classes=NAMES))


@pytest.mark.parametrize(
    ("callback", "val"),
    [
        (ModelCheckpoint(save_last=True), None),
        (EarlyStopping("value", check_on_train_epoch_end=True), None),
        (EarlyStopping("val_loss", strict=False), None),
        (EarlyStopping("val_loss"), points(8, 1)),
    ],
    ids=["nothing monitored", "of the training", "not strict", "validated"],
)
def test_what_can_be_monitored_is(tmp_path: Path, callback: Any, val: Any) -> None:
    class Logging(LitAny):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("value", loss)
            return loss

    active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(2), oracle=knows)
    data = ActiveDataModule(X, initial_size=4, classes=NAMES, val=val)
    trainer(tmp_path, max_epochs=1, enable_checkpointing=True, callbacks=[active, callback]).fit(
        Logging(), datamodule=data
    )
    assert active.done


def test_images_of_pil_are_single_inputs() -> None:
    from PIL import Image

    images = [Image.fromarray(np.full((4, 4), shade, dtype=np.uint8)) for shade in range(5)]
    data = ActiveDataModule(images, initial_size=1, classes=NAMES, collate_fn=list)
    data.setup("fit")
    assert data.item_of(3)[1] is None
    assert data.item_of(3)[0] is images[3]
