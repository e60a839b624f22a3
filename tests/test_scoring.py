"""Scoring the pool: the same whatever carries it, and refused where inputs are unclear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.posterior import MCDropout
from lightning_al.scoring import default_logits
from lightning_al.target import Target
from tests.tasks import LitMLP, points, trainer


def scored(tmp_path: Path, **kwargs: Any) -> tuple[list[int], list[float]]:
    torch.manual_seed(0)
    data = ActiveDataModule(points(60), initial_size=8, batch_size=8, **kwargs)
    active = ActiveLearning("batchbald", query_size=6, max_rounds=2, posterior=MCDropout(10))
    trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
    return active.history[0].indices, active.history[0].scores


@pytest.mark.parametrize("batch_size", [1, 7, 51, 52, 1000])
def test_picks_do_not_depend_on_the_batch_size_of_scoring(tmp_path: Path, batch_size: int) -> None:
    indices, scores = scored(tmp_path)
    other_indices, other_scores = scored(tmp_path, pool_batch_size=batch_size)
    assert other_indices == indices
    assert other_scores == pytest.approx(scores, abs=1e-5)


class TwoInputs(nn.Module):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * mask


class OneInput(nn.Module):
    def forward(self, inputs: Any) -> Any:
        return inputs["image"] * inputs["mask"] if isinstance(inputs, dict) else inputs * 3


IMAGE, MASK, LABEL = torch.tensor([2.0]), torch.tensor([5.0]), torch.tensor([1])


@pytest.mark.parametrize(
    ("module", "batch", "expected"),
    [
        (OneInput(), (IMAGE, LABEL), 6.0),
        (OneInput(), [IMAGE, LABEL], 6.0),
        (OneInput(), IMAGE, 6.0),
        (OneInput(), {"image": IMAGE, "label": LABEL}, 6.0),
        (TwoInputs(), (IMAGE, MASK, LABEL), 10.0),
        (TwoInputs(), {"image": IMAGE, "mask": MASK, "y": LABEL}, 10.0),
        (OneInput(), {"image": IMAGE, "mask": MASK, "target": LABEL}, 10.0),
    ],
)
def test_the_module_is_called_on_the_inputs(module: nn.Module, batch: Any, expected: float) -> None:
    assert default_logits(Target())(module, batch).item() == expected


def test_a_label_that_is_not_the_last_is_left_out() -> None:
    assert default_logits(Target(0))(TwoInputs(), (LABEL, IMAGE, MASK)).item() == 10.0


def test_inputs_that_the_module_does_not_know_are_refused() -> None:
    batch = {"pixels": IMAGE, "mask": MASK, "label": LABEL}
    with pytest.raises(ValueError, match=r"inputs pixels, mask, but `TwoInputs.forward` takes image, mask.*`logits=`"):
        default_logits(Target())(TwoInputs(), batch)
