"""A few points are scored before the first step: what cannot work fails there, and nothing is changed by it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, LastLayer, MCDropout
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from lightning_al.points import Candidates
from tests.support.plain import same_weights, weights_of
from tests.support.tasks import CLASSES, FEATURES, LitMLP, LitPoints, points, trainer


class Steps(pl.Callback):
    """Counts the steps that were trained."""

    def __init__(self) -> None:
        self.number = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.number += 1


def fit(
    tmp_path: Path, module: pl.LightningModule, acquisition: Any = "bald", dry: bool = True, **kwargs: Any
) -> tuple[ActiveLearning, int]:
    """Fit two rounds, and return how many steps were trained, whatever came of it."""
    steps = Steps()
    kwargs.setdefault("posterior", MCDropout(3))
    active = ActiveLearning(acquisition, query_size=4, max_rounds=kwargs.pop("max_rounds", 3), seed=1, **kwargs)
    data = ActiveDataModule(points(60), initial_size=8, batch_size=8, seed=2)
    try:
        trainer(tmp_path, callbacks=[active, steps], num_sanity_val_steps=2 if dry else 0).fit(module, datamodule=data)
    except Exception as error:
        error.add_note(f"{steps.number} steps")
        raise
    return active, steps.number


class NoDropout(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, CLASSES))


class TwoArguments(LitMLP):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.net(x * mask)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x, torch.ones_like(x)), y)


class Probabilities(LitMLP):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class NaNs(LitMLP):
    """Has no number for some points: those whose first feature is above 3."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) / (x[:, :1] < 3)


class OneLogit(LitMLP):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, :1]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] % 2).float())


class Raises(LitMLP):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise ZeroDivisionError("of the user's own")
        return self.net(x)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (NoDropout, ValueError, r"found no dropout in `NoDropout`"),
        (
            TwoArguments,
            TypeError,
            r"`TwoArguments` failed .*\[4, 8\] of float32: TypeError: .*missing 1.*`forward=",
        ),
        (Probabilities, ValueError, "gave probabilities"),
        (NaNs, ValueError, r"`NaNs` gave NaN or Inf for \d of 6 unlabelled points.*Its weights are finite"),
        (OneLogit, ValueError, r"gave \[\d, 1\]. If this is the logit"),
    ],
)
def test_what_cannot_be_scored_fails_before_the_first_step(
    tmp_path: Path, make: Callable[[], LitMLP], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"(?s){message}.*found by the dry pass before round 0") as caught:
        fit(tmp_path, make(), MCDropoutFree() if make is OneLogit else "bald")
    assert "0 steps" in caught.value.__notes__


def MCDropoutFree() -> str:
    return "entropy"


def test_an_exception_of_another_kind_keeps_its_kind_and_says_when_it_came(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="of the user's own") as caught:
        fit(tmp_path, Raises(), "entropy", posterior="deterministic")
    assert any("before round 0" in note for note in caught.value.__notes__)
    assert any("Pass `forward=`" in note for note in caught.value.__notes__)
    assert "0 steps" in caught.value.__notes__


class Embeddings(Acquisition):
    """Asks for the embeddings of largest norm."""

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        scores, positions = candidates.embeddings_N_D.norm(dim=1).topk(b)
        return Selection(positions, scores)


class TooFew(Acquisition):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.zeros(0, dtype=torch.long), torch.zeros(0))


class Convolutional(LitMLP):
    """Has no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, CLASSES, FEATURES), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(1))


@pytest.mark.parametrize(
    ("make", "acquisition", "message"),
    [
        (Convolutional, Embeddings(), "found no linear layer in `Convolutional`"),
        (LitMLP, TooFew(), "`TooFew.select` should return 4 different positions"),
    ],
)
def test_a_method_that_does_not_fit_fails_before_the_first_step(
    tmp_path: Path, make: Any, acquisition: Acquisition, message: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}.*before round 0") as caught:
        fit(tmp_path, make(), acquisition)
    assert "0 steps" in caught.value.__notes__
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        fit(tmp_path, make(), acquisition, dry=False)
    assert "0 steps" not in caught.value.__notes__


def test_layers_by_name_are_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)found no layer 'head' in `LitMLP`.*before round 0"):
        fit(tmp_path, LitMLP(), Embeddings(), last_layer=LastLayer(layer="head"))


class Shortlist(Acquisition):
    """A method of the user's own that takes for granted that a pool is larger than a handful."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.sizes: list[int] = []

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        self.sizes.append(len(candidates))
        scores = -candidates.log_probs_N_K_C.exp().mean(1).amax(1)
        _, shortlist = scores.topk(self.first)
        return Selection(shortlist[:b], scores[shortlist[:b]])


def test_a_method_that_needs_a_pool_of_some_size_is_not_refused(tmp_path: Path) -> None:
    acquisition = Shortlist(first=30)
    active, _ = fit(tmp_path, LitMLP(), acquisition)
    assert len(active.history) == 3
    # What it keeps is of the real pools alone: it was a copy that was tried.
    assert acquisition.sizes == [52, 48]
    with pytest.raises(RuntimeError, match=r"(?s)selected index k out of range.*before round 0"):
        fit(tmp_path, LitMLP(), Shortlist(first=53))


