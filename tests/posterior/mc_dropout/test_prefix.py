"""What comes before the first dropout is computed once, and nobody can tell by the results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.posterior import MCDropout
from tests.support.samples import log_probs_of


class Counting(TorchDispatchMode):
    """Note how many points each result of one operation has; those of the few points tried out are fewer."""

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op = op
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket == self.op:
            self.sizes.append(len(result))
        return result


class Residual(nn.Module):
    """Adds what dropout leaves to what came before it, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        dropped = nn.functional.dropout(hidden, 0.5)
        if self.in_place:
            hidden += dropped
        else:
            hidden = hidden + dropped
        return self.last(hidden)


class Iterating(nn.Module):
    """Goes through the rows of a tensor, by an iterator that can be used only once."""

    def __init__(self, iterate: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.iterate = iterate

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.stack([row * 2 for row in self.first(x)]) if self.iterate else self.first(x) * 2
        return self.last(nn.functional.dropout(hidden, 0.5))


class ScalesItsInput(nn.Module):
    """Changes its input in place, which is wrong to do twice."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(6, 3)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        x = x.mul_(0.5) if self.in_place else x * 0.5
        return self.last(nn.functional.dropout(x, 0.5))


def predict(module: nn.Module, x: Tensor) -> Tensor:
    batches = [batch.clone() for batch in x.split(4)]
    return torch.cat(list(log_probs_of(MCDropout(5), module, batches, seed=3)))


def test_the_prefix_runs_once_a_batch_and_the_rest_once_a_sample() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    with Counting(torch.ops.aten.convolution) as convolutions:
        predict(net, torch.randn(12, 1, 4, 4))
    assert convolutions.sizes.count(4) == 3
    with Counting(torch.ops.aten.addmm) as products:
        predict(net, torch.randn(12, 1, 4, 4))
    assert products.sizes.count(4) == 3 * 5


@pytest.mark.parametrize("network", [Residual, Iterating, ScalesItsInput])
def test_a_network_that_could_tell_predicts_as_one_that_cannot(network: Any) -> None:
    x = torch.randn(10, 6)
    one, other = predict(network(True), x), predict(network(False), x)
    assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(one[:, 0], one[:, 1], atol=1e-3)


def test_inference_mode_gives_the_same() -> None:
    x, net = torch.randn(10, 6), Residual(in_place=False)
    with torch.inference_mode():
        inside = predict(net, x)
    assert torch.equal(inside, predict(net, x))
