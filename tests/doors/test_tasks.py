"""One logit a point: what users of two classes have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Candidates, MCDropout, ScoreAcquisition
from tests.support.combinations import one_in
from tests.support.tasks import FEATURES, Items, LitMLP, trainer


class LitBinary(LitMLP):
    """A network of one logit, or of two."""

    def __init__(self, shape: str = "[B, 1]", ends_in_sigmoid: bool = False, bias: float = 0.0) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.shape, self.ends_in_sigmoid = shape, ends_in_sigmoid
        self.net = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        nn.init.constant_(self.net[-1].bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        z = z.sigmoid() if self.ends_in_sigmoid else z
        if self.shape == "[B, 2]":
            return torch.cat([torch.zeros_like(z), z], 1)
        return z if self.shape == "[B, 1]" else z[:, 0]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.binary_cross_entropy_with_logits(self.net(x)[:, 0], (y.reshape(len(x)) > 0.5).float())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return

    def test_step(self, batch: Any, batch_idx: int) -> None:
        return


LABELS = {
    "int": lambda y: int(y % 2),
    "float": lambda y: float(y % 2),
    "bool": lambda y: bool(y % 2),
    "vector of one": lambda y: torch.tensor([float(y % 2)]),
}


def picks(tmp_path: Path, module: Any, label: Any = LABELS["int"], **arguments: Any) -> Any:
    test = arguments.pop("test", None)
    data = ActiveDataModule(Items(60, lambda x, y: (x, label(y))), initial_size=8, batch_size=8, test=test)
    given = {"acquisition": "bald", "query_size": 4, "max_rounds": 2, "rounds_per_fit": 1, "posterior": MCDropout(6)}
    arguments = {**given, **arguments}
    active = ActiveLearning(arguments.pop("acquisition"), **arguments)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(module, datamodule=data)
    return [(round.indices, round.scores) for round in active.history]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Return what is picked with two logits, by a form of the labels and a method."""

    @cache
    def found(label: str, acquisition: str) -> Any:
        root = tmp_path_factory.mktemp("two")
        return picks(root, LitBinary("[B, 2]"), LABELS[label], acquisition=acquisition)

    return found


@pytest.mark.parametrize(
    ("label", "shape", "task", "acquisition"),
    one_in(3, LABELS, ["[B]", "[B, 1]"], [None, "binary"], ["bald", "batchbald", "margin"]),
)
def test_one_logit_is_scored_as_two_are(
    tmp_path: Path, of_two: Any, label: str, shape: str, task: Any, acquisition: str
) -> None:
    [(one, scores)] = picks(tmp_path, LitBinary(shape), LABELS[label], task=task, acquisition=acquisition)
    [(two, expected)] = of_two(label, acquisition)
    assert one == two
    assert scores == pytest.approx(expected, abs=1e-5)


def test_two_logits_are_binary_too(tmp_path: Path) -> None:
    assert picks(tmp_path, LitBinary("[B, 2]"), task="binary") == picks(tmp_path, LitBinary("[B, 2]"))


def test_a_guess_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        picks(tmp_path, LitBinary(), rounds_per_fit=None)
    assert caplog.text.count('The task is taken for "binary"') == 1


@pytest.mark.parametrize("shape", ["[B]", "[B, 1]"])
def test_a_sigmoid_is_not_taken_for_a_logit(tmp_path: Path, shape: str) -> None:
    with pytest.raises(ValueError, match=r'pass `task="binary"`, with `forward=lambda module, batch: torch.logit\('):
        picks(tmp_path, LitBinary(shape, ends_in_sigmoid=True))
    followed = picks(
        tmp_path,
        LitBinary(shape, ends_in_sigmoid=True),
        task="binary",
        forward=lambda module, batch: torch.logit(module(batch[0])),
    )
    assert followed[0][0] == picks(tmp_path, LitBinary(shape))[0][0]


def test_logits_that_all_lie_between_0_and_1_are_still_logits(tmp_path: Path) -> None:
    module = LitBinary(bias=0.5)
    module.net[-1].weight.data.mul_(0.01)
    picks(tmp_path, module)


@pytest.mark.parametrize("label", [lambda y: float(y) / 7, lambda y: int(y), lambda y: 1.0])
def test_other_labels_are_not_guessed_to_be_of_two_classes(tmp_path: Path, label: Any) -> None:
    with pytest.raises(ValueError, match=r'(this is a regression|pass `task="binary"`)'):
        picks(tmp_path, LitBinary(), label)


def test_embeddings_are_those_of_the_pool_while_the_task_is_guessed(tmp_path: Path) -> None:
    def selected(task: str | None) -> Any:
        module = LitBinary(bias=0.5)
        nn.init.zeros_(module.net[-1].weight)  # outputs from 0 to 1, which may come from a sigmoid
        module.net[-1].requires_grad_(False)
        return picks(tmp_path / str(task), module, acquisition="badge", task=task)

    assert selected(None) == selected("binary")


def test_three_logits_are_not_binary(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"A binary task needs one logit .* but the module gave \[\d+, 4\]"):
        picks(tmp_path, LitMLP(), task="binary")


def test_a_task_that_is_not_known_is_refused() -> None:
    wrong: Any = "segmentation"
    with pytest.raises(ValueError, match=r"task='segmentation'\)` is not known. Choose one of: multiclass, binary"):
        ActiveLearning("bald", query_size=2, task=wrong)


def test_the_posterior_is_tested_with_one_logit(tmp_path: Path) -> None:
    test = Items(20, lambda x, y: (x, float(y % 2)))
    data = ActiveDataModule(Items(60, lambda x, y: (x, float(y % 2))), initial_size=8, batch_size=8, test=test)
    active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(6), test="posterior")
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitBinary("[B]"), datamodule=data)
    assert 0 <= active.history[0].metrics["posterior_accuracy"] <= 1


def test_a_method_for_one_task_alone_says_which_it_is(tmp_path: Path) -> None:
    class ForTwo(ScoreAcquisition):
        tasks = frozenset({"binary", "regression"})

        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return candidates.log_probs_N_K_C.std((1, 2))

    [(indices, _)] = picks(tmp_path, LitBinary("[B]"), acquisition=ForTwo())
    assert len(indices) == 4
    with pytest.raises(ValueError, match="A binary task needs one logit"):
        picks(tmp_path, LitMLP(), acquisition=ForTwo())