class Stateful(LitMLP):
    """Everything that a pass over points may change: buffers, statistics, weights, attributes, and generators."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, FEATURES, max_norm=0.5)
        nn.init.normal_(self.embed.weight, std=3.0)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()), persistent=False)
        self.norm = nn.BatchNorm1d(FEATURES)
        self.calls = 0
        self.shapes: list[Any] = []
        self.running = torch.zeros(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.seen += len(x)
            self.replaced = self.replaced + 1
            self.running.lerp_(x.mean(0), 0.1)
            # A part of the weights is rescaled in place where an embedding has a largest norm.
            shift = self.embed(torch.arange(CLASSES, device=x.device)).mean()
        self.calls += 1
        self.shapes.append(tuple(x.shape))
        # Little enough that a point is still taken for the same point in two batches.
        state = float(self.seen) + self.calls + len(self.shapes) + self.running + self.replaced
        return self.net(self.norm(x) * (1 + 1e-7 * state) + shift)


class Noisy(LitPoints):
    """Counts what its transfer hooks do, and draws from every generator there."""

    transfers = 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        Noisy.transfers += 1
        x, y = batch
        return x + 1e-3 * random.random() + 1e-3 * float(np.random.rand()) + 1e-3 * torch.rand(()), y


@pytest.mark.parametrize("acquisition", ["bald", "batchbald", "random", Embeddings()])
def test_a_run_is_the_same_with_and_without_it(tmp_path: Path, acquisition: Any) -> None:
    def run(dry: bool) -> Any:
        torch.manual_seed(0)
        module, data = Stateful(), ActiveDataModule(Noisy(), initial_size=8, seed=2)
        active = ActiveLearning(acquisition, query_size=4, max_rounds=3, seed=1, posterior=MCDropout(5))
        Noisy.transfers = 0

        class Before(pl.Callback):
            """Looks at what the first step begins with."""

            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                if trainer.global_step == 0 and len(active.history) == 0:
                    modes = [part.training for part in module.modules()]
                    grads = [weight.grad is None for weight in module.parameters()]
                    states = random.random(), float(np.random.rand()), float(torch.rand(()))
                    seen.append((weights_of(module), (modes, grads, states, module.calls, module.shapes[:])))
                    seen.append(module.running.clone())

        seen: list[Any] = []
        # Lightning's own check of the validation set is left out in both.
        fitting = trainer(
            tmp_path, callbacks=[active, Before()], num_sanity_val_steps=1 if dry else 0, limit_val_batches=0
        )
        fitting.fit(module, datamodule=data)
        picks = [(round.indices, round.scores, round.metrics, round.class_counts) for round in active.history]
        return seen, weights_of(module), picks, (module.calls, module.shapes), Noisy.transfers

    (start, end, picks, counted, transfers), (other_start, other_end, other_picks, other_counted, others) = (
        run(dry=True),
        run(dry=False),
    )
    assert same_weights(start[0][0], other_start[0][0])
    assert start[0][1] == other_start[0][1]
    assert torch.equal(start[1], other_start[1])
    assert same_weights(end, other_end)
    assert picks == other_picks
    assert counted == other_counted
    # A random choice reads nothing, so nothing is scored for it.
    assert transfers == others if acquisition == "random" else transfers > others


class Counting(Deterministic.__mro__[1]):  # type: ignore[misc]
    """A posterior of the user's own that counts how often it is drawn from."""

    passes = 0
    num_samples = 1

    def draw(self, *arguments: Any, **named: Any) -> Any:
        Counting.passes += 1
        return Deterministic().draw(*arguments, **named)


def passes(tmp_path: Path, dry: bool = True, **kwargs: Any) -> int:
    Counting.passes = 0
    active, _ = fit(tmp_path, LitMLP(), "entropy", posterior=Counting(), dry=dry, **kwargs)
    return Counting.passes - sum(bool(round.indices) for round in active.history)


def test_it_comes_once_a_call_and_where_something_will_be_asked(tmp_path: Path) -> None:
    assert passes(tmp_path) == 1
    assert passes(tmp_path, dry=False) == 0
    assert passes(tmp_path, max_rounds=1) == 0
    assert passes(tmp_path, budget=8) == 0


def test_a_resumed_process_tries_its_first_fit(tmp_path: Path) -> None:
    def go_on(max_rounds: int) -> ActiveLearning:
        active = ActiveLearning(
            "entropy", query_size=4, max_rounds=max_rounds, posterior=Counting(), folder=tmp_path / "run", seed=1
        )
        data = ActiveDataModule(points(60), initial_size=8, batch_size=8, seed=2)
        torch.manual_seed(0)
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(LitMLP(), datamodule=data)
        return active

    go_on(2)
    Counting.passes = 0
    go_on(4)
    assert Counting.passes == 1 + 2


def test_a_pool_of_few_points_is_tried_too(tmp_path: Path) -> None:
    for size in (9, 10, 12, 13, 14):
        active = ActiveLearning("batchbald", query_size=1, max_rounds=2, posterior=MCDropout(5))
        data = ActiveDataModule(points(size), initial_size=8, batch_size=8)
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2, max_epochs=1).fit(LitMLP(), datamodule=data)
        assert len(active.history) == 2


def test_batches_of_one_point_are_tried_where_the_user_scores_so(tmp_path: Path) -> None:
    class Squeezed(LitMLP):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).squeeze(0)

    data = ActiveDataModule(points(60), initial_size=8, batch_size=8, pool_batch_size=1)
    active = ActiveLearning("entropy", query_size=4, max_rounds=2, posterior="deterministic")
    with pytest.raises(ValueError, match=r"(?s)gave \[4\].*before round 0"):
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(Squeezed(), datamodule=data)
