"""Programs that own the loop, by `rounds_per_fit=1`, and do something of their own between two calls of `fit`."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from tests.support.plain import TEST, TRAIN, VAL, same_weights, weights_of
from tests.support.tasks import CLASSES, LitMLP, LitPoints, trainer


def active_learning(rounds_per_fit: int | None = 1) -> ActiveLearning:
    return ActiveLearning("bald", posterior=MCDropout(3), query_size=5, max_rounds=3, rounds_per_fit=rounds_per_fit)


def data() -> ActiveDataModule:
    return ActiveDataModule(TRAIN, val=VAL, test=TEST, initial_size=8, batch_size=8)


def test_layers_that_the_user_replaces_stay(tmp_path: Path) -> None:
    module, fitting, points = LitMLP(), trainer(tmp_path, callbacks=[active_learning()]), data()
    fitting.fit(module, datamodule=points)
    module.net[1], module.net[2], module.net[3] = nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, CLASSES)
    replaced = list(module.net)
    module.net[3].bias.requires_grad_(False)
    for _ in range(2):
        fitting.fit(module, datamodule=points)
        assert list(module.net) == replaced
        assert not module.net[3].bias.requires_grad
        assert module.net[2].p == 0.5


def test_layers_of_another_shape_are_refused(tmp_path: Path) -> None:
    module, fitting, points = LitMLP(), trainer(tmp_path, callbacks=[active_learning()]), data()
    fitting.fit(module, datamodule=points)
    module.net[3] = nn.Linear(16, 7)
    with pytest.raises(ValueError, match=r"`net.3.weight` is \[4, 16\] there and \[7, 16\] here.* a new `ActiveLearn"):
        fitting.fit(module, datamodule=points)


def test_a_run_can_be_copied_and_pickled(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module, active, points = LitMLP(), active_learning(), data()
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=points)
    copies = [copy.deepcopy((module, active, points)), pickle.loads(pickle.dumps((module, active, points)))]
    ends = []
    for fitted, learning, its_points in [(module, active, points), *copies]:
        fitting = trainer(tmp_path, callbacks=[learning])
        while not learning.done:
            fitting.fit(fitted, datamodule=its_points)
        ends.append((weights_of(fitted), [round.indices for round in learning.history]))
    for weights, picks in ends[1:]:
        assert picks == ends[0][1]
        assert same_weights(weights, ends[0][0])


class RemovesItsData(LitPoints):
    """Both stages have the same data, which each `teardown` removes: it is called once for each `setup`."""

    TRAIN, VAL, TEST = TRAIN, VAL, TEST

    def setup(self, stage: str) -> None:
        self.train, self.val, self.test = self.TRAIN, self.VAL, self.TEST
        self.cache: list[str] | None = CACHE

    def teardown(self, stage: str) -> None:
        assert self.cache is not None
        self.cache = None
        del self.train, self.val, self.test


CACHE = ["shared"]


@pytest.mark.parametrize("rounds_per_fit", [1, None])
def test_data_that_two_stages_share_are_removed_by_each(tmp_path: Path, rounds_per_fit: int | None) -> None:
    active = active_learning(rounds_per_fit)
    module, fitting = LitMLP(), trainer(tmp_path, callbacks=[active])
    points = ActiveDataModule(RemovesItsData(), initial_size=8)
    while not active.done:
        fitting.fit(module, datamodule=points)
    assert not hasattr(points.wrapped, "train")
