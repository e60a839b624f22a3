"""Heads for features, and pixels as features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, MCDropout
from lightning_al.demos import Classifier, LinearHead, Pixels, mlp_head
from tests.support.tasks import CLASSES, points, trainer

X, Y = points(60).tensors


def fitted(root: Path, head: LinearHead, batch_size: int, *, seed: int = 0, epochs: int = 1) -> LinearHead:
    torch.manual_seed(seed)
    order = torch.randperm(len(X))
    head(X)
    loader: Any = DataLoader(TensorDataset(X[order], Y[order]), batch_size=batch_size)
    trainer(root, max_epochs=epochs).fit(head, loader)
    return head


def test_a_linear_head_is_scikit_learns(tmp_path: Path) -> None:
    expected = LogisticRegression(C=1 / 0.3, tol=1e-8, max_iter=1_000).fit(X.double().numpy(), Y.numpy())
    for batch_size, seed, epochs in ((60, 0, 1), (7, 1, 2)):
        head = fitted(tmp_path, LinearHead(CLASSES, penalty=0.3), batch_size, seed=seed, epochs=epochs)
        found = head(X).softmax(1).detach().double().numpy()
        np.testing.assert_allclose(found, expected.predict_proba(X.double().numpy()), atol=1e-3)  # float32
        np.testing.assert_allclose(head.linear.weight.detach(), expected.coef_, atol=1e-2)


def test_pixels_are_rows() -> None:
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(Pixels(normalise=False)(images), images.flatten(1))
    torch.testing.assert_close(Pixels()(images), images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_runs_rounds_on_features(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    head: Any = LinearHead(CLASSES) if kind == "linear" else Classifier(mlp_head(CLASSES), num_classes=CLASSES)
    active = ActiveLearning(
        "margin" if kind == "linear" else "batchbald",
        query_size=4,
        max_rounds=3,
        seed=0,
        posterior=Deterministic() if kind == "linear" else MCDropout(5),
    )
    data = ActiveDataModule(
        points(60),
        initial_size=8,
        balanced=True,
        test=points(40, seed=1),
        features=nn.Flatten(),
        inputs="features",
        seed=0,
        batch_size=8,
    )
    trainer(tmp_path, callbacks=[active], max_epochs=1 if kind == "linear" else 8).fit(head, datamodule=data)
    assert [round.labelled for round in active.history] == [8, 12, 16]
    assert active.history[-1].metrics["test_acc"] > 0.5  # by chance .25
    assert active.history[-1].steps > 0
