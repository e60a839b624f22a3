"""Embeddings and residuals: what the layer is given, and gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import LastLayer
from lightning_al.task import Binary, Multiclass


def read(net: nn.Module, *batches: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    rows = list(LastLayer(**kwargs).read(net, batches, forward=lambda net, x: net(x), log_probs=Multiclass().log_probs))
    embeddings, residuals = zip(*rows, strict=True)
    return torch.cat(embeddings), torch.cat(residuals)


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))


def test_residual_times_embedding_is_the_gradient_for_the_likeliest_label(net: nn.Sequential) -> None:
    x = torch.randn(7, 6)
    net(x)
    embeddings, residuals = read(net, x[:4], x[4:])
    net.eval()
    for point, embedding, residual in zip(x, embeddings, residuals, strict=True):
        net.zero_grad()
        logits = net(point[None])
        F.cross_entropy(logits, logits.argmax(1)).backward()
        torch.testing.assert_close(torch.outer(residual, embedding), net[4].weight.grad, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(residual, net[4].bias.grad, atol=1e-6, rtol=1e-5)


def test_noise_is_left_out_and_the_network_left_as_it_was(net: nn.Sequential) -> None:
    x = torch.randn(7, 6)
    net.train()
    net[1].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    embeddings, _ = read(net, x)
    assert embeddings.equal(net[2](net[1](net[0](x))))
    assert [part.training for part in net] == [True, False, True, True, True]
    assert all(value.equal(state[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_pre_hooks for part in net.modules())
    assert not embeddings.requires_grad


def test_another_layer_is_taken_by_its_name(net: nn.Sequential) -> None:
    net.eval()
    x = torch.randn(7, 6)
    embeddings, residuals = read(net, x, layer="2")
    assert embeddings.equal(net[1](net[0](x)))
    assert residuals.equal(read(net, x)[1])


def test_what_has_more_axes_is_flattened() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    assert read(net, torch.randn(4, 1, 6, 6), layer="1")[0].shape == (4, 2 * 4 * 4)


class Net(nn.Module):
    """Makes outputs from an embedding by a function that may use any of its layers."""

    def __init__(self, outputs: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        self.outputs = outputs
        self.into, self.head, self.twin = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.side, self.down, self.up = nn.Linear(8, 2), nn.Linear(8, 2), nn.Linear(2, 8)
        self.scale, self.ones = nn.Linear(6, 1), nn.ModuleList(nn.Linear(8, 1) for _ in range(3))
        self.conv = nn.Conv1d(1, 3, 8)

    def forward(self, x: Tensor) -> Any:
        self.given = x
        self.embedding = self.into(x).relu()
        return self.outputs(self, self.embedding)

    def then(self, logits: Tensor, *others: Tensor) -> Tensor:
        """Return logits that were made before others, which are kept."""
        self.others = others
        return logits


ORDINARY: dict[str, Callable[[Net, Tensor], Any]] = {
    "logits": lambda net, e: net.head(e),
    "log-probabilities": lambda net, e: net.head(e).log_softmax(1),
    "probabilities": lambda net, e: net.head(e).softmax(1),
    "one logit": lambda net, e: net.ones[0](e).squeeze(1),
    "sigmoid": lambda net, e: net.ones[0](e).sigmoid(),
    "two columns of one logit": lambda net, e: torch.cat([-net.ones[0](e), net.ones[0](e)], 1).log_softmax(1),
    "learned temperature": lambda net, e: net.head(e) / net.scale(net.given).exp(),
    "clipped": lambda net, e: net.head(e).clamp(-0.1, 0.1),
    "masked": lambda net, e: net.head(e).masked_fill(torch.arange(8) > 2, -torch.inf),
    "prior of the classes": lambda net, e: net.head(e) + torch.arange(8.0),
    "in half precision": lambda net, e: net.head(e).half() / 3,
    "some classes": lambda net, e: net.head(e)[:, [1, 5]],
    "a head for each class": lambda net, e: torch.cat([head(e) for head in net.ones], 1).log_softmax(1),
    "mean of heads": lambda net, e: (net.head(e) + net.twin(e)) / 2,
    "named": lambda net, e: {"logits": net.then(net.head(e), net.up(net.side(e)))},
    "called before others": lambda net, e: net.then(net.head(e), net.side(e)),
    "called before one of its size": lambda net, e: net.then(net.head(e) / 2, net.up(net.down(e))),
}


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("name", ORDINARY)
def test_the_layer_that_makes_the_outputs_is_read(name: str, n: int) -> None:
    net, x = Net(ORDINARY[name]), torch.randn(n, 6)
    [(embeddings,)] = LastLayer().read(net, [x], forward=lambda net, x: net(x), log_probs=None)
    assert embeddings.equal(net.embedding)


@pytest.mark.parametrize(
    "head",
    [
        lambda net, e: F.linear(F.normalize(e), F.normalize(net.head.weight)),
        lambda net, e: net.conv(e[:, None]).squeeze(2),
        lambda net, e: -torch.cdist(e, net.head.weight),
    ],
)
def test_a_network_that_ends_in_another_layer_is_warned_of(head: Any) -> None:
    net, x = Net(head), torch.randn(7, 6)
    with pytest.warns(
        UserWarning, match=r"input of 'into', the last .* `Net` calls, but its outputs do not become those"
    ):
        assert read(net, x)[0].equal(x)


def test_of_layers_whose_outputs_are_added_the_widest_is_read() -> None:
    net, x = Net(lambda net, e: net.head(e) + net.up(net.down(e))), torch.randn(7, 6)
    assert read(net, x)[0].equal(net.embedding)
    assert read(net, x, layer="up")[0].equal(net.down(net.embedding))


def test_each_row_of_a_sequence_is_read() -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    net, x = nn.Sequential(layer, nn.Linear(6, 3)), torch.randn(4, 5, 6)
    [(embeddings,)] = LastLayer().read(net, [x], forward=lambda net, x: net(x).mean(1), log_probs=None)
    torch.testing.assert_close(embeddings, layer.eval()(x).flatten(1))


def test_of_several_linear_layers_the_one_called_last_counts() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out, self.into = nn.Linear(5, 3), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(input=self.into(x))

    net, x = Backwards(), torch.randn(4, 6)
    assert read(net, x)[0].equal(net.into(x))


def test_a_task_that_calls_the_network_does_not_change_the_embeddings() -> None:
    net, x = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 1)), torch.randn(2, 6)

    def log_probs(logits: Tensor) -> Tensor:
        net(torch.zeros(2, 6))
        return Binary().log_probs(logits)

    [(embeddings, _)] = LastLayer().read(net, [x], forward=lambda net, x: net(x), log_probs=log_probs)
    assert embeddings.equal(net[0](x))


@pytest.mark.parametrize("layer", [None, "act"])
def test_embeddings_are_those_before_the_network_changes_them_in_place(layer: str | None) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.act, self.out = nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            embedding = self.act(self.into(x))
            logits = self.out(embedding)
            embedding.zero_()
            return logits

    net, x = InPlace(), torch.randn(4, 6)
    expected = net.into(x) if layer else net.into(x).relu()
    assert read(net, x, layer=layer)[0].equal(expected)


def test_half_the_memory_costs_one_part_in_2048(net: nn.Sequential) -> None:
    x = 100 * torch.randn(50, 6)
    net[2] = nn.Identity()
    whole, half = read(net, x), read(net, x, dtype="float16")
    for exact, stored in zip(whole, half, strict=True):
        assert stored.dtype == torch.float16
        assert ((stored - exact).abs() <= torch.clamp(exact.abs() / 2048, min=3e-8)).all()
        assert not stored.float().equal(exact)


def test_what_cannot_be_read_is_refused(net: nn.Sequential) -> None:
    x = torch.randn(4, 6)
    with pytest.raises(ValueError, match=r"no layer 'head' in `Sequential`. Pass `layer=`, one of: 0, 1, 2, 3, 4\."):
        read(net, x, layer="head")
    with pytest.raises(ValueError, match=r"no linear layer in `Sequential`. Pass `layer=`, one of: 0"):
        read(nn.Sequential(nn.Conv1d(6, 3, 1), nn.Flatten()), x[:, :, None])
    net.add_module("idle", nn.Identity())
    with pytest.raises(ValueError, match=r"`Sequential` to use its layer 'idle', but the forward pass did not call it"):
        list(
            LastLayer("idle").read(net, [x], forward=lambda net, x: net[4](net[0](x)), log_probs=Multiclass().log_probs)
        )
    with pytest.raises(ValueError, match=r"embeddings of at most 65,504, but got 1e\+05. Pass `dtype='float32'`"):
        read(nn.Linear(2, 2), torch.tensor([[1e5, 1.0]]), dtype="float16")
    with pytest.raises(ValueError, match=r"`dtype` to be one of float32, float16, but got 'bfloat16'"):
        LastLayer(dtype="bfloat16")  # type: ignore[arg-type]
