"""The run whose journal and checkpoint each release leaves here; it must not change from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from tests.support.tasks import LitMLP, points, trainer

HERE = Path(__file__).parent


class Steady(LitMLP):
    """Train the same whatever was drawn before, so that a fit that goes on in its middle ends as a whole one."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        order = x[:, 0].argsort()
        torch.manual_seed(self.global_step)
        return super().training_step((x[order], y[order]), batch_idx)


def fit(
    folder: Path,
    run: Path | None,
    *extra: pl.Callback,
    rounds_per_fit: int | None = None,
    ckpt_path: Path | None = None,
) -> tuple[ActiveLearning, ActiveDataModule, LitMLP]:
    """Run active learning to its budget, or a part of it."""
    torch.manual_seed(7)
    module = Steady(hidden=4)
    data = ActiveDataModule(points(24), initial_size=8, val=points(8, seed=1), batch_size=32)
    active = ActiveLearning(
        "bald", query_size=4, budget=20, seed=1, reset="warm", folder=run, rounds_per_fit=rounds_per_fit
    )
    fitting = trainer(folder, callbacks=[active, *extra], max_epochs=3)
    fitting.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return active, data, module
