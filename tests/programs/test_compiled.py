"""Networks that a user compiles: scoring compiles nothing, and the picks are those of the network as it was written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, LastLayer, MCDropout
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from tests.support.tasks import CLASSES, FEATURES, points, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # Said by torch itself, of its own compiler.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


class Counting:
    """A compiler that compiles nothing, and counts what it was asked to compile."""

    def __init__(self) -> None:
        self.compilations = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        self.compilations += 1
        return graph.forward


class Layers(nn.Sequential):
    """Layers as a class of the user's: torch 2.11 compiles nothing where its own Sequential is compiled in place."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


class Lit(pl.LightningModule):
    """A small classifier with dropout, from the same weights each time."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.net = Layers(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class CompiledPart(Lit):
    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.net = torch.compile(self.net, backend=counting)


class CompiledInPlace(Lit):
    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.net.compile(backend=counting)


class CompiledInSetup(Lit):
    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def setup(self, stage: str) -> None:
        self.net = torch.compile(self.net, backend=self.counting)


class CompiledMethod(Lit):
    """Compiles what it computes by a method of its own."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.centred = torch.compile(self._centred, backend=counting)

    def _centred(self, x: Tensor) -> Tensor:
        return self.net(x - x.mean(1, keepdim=True) + x.mean(1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.centred(x)


def compiled_as_a_whole(counting: Counting) -> Any:
    return torch.compile(Lit(), backend=counting)


class ByNorm(Acquisition):
    def select(self, candidates: Any, b: int, generator: torch.Generator) -> Selection:
        scores, positions = candidates.embeddings_N_D.norm(dim=1).topk(b)
        return Selection(positions, scores)


class Noting(pl.Callback):
    """Notes how much was compiled when the training of a round ended, before the pool is scored, and afterwards."""

    def __init__(self, counting: Counting) -> None:
        self.counting = counting
        self.before: list[int] = []
        self.after: list[int] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.before.append(self.counting.compilations)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.after.append(self.counting.compilations)


def run(tmp_path: Path, make: Callable[[Counting], Any], acquisition: Any, **kwargs: Any) -> tuple[Any, list[int]]:
    torch._dynamo.reset()
    counting = Counting()
    noting = Noting(counting)
    data = ActiveDataModule(points(60), initial_size=16, batch_size=8, pool_batch_size=7, seed=2)
    active = ActiveLearning(acquisition, query_size=8, max_rounds=3, seed=1, **kwargs)
    settings: Any = {"max_epochs": 1, "num_sanity_val_steps": 2}
    trainer(tmp_path, callbacks=[active, noting], **settings).fit(make(counting), datamodule=data)
    return active.history, noting.before


def same_picks(one: Any, other: Any) -> bool:
    return all(
        round.indices == another.indices and round.scores == pytest.approx(another.scores, abs=1e-5)
        for round, another in zip(one, other, strict=True)
    )


COMPILED = [CompiledPart, CompiledInPlace, CompiledInSetup, CompiledMethod, compiled_as_a_whole]


@pytest.fixture(scope="module")
def plain_picks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Any]:
    """Return the history of a run in which nothing is compiled; each is made once."""

    @cache
    def picks(acquisition: Any) -> Any:
        return run(tmp_path_factory.mktemp("plain"), lambda counting: Lit(), acquisition, posterior=MCDropout(3))[0]

    return picks


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "acquisition"),
    [
        *((make, "bald") for make in COMPILED),
        (CompiledPart, ByNorm()),
        # Each compiles as for `bald`, and its last layer is found as in `CompiledPart`.
        *(pytest.param(make, ByNorm(), marks=pytest.mark.slow) for make in COMPILED[1:]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_compiled_for_training_is_compiled_once_a_run(
    tmp_path: Path, plain_picks: Callable[[Any], Any], make: Any, acquisition: Any
) -> None:
    picks, compilations = run(tmp_path, make, acquisition, posterior=MCDropout(3))
    assert compilations[0] > 0
    # Neither the dry pass, nor the pools of two rounds, nor the rounds after the first let anything be compiled anew.
    assert compilations == compilations[:1] * 3
    assert same_picks(picks, plain_picks(acquisition))


def test_a_layer_of_a_compiled_network_is_named_as_it_was_written(tmp_path: Path) -> None:
    named, _ = run(tmp_path, CompiledPart, ByNorm(), last_layer=LastLayer(layer="net.3"))
    assert same_picks(named, run(tmp_path, CompiledPart, ByNorm())[0])
