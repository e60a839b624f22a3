"""The test of the posterior mean, against definitions written out point by point."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from lightning_al import Deterministic, MCDropout
from lightning_al.posterior import Posterior
from lightning_al.target import Target
from lightning_al.testing import PosteriorTest

N, FEATURES, CLASSES = 50, 6, 4


def logits(module: nn.Module, batch: Any) -> Tensor:
    return module(batch[0])


def network(scale: float = 2.0) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(FEATURES, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, CLASSES)).double()
    with torch.no_grad():
        net[3].weight.mul_(scale)
    return net


def batches(size: int) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, FEATURES, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (N,), generator=generator)
    return list(zip(x.split(size), y.split(size), strict=True))


def measure(posterior: Posterior, net: nn.Module, some: list[Any], target: Any = None) -> dict[str, float]:
    test = PosteriorTest(posterior, logits, Target(target), seed=5)
    for batch in some:
        test.update(net, batch)
    return test.compute()


def slow_measure(log_probs_N_K_C: Tensor, labels: list[int], bins: int = 15) -> dict[str, float]:
    """Average probabilities over samples, then accuracy, NLL and the gaps of `bins` bins of confidence, by hand."""
    right, losses = 0, []
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for samples, label in zip(log_probs_N_K_C.tolist(), labels, strict=True):
        probs = [sum(math.exp(sample[c]) for sample in samples) / len(samples) for c in range(len(samples[0]))]
        confidence = max(probs)
        is_right = probs.index(confidence) == label
        right += is_right
        losses.append(-math.log(probs[label]))
        members[min(int(confidence * bins), bins - 1)].append((confidence, is_right))
    gaps = [abs(sum(right for _, right in some) - sum(confidence for confidence, _ in some)) for some in members]
    return {
        "posterior_accuracy": right / len(labels),
        "posterior_nll": sum(losses) / len(labels),
        "posterior_ece": sum(gaps) / len(labels),
    }


@pytest.mark.parametrize("posterior", [MCDropout(10), Deterministic()])
@pytest.mark.parametrize("size", [50, 16, 1])
def test_the_figures_equal_their_definitions_for_any_batches(posterior: Posterior, size: int) -> None:
    net = network()
    [log_probs] = posterior.predict(net, [batches(N)[0]], logits=logits, seed=5)
    expected = slow_measure(log_probs, batches(N)[0][1].tolist())
    measured = measure(posterior, net, batches(size))
    assert measured == pytest.approx(expected, abs=1e-5)


def test_it_averages_probabilities_and_not_logits() -> None:
    net, [batch] = network(scale=8.0), batches(N)
    [log_probs] = MCDropout(10).predict(net, [batch], logits=logits, seed=5)
    of_logits = slow_measure(log_probs.mean(1, keepdim=True).log_softmax(-1), batch[1].tolist())
    assert abs(measure(MCDropout(10), net, [batch])["posterior_nll"] - of_logits["posterior_nll"]) > 0.01


@pytest.mark.parametrize("num_samples", [1, 3, 7, 20, 50, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_predictions_are_certain(num_samples: int, dtype: torch.dtype) -> None:
    """A probability that rounding takes past 1 must not be taken for a logit."""

    class Certain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(torch.ones_like(x), 0.5) * 0 + x

    x = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0], [0.3, 0.2, 200.0], [3.0, 2.0, 2.5]], dtype=dtype)
    y = torch.tensor([0, 1, 2, 0])
    posterior = MCDropout(num_samples)
    [log_probs] = posterior.predict(Certain(), [(x, y)], logits=logits, seed=5)
    assert measure(posterior, Certain(), [(x, y)]) == pytest.approx(slow_measure(log_probs, y.tolist()), abs=1e-5)


def test_labels_are_found_in_any_batch() -> None:
    net, [(x, y)] = network(), batches(N)
    expected = measure(MCDropout(4), net, [(x, y)])
    as_items = default_collate([{"x": one, "klass": int(label)} for one, label in zip(x, y, strict=True)])
    test = PosteriorTest(MCDropout(4), lambda module, batch: module(batch["x"]), Target("klass"), seed=5)
    test.update(net, as_items)
    assert test.compute() == expected
    reordered = PosteriorTest(MCDropout(4), lambda module, batch: module(batch[1]), Target(0), seed=5)
    reordered.update(net, (y, x))
    assert reordered.compute() == expected


def test_nothing_tested_gives_no_figures() -> None:
    assert PosteriorTest(MCDropout(4), logits, Target(), seed=0).compute() == {}


def test_the_module_s_mode_is_left_alone() -> None:
    net = network()
    measure(MCDropout(4), net, batches(16))
    assert net.training
    assert torch.is_grad_enabled()
