"""The checks for third parties pass on right ones, and name the fault of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_al import (
    BALD,
    Acquisition,
    BatchBALD,
    Candidates,
    Deterministic,
    MCDropout,
    Posterior,
    PosteriorSamples,
    Selection,
    available,
)
from lightning_al.acquisition import create
from lightning_al.testing import check_acquisition, check_posterior
from tests.doors.test_methods import EPIG, Subsample
from tests.doors.test_posteriors import features_of

LIKE_ANOTHER = ("least_confidence", "margin", "variation_ratio", "power_margin", "softmax_bald", "softrank_bald")
"""Those that read what `entropy` or `power_bald` reads, by the same lines."""


@pytest.mark.parametrize(
    "acquisition",
    [
        *(pytest.param(create(name), marks=[pytest.mark.slow] * (name in LIKE_ANOTHER)) for name in available()),
        *(EPIG(), Subsample(BALD(), 30)),
        pytest.param(BatchBALD(10), marks=pytest.mark.slow),  # `batchbald` with fewer samples of outcomes
    ],
)
def test_right_methods_pass(acquisition: Acquisition) -> None:
    check_acquisition(acquisition)


@pytest.mark.parametrize("posterior", [Deterministic(), MCDropout(5), MCDropout(1)])
def test_right_posteriors_pass(posterior: Posterior) -> None:
    check_posterior(posterior)


class Wrong(Acquisition):
    def scores(self, candidates: Candidates) -> Tensor:
        return candidates.log_probs_N_K_C.exp().mean(1).amax(1)


class Repeats(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        position = self.scores(candidates).argmax()
        return Selection(position.repeat(min(b, len(candidates))), torch.zeros(min(b, len(candidates))))


class DrawsGlobally(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.randperm(len(candidates))[:b], torch.zeros(min(b, len(candidates))))


class HasItsOwnSeed(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        own = torch.Generator().manual_seed(7)
        return Selection(torch.randperm(len(candidates), generator=own)[:b], torch.zeros(min(b, len(candidates))))


class ReadsTheClock(Wrong):
    calls = 0

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        ReadsTheClock.calls += 1
        order = self.scores(candidates).argsort().roll(ReadsTheClock.calls)
        return Selection(order[:b], torch.zeros(min(b, len(candidates))))


class DependsOnTheBatch(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        means = [chunk.exp().mean(1).amax(1) for chunk in candidates.chunks()]
        scores = torch.cat([mean - mean.mean() for mean in means])
        values, positions = scores.sort(descending=True, stable=True)
        return Selection(positions[:b], values[:b])


class ChangesItsInput(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        scores = candidates.log_probs_N_K_C.mul_(0.5).exp().mean(1).amax(1)
        values, positions = scores.sort(descending=True, stable=True)
        return Selection(positions[:b], values[:b])


class TooMany(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.arange(b), torch.zeros(b))


class ScoresNaN(Wrong):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        p = candidates.log_probs_N_K_C.exp().mean(1)
        values, positions = (p * p.log()).sum(1).sort()
        return Selection(positions[:b], values[:b])


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (Repeats(), "repeats a position"),
        (DrawsGlobally(), "draws from torch's global generator"),
        (HasItsOwnSeed(), "ignores the generator: of candidates that are all the same"),
        (ReadsTheClock(), "ignores the generator: with the same state"),
        (DependsOnTheBatch(), "depends on the batch"),
        (ChangesItsInput(), "changes its input in place"),
        (TooMany(), "selects 27 candidates for b = 27"),
        (ScoresNaN(), "none of them NaN"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Acquisition) else "",
)
def test_wrong_methods_are_named(wrong: Acquisition, fault: str) -> None:
    with pytest.raises(AssertionError, match=rf"`{type(wrong).__name__}` .*{fault}|`{type(wrong).__name__}` {fault}"):
        check_acquisition(wrong)


class Noisy(Posterior):
    """Adds Gaussian noise to the last bias: right as it is, and wrong in one way by each of its flaws."""

    num_samples = 3

    def __init__(self, flaw: str = "none") -> None:
        self.flaw = flaw

    def draw(self, fits: Any, module: Any, labelled: Any, *, forward: Any, seed: int) -> Any:
        generator = torch.Generator().manual_seed(0 if self.flaw == "ignores the seed" else seed)
        noise = torch.randn(3, 4, generator=generator)
        if self.flaw == "global":
            noise = torch.randn(3, 4)
        if self.flaw == "changes the labelled":
            labelled[0][0].zero_()
        if self.flaw == "changes the fits":
            next(iter(fits[0].weights.values())).add_(1)
        if self.flaw == "changes the network in draw":
            with torch.no_grad():
                next(module.parameters()).add_(1)
        if self.flaw == "sets the global seed":
            torch.manual_seed(5)
            noise = torch.randn(3, 4)
        if self.flaw == "no samples":
            return list(noise)
        return NoisySamples(self.flaw, module, forward, noise)


class NoisySamples(PosteriorSamples):
    num_samples = 3

    def __init__(self, flaw: str, module: nn.Module, forward: Any, noise: Tensor) -> None:
        self.flaw, self.module, self.forward, self.noise = flaw, module, forward, noise
        self.calls = 0

    def outputs(self, batch: Any) -> Any:
        self.calls += 1
        if self.flaw == "changes a batch":
            batch[0].mul_(0.0)
        if self.flaw == "changes the network":
            with torch.no_grad():
                next(self.module.parameters()).add_(1)
        output = self.forward(self.module, batch)
        if self.flaw == "batch":
            output = output - output.mean(0)
        if self.flaw == "order":
            output = output * torch.linspace(1, 2, len(output))[:, None]
        noise = self.noise + self.calls if self.flaw == "again" else self.noise
        yield from (output + one for one in (noise[:2] if self.flaw == "too few" else noise))


def test_a_posterior_of_a_third_party_passes() -> None:
    check_posterior(Noisy())


@pytest.mark.parametrize(
    ("flaw", "fault"),
    [
        ("no samples", "returns list"),
        ("too few", "promises 3 samples, but its `outputs` yields 2"),
        ("ignores the seed", "ignores the seed"),
        ("global", "draws from torch's global generator"),
        ("again", "other outputs when it is asked again"),
        ("batch", "depends on the batch"),
        ("order", "depends on the batch"),
        ("changes a batch", "changes a batch in place"),
        ("changes the labelled", "changes a batch of the labelled points in place"),
        ("changes the fits", "changes the weights of a fit"),
        ("changes the network", "changes the network"),
        ("changes the network in draw", "changes the network"),
        ("sets the global seed", "draws from torch's global generator"),
    ],
)
def test_wrong_posteriors_are_named(flaw: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_posterior(Noisy(flaw))


def test_a_posterior_is_checked_on_a_network_of_one_s_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout(0.2), nn.Linear(3, 2))
    with features_of(net[1]) as seen:
        check_posterior(MCDropout(3), module=net, inputs=torch.randn(9, 3, 4))
    assert {tuple(values.shape[1:]) for values in seen} == {(12,)}
