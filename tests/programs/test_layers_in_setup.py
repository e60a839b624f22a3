"""Modules that build or change their layers in `setup` or `configure_model`, as Lightning's documentation teaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al.host.namespace import pl
from lightning_al.run.seeds import seeded
from tests.support.plain import TEST, plain_round, run, same_weights, weights_of
from tests.support.tasks import CLASSES, FEATURES, trainer


class LitBase(pl.LightningModule):
    """The steps that all of them share."""

    net: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def mlp(width: int = 12) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, CLASSES))


class BuildsAlways(LitBase):
    def setup(self, stage: str) -> None:
        self.net = mlp()


class BuildsForTheFit(LitBase):
    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.net = mlp()


class BuildsWhereNoneIs(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = None  # type: ignore[assignment]

    def setup(self, stage: str) -> None:
        if self.net is None:
            self.net = mlp()


class BuildsWithoutAGuard(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = None  # type: ignore[assignment]

    def setup(self, stage: str) -> None:
        self.net = mlp()


class ConfiguresAlways(LitBase):
    def configure_model(self) -> None:
        self.net = mlp()


class ConfiguresOnce(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = None  # type: ignore[assignment]

    def configure_model(self) -> None:
        if self.net is None:
            self.net = mlp()


class AppendsLayers(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()

    def setup(self, stage: str) -> None:
        self.blocks.append(nn.Linear(FEATURES, FEATURES))
        self.blocks.append(nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class ReplacesAHead(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def setup(self, stage: str) -> None:
        self.net[3] = nn.Linear(12, CLASSES)


class ReadsTheSizesFromTheData(LitBase):
    def setup(self, stage: str) -> None:
        if stage == "fit":
            x, _ = next(iter(self.trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
            self.size = x.shape[1]
        self.net = nn.Sequential(nn.Linear(self.size, 12), nn.Dropout(0.3), nn.Linear(12, CLASSES))


class ScalesInSetup(LitBase):
    """What it changes in place it would change again in each round, and in each test."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"factor": 3.0})
        self.net = mlp()
        self.scale = 1.0
        self.steps: list[str] = []
        self.options = {"shift": [0.0]}

    def setup(self, stage: str) -> None:
        self.scale *= 0.5
        self.hparams["factor"] *= 2
        self.steps.append("halve")
        self.options["shift"].append(0.1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in self.steps:
            x = x * self.scale
        return self.net(x) * self.hparams["factor"] + sum(self.options["shift"])


class RegistersABuffer(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def setup(self, stage: str) -> None:
        self.register_buffer("offset", torch.randn(FEATURES), persistent=False)
        self.bias = nn.Parameter(torch.randn(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.offset) + self.bias


class HooksInSetup(LitBase):
    """A hook that is registered in every round would count double in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.net[0].register_forward_hook(lambda module, inputs, output: output * 1.1)


class ReadsTheNumberOfSteps(LitBase):
    def setup(self, stage: str) -> None:
        self.net = mlp()
        if stage == "fit":
            self.total = int(self.trainer.estimated_stepping_batches)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=self.total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FreezesWhileItFits(LitBase):
    """A new module has all of its layers trained, and its dropout as it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self.net[0].requires_grad_(False)
            self.net[2].p = 0.1


class MeasuresInSetup(LitBase):
    """Metrics that are made for the test alone are there for it."""

    def setup(self, stage: str) -> None:
        self.net = mlp()
        if stage == "test":
            self.worst = nn.ParameterList()  # no weights: what the test makes
            self.seen = 0

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.seen += len(batch[0])


class TearsDown(LitBase):
    """Each `setup` is followed by one `teardown`, or the second would fail."""

    def setup(self, stage: str) -> None:
        self.net = mlp() if stage == "fit" or not hasattr(self, "net") else self.net
        self.file = [stage]

    def teardown(self, stage: str) -> None:
        assert self.file == [stage]
        del self.file


class HasNothingInSetup(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()


class Lazy(LitBase):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(12), nn.ReLU(), nn.Dropout(0.3), nn.LazyLinear(CLASSES))


class LazyInSetup(LitBase):
    def setup(self, stage: str) -> None:
        self.net = nn.Sequential(nn.LazyLinear(12), nn.LazyBatchNorm1d(), nn.Dropout(0.3), nn.LazyLinear(CLASSES))


PROGRAMS = [
    BuildsAlways,
    BuildsForTheFit,
    BuildsWhereNoneIs,
    BuildsWithoutAGuard,
    ConfiguresAlways,
    ConfiguresOnce,
    AppendsLayers,
    ReplacesAHead,
    ReadsTheSizesFromTheData,
    ScalesInSetup,
    RegistersABuffer,
    HooksInSetup,
    ReadsTheNumberOfSteps,
    FreezesWhileItFits,
    MeasuresInSetup,
    TearsDown,
    HasNothingInSetup,
    Lazy,
    LazyInSetup,
]


def made(program: Callable[[], LitBase]) -> LitBase:
    with seeded(5):
        return program()


REBUILT_FOR_A_TEST = {
    BuildsAlways,
    BuildsWithoutAGuard,
    ConfiguresAlways,
    AppendsLayers,
    ReplacesAHead,
    ScalesInSetup,
    RegistersABuffer,
    ReadsTheNumberOfSteps,
    MeasuresInSetup,
    LazyInSetup,
}
"""Programs whose `setup` for the test builds or changes anew what was trained: plain Lightning tests random weights."""


RESUMED = [AppendsLayers, ScalesInSetup, ReadsTheNumberOfSteps, LazyInSetup]
"""Programs whose runs from the initial weights the default suite resumes, beside those from the weights before."""

Whole = Callable[..., Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a run in one call of a program, each made once."""

    @cache
    def in_one_call(program: type[LitBase], reset: str = "initial") -> Any:
        torch.manual_seed(9)
        return run(lambda: made(program), tmp_path_factory.mktemp("whole"), reset=reset, max_epochs=2)

    return in_one_call


@pytest.mark.parametrize(
    "program",
    [
        # As the program before it in the list.
        pytest.param(program, marks=[pytest.mark.slow] if program in (BuildsWithoutAGuard, HasNothingInSetup) else [])
        for program in PROGRAMS
        if program is not ReadsTheSizesFromTheData
    ],
)
def test_each_round_is_the_plain_program(tmp_path: Path, whole: Whole, program: type[LitBase]) -> None:
    module, active, data = whole(program)
    is_tested = program not in REBUILT_FOR_A_TEST
    for number, round in enumerate(active.history):
        torch.manual_seed(9)
        plain = plain_round(lambda: made(program), active, data, number, tmp_path, tested=is_tested, max_epochs=2)
        assert plain.metrics.items() <= round.metrics.items()
    assert same_weights(weights_of(module), plain.weights)
    assert is_tested == bool(plain.metrics)


@pytest.mark.parametrize(
    "program",
    [
        # The tests of the others are those of the plain program, above.
        program
        if program in {*REBUILT_FOR_A_TEST, ReadsTheSizesFromTheData}
        else pytest.param(program, marks=pytest.mark.slow)
        for program in PROGRAMS
    ],
)
def test_a_test_is_of_the_module_that_the_user_has(tmp_path: Path, program: type[LitBase]) -> None:
    module, active, _ = run(lambda: made(program), tmp_path, max_epochs=6)
    assert active.history[-1].metrics["test_loss"] == pytest.approx(loss_of(module), rel=1e-4)
    assert loss_of(module) < 1.0  # a module that was not trained is at 1.4


def loss_of(module: pl.LightningModule) -> float:
    """The test loss by hand, of the module that the user has after the fit."""
    x, y = TEST.tensors
    module.eval()
    with torch.no_grad():
        return float(F.cross_entropy(module(x), y))


@pytest.mark.parametrize(
    ("program", "reset"),
    [
        # Of each kind one: what is built anew, appended, changed in place, read from the Trainer, given a shape late.
        *((program, "initial") for program in RESUMED),
        *(pytest.param(program, "initial", marks=pytest.mark.slow) for program in PROGRAMS if program not in RESUMED),
        (BuildsAlways, "warm"),
        (RegistersABuffer, "warm"),
        (Lazy, "warm"),
    ],
)
def test_a_run_in_one_call_is_the_run_call_by_call_and_the_resumed_one(
    tmp_path: Path, whole: Whole, program: type[LitBase], reset: str
) -> None:
    def picks(active: Any) -> list[Any]:
        return [(round.indices, round.scores, round.metrics) for round in active.history]

    module, active, _ = whole(program, reset)
    for max_rounds in (1, 2):
        torch.manual_seed(9)
        other, resumed, _ = run(
            lambda: made(program), tmp_path, folder=tmp_path / "run", max_rounds=max_rounds, reset=reset, max_epochs=2
        )
    assert picks(resumed) == picks(active)
    assert same_weights(weights_of(other), weights_of(module))


@pytest.mark.parametrize("program", [ConfiguresAlways, ScalesInSetup, HooksInSetup, FreezesWhileItFits, LazyInSetup])
def test_fits_call_by_call_begin_as_the_first(tmp_path: Path, whole: Whole, program: type[LitBase]) -> None:
    module, _, _ = whole(program)
    torch.manual_seed(9)
    other, active, data = run(lambda: made(program), tmp_path / "two", max_epochs=2, rounds_per_fit=1)
    fitting = trainer(tmp_path / "two", callbacks=[active], max_epochs=2)
    while not active.done:
        fitting.fit(other, datamodule=data)
    assert same_weights(weights_of(other), weights_of(module))


@pytest.mark.long
@pytest.mark.parametrize(
    "stages",
    # One that always compiles is in test_compiled.py too.
    [pytest.param({"fit"}, id="where it fits"), pytest.param({"fit", "test"}, id="always", marks=pytest.mark.slow)],
)
def test_a_network_that_setup_compiles_is_compiled_once(tmp_path: Path, stages: set[str]) -> None:
    compilations: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        compilations.append(graph)
        return graph.forward

    class Compiles(LitBase):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def setup(self, stage: str) -> None:
            if stage in stages:
                self.net = torch.compile(self.net, backend=backend, dynamic=True)  # type: ignore[assignment]

    torch._dynamo.reset()
    module, active, data = run(lambda: made(Compiles), tmp_path, acquisition="random", max_epochs=1, max_rounds=1)
    in_one_round = len(compilations)
    plain = plain_round(lambda: made(Compiles), active, data, 0, tmp_path, tested=False, max_epochs=1)
    assert same_weights(weights_of(module), plain.weights)
    torch._dynamo.reset()
    compilations.clear()
    module, _, _ = run(lambda: made(Compiles), tmp_path, acquisition="random", max_epochs=1, max_rounds=3)
    assert 0 < len(compilations) <= in_one_round + 2
    assert [name for name, _ in module.named_modules() if "_orig_mod" in name] == [
        name for name, _ in plain_names(Compiles) if "_orig_mod" in name
    ]


def plain_names(program: type[LitBase]) -> Any:
    module = made(program)
    module.setup("fit")
    return module.named_modules()


def test_a_lazy_layer_that_scoring_does_not_reach_is_refused(tmp_path: Path) -> None:
    class HasAnotherHead(LitBase):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.other = nn.LazyLinear(2)

    with pytest.raises(ValueError, match=r"`HasAnotherHead` has 2 parameters without a shape, such as 'other.weight'"):
        run(HasAnotherHead, tmp_path, max_epochs=1)
