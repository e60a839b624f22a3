"""Modules whose `setup` changes in place what was there before, or keeps its layers where torch does not see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from lightning_al.run.seeds import seeded
from tests.programs.test_layers_in_setup import LitBase, loss_of, mlp
from tests.support.plain import plain_round, run, same_weights, weights_of
from tests.support.tasks import CLASSES, FEATURES


class Begins(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net: Any = mlp()


class ParametrizesForTheFit(Begins):
    def setup(self, stage: str) -> None:
        if stage == "fit":
            parametrizations.weight_norm(self.net[0])
            parametrizations.spectral_norm(self.net[3])


class ParametrizesAlways(Begins):
    def setup(self, stage: str) -> None:
        parametrizations.weight_norm(self.net[0])


class ParametrizesOnce(Begins):
    def setup(self, stage: str) -> None:
        if not hasattr(self.net[3], "parametrizations"):
            parametrizations.orthogonal(self.net[3])


class PrunesAlways(Begins):
    def setup(self, stage: str) -> None:
        prune.l1_unstructured(self.net[3], "weight", amount=0.3)


class ParametrizesAtTheStartOfAFit(Begins):
    def on_fit_start(self) -> None:
        parametrizations.weight_norm(self.net[0])


class HooksAlways(Begins):
    """Registered anew by the test, it would count twice from then on."""

    def setup(self, stage: str) -> None:
        self.net[0].register_forward_hook(lambda module, inputs, output: output * 1.2)


class LoadsPretrainedWeights(Begins):
    """As most programs do that start from a file: at each stage."""

    def setup(self, stage: str) -> None:
        with seeded(77):
            self.net.load_state_dict(mlp().state_dict())


class DrawsItsWeights(Begins):
    def setup(self, stage: str) -> None:
        for weight in self.net.parameters():
            weight.data.normal_(std=0.3)


class KeepsAList(LitBase):
    def setup(self, stage: str) -> None:
        self.steps: list[nn.Module] = [nn.Linear(FEATURES, 12), nn.Dropout(0.3), nn.Linear(12, CLASSES)]
        for number, step in enumerate(self.steps):
            self.add_module(f"step{number}", step)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class KeepsAListOnce(KeepsAList):
    def __init__(self) -> None:
        super().__init__()
        self.steps = []

    def setup(self, stage: str) -> None:
        if not self.steps:
            super().setup(stage)


class KeepsAFunction(LitBase):
    def setup(self, stage: str) -> None:
        net = mlp()
        self.net, self.function = net, lambda x: F.log_softmax(net(x), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


CHANGED_AGAIN_FOR_A_TEST = {
    ParametrizesAlways,
    PrunesAlways,
    HooksAlways,
    LoadsPretrainedWeights,
    DrawsItsWeights,
    KeepsAList,
    KeepsAFunction,
}
"""Programs that plain Lightning tests as what `setup` made of them once more."""


@pytest.mark.parametrize(
    "program",
    [
        ParametrizesForTheFit,
        ParametrizesAlways,
        ParametrizesOnce,
        PrunesAlways,
        ParametrizesAtTheStartOfAFit,
        HooksAlways,
        LoadsPretrainedWeights,
        DrawsItsWeights,
        KeepsAList,
        KeepsAListOnce,
        KeepsAFunction,
    ],
)
def test_each_round_is_the_plain_program_and_its_test_is_of_what_was_trained(
    tmp_path: Path, program: type[LitBase]
) -> None:
    def made() -> LitBase:
        with seeded(5):
            return program()

    torch.manual_seed(9)
    module, active, data = run(made, tmp_path, max_rounds=2)
    is_tested = program not in CHANGED_AGAIN_FOR_A_TEST
    for number, round in enumerate(active.history):
        torch.manual_seed(9)
        plain = plain_round(made, active, data, number, tmp_path, tested=is_tested)
        assert plain.metrics.items() <= round.metrics.items()
    assert same_weights(weights_of(module), plain.weights)
    assert active.history[-1].metrics["test_loss"] == pytest.approx(loss_of(module), rel=1e-4)


def test_weights_that_setup_loads_for_the_test_alone_are_tested(tmp_path: Path) -> None:
    class Averages(Begins):
        def setup(self, stage: str) -> None:
            if stage == "test":
                with seeded(77):
                    self.net.load_state_dict(mlp().state_dict())

    _, active, data = run(Averages, tmp_path, max_rounds=1)
    plain = plain_round(Averages, active, data, 0, tmp_path)
    assert plain.metrics.items() <= active.history[0].metrics.items()
