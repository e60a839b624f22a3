"""Networks that were compiled are scored as they were written, without compiling anything for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_al import Deterministic, LastLayer, MCDropout
from tests.support.samples import log_probs_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Counting:
    """A compiler that compiles nothing, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.compilations = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        self.compilations += 1
        return graph.forward


def make() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5))
    return nn.Sequential(body, nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def whole(counting: Counting) -> nn.Module:
    net: nn.Module = torch.compile(make(), backend=counting)  # type: ignore[assignment]
    return net


def part(counting: Counting) -> nn.Module:
    net = make()
    net[0] = torch.compile(net[0], backend=counting)  # type: ignore[assignment]
    return net


class Own(nn.Sequential):
    """One that is not torch's own, which torch 2.6 does not compile in place."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


def in_place(counting: Counting) -> nn.Module:
    net = Own(*make())
    net.compile(backend=counting)
    return net


def call(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch)


def read(last_layer: LastLayer, net: nn.Module, pool: Tensor) -> Any:
    return last_layer.read(net, [pool], forward=call, log_probs=lambda logits: logits.log_softmax(1))


def step(net: nn.Module, pool: Tensor) -> None:
    net.train()
    net(pool).sum().backward()


@pytest.mark.parametrize("make_compiled", [whole, part, in_place])
def test_scoring_compiles_nothing_and_training_stays_compiled(make_compiled: Any) -> None:
    torch._dynamo.reset()
    counting = Counting()
    net, pool = make_compiled(counting), torch.randn(7, 8)
    step(net, pool)
    before = counting.compilations
    assert before > 0
    scored: list[tuple[Any, Any]] = [
        (
            log_probs_of(one, net, pool.split(3), forward=call, seed=1),
            log_probs_of(one, make(), pool.split(3), forward=call, seed=1),
        )
        for one in (MCDropout(5), Deterministic())
    ]
    scored.append((read(LastLayer(), net, pool), read(LastLayer(), make(), pool)))
    for ours, plain in scored:
        for one, other in zip(ours, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    step(net, pool)
    assert counting.compilations == before


def test_layers_have_the_names_of_the_network_as_it_was_written() -> None:
    net, pool = part(Counting()), torch.randn(7, 8)
    [(embeddings, _)] = read(LastLayer(layer="0.0"), net, pool)
    assert torch.equal(embeddings, pool)
    with pytest.raises(ValueError, match=r"found no layer 'head' in `Sequential`. Pass `layer=`, one of: 0, 0.0, 0.1"):
        list(read(LastLayer(layer="head"), net, pool))


def test_a_compiled_function_is_run_as_it_was_written() -> None:
    counting = Counting()

    @torch.compile(backend=counting)
    def activation(x: Tensor) -> Tensor:
        return x.tanh() + 1

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(activation(x))

    list(log_probs_of(MCDropout(3), Net(), torch.randn(9, 8).split(2), forward=call, seed=0))
    assert counting.compilations == 0
