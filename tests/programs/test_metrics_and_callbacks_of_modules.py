"""Modules that make their torchmetrics in `setup`, or their callbacks in `configure_callbacks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MaxMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_al.host.namespace import pl
from lightning_al.run.seeds import seeded
from tests.support.plain import plain_round, run, same_weights, weights_of
from tests.support.tasks import CLASSES, LitMLP


class MeasuresByCollections(LitMLP):
    """Each stage measures by a collection that every `setup` makes anew, as in the template's module."""

    def setup(self, stage: str) -> None:
        metrics = MetricCollection({"acc": MulticlassAccuracy(CLASSES), "f1": MulticlassF1Score(CLASSES)})
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        self.test_metrics = metrics.clone(prefix="test_")
        self.val_acc_best = MaxMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits = self(batch[0])
        self.train_metrics.update(logits, batch[1])
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return F.cross_entropy(logits, batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_metrics.update(self(batch[0]), batch[1])
        self.log_dict(self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_metrics["acc"].compute())
        self.log("val_acc_best", self.val_acc_best)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.test_metrics.update(self(batch[0]), batch[1])
        self.log_dict(self.test_metrics)


class MeasuresByStage(MeasuresByCollections):
    """The metrics of a stage are made for it alone."""

    def setup(self, stage: str) -> None:
        accuracy = MetricCollection({"acc": MulticlassAccuracy(CLASSES)})
        if stage == "fit":
            self.train_metrics = accuracy.clone(prefix="train_")
            self.val_metrics = accuracy.clone(prefix="val_")
            self.val_acc_best = MaxMetric()
        if stage == "test":
            self.test_metrics = accuracy.clone(prefix="test_")


@pytest.mark.parametrize("program", [MeasuresByCollections, MeasuresByStage])
def test_metrics_that_setup_makes_are_those_of_their_round(tmp_path: Path, program: type[LitMLP]) -> None:
    def made() -> LitMLP:
        with seeded(5):
            return program()

    module, active, data = run(made, tmp_path, max_epochs=2)
    for number, round in enumerate(active.history):
        plain = plain_round(made, active, data, number, tmp_path, max_epochs=2)
        assert plain.metrics.items() <= round.metrics.items()
    assert "test_acc" in plain.metrics
    assert same_weights(weights_of(module), plain.weights)


class BringsCallbacks(LitMLP):
    def configure_callbacks(self) -> list[pl.Callback]:
        return [
            pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.05),
            pl.callbacks.ModelCheckpoint(monitor="val_loss"),
        ]


def made_with_callbacks() -> LitMLP:
    with seeded(5):
        return BringsCallbacks()


def test_callbacks_that_a_module_brings_are_new_in_each_round(tmp_path: Path) -> None:
    options: Any = {"weights": "last", "max_epochs": 4, "enable_checkpointing": True}
    module, active, data = run(made_with_callbacks, tmp_path / "one", **options)
    options.pop("weights")
    plain = plain_round(made_with_callbacks, active, data, 1, tmp_path, **options)
    assert same_weights(weights_of(module), plain.weights)
    other, active, data = run(made_with_callbacks, tmp_path / "two", weights="last", rounds_per_fit=1, **options)
    fitting = other.trainer
    while not active.done:
        fitting.fit(other, datamodule=data)
    assert same_weights(weights_of(other), plain.weights)


def test_after_the_fit_the_trainer_has_the_callbacks_of_the_last_one(tmp_path: Path) -> None:
    module, active, data = run(made_with_callbacks, tmp_path, max_epochs=4, enable_checkpointing=True)
    checkpoint: Any = module.trainer.checkpoint_callback
    best = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
    assert all(torch.equal(best[name], weight) for name, weight in module.state_dict().items())
    (found,) = module.trainer.test(datamodule=data, ckpt_path="best", verbose=False)
    assert found["test_acc"] == active.history[-1].metrics["test_acc"]
