"""Leaving dropped channels out of the arithmetic changes nothing but the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_al import MCDropout
from lightning_al.demos.networks import paper_cnn
from lightning_al.posterior.mc_dropout import sparse
from tests.support.samples import log_probs_of


def predict(net: nn.Module, x: Tensor, num_samples: int = 6) -> Tensor:
    [log_probs] = log_probs_of(MCDropout(num_samples), net, [x], seed=0)
    return log_probs


class Images(nn.Module):
    """Two convolutions around what is tried, and a classifier."""

    shape: tuple[int, ...] = (2, 8, 8)

    def __init__(self, part: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.drop, self.part, self.out = nn.Dropout2d(0.4), part, nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.part(self.drop(self.first(x))).flatten(1))


def through(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(6, 8, 3), *parts)


def in_two_uses(x: Tensor) -> Tensor:
    return F.relu(x) + F.max_pool2d(x, 3, 1, 1)


def joined(x: Tensor) -> Tensor:
    return torch.cat([x, F.relu(x)], dim=1)


def in_place(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True) * 2


def written_to(x: Tensor) -> Tensor:
    y = F.relu(x)
    y += 1
    return y + x


def source_changed(x: Tensor) -> Tensor:
    dropped = F.dropout2d(F.relu(x) + 1, 0.5)
    source = x * 1
    other = F.dropout2d(source, 0.5)
    source.mul_(3)
    return other + source + dropped


def changed_in_place(x: Tensor) -> Tensor:
    x.mul_(2)
    x[:, 0] = 1.0
    return F.relu(x)


def looked_at(x: Tensor) -> Tensor:
    assert x.shape == (len(x), 6, *x.size()[2:])
    assert x.dim() == x.ndim == 4
    assert x.dtype == torch.float64
    return x.view(len(x), -1) * x.numel() / x.shape[0]


def with_lists(x: Tensor) -> Tensor:
    weight = torch.linspace(-1, 1, 4 * 6 * 9, dtype=x.dtype).view(4, 6, 3, 3)
    return F.max_pool2d(F.conv2d(F.max_pool2d(x, [2, 2]), weight, stride=[1, 1], padding=[1, 1]), [2, 2])


def divided_in_place(x: Tensor) -> Tensor:
    source = torch.arange(1.0, 1 + x.numel(), dtype=x.dtype).view_as(x) + x
    other = F.dropout2d(source, 0.5)
    source //= 2
    return other + source


def viewed(x: Tensor) -> Tensor:
    units = F.relu(x).view(-1, 216)
    weight = torch.linspace(-1, 1, 7 * 216, dtype=x.dtype).view(7, 216)
    return F.linear(units, weight) + F.linear(x.reshape((len(x), -1)), weight)


def view_changed(x: Tensor) -> Tensor:
    flat, other = x.view(len(x), 216), x.flatten(1)
    flat += 1
    return torch.cat([other, F.relu(x).flatten(1), flat], dim=1)


def changed_after_view(x: Tensor) -> Tensor:
    flat = x.view(len(x), -1)
    x += 1
    return F.relu(flat)


def with_indices(x: Tensor) -> Tensor:
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    return pooled + indices


PARTS: dict[str, Callable[[], Any]] = {
    "convolution": through,
    "strides and padding": lambda: nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1, 2), nn.AvgPool2d(2)),
    "no bias": lambda: nn.Conv2d(6, 4, 3, bias=False),
    "groups": lambda: nn.Conv2d(6, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3),
    "padding by reflection": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    "channels dropped again": lambda: through(nn.Dropout2d(0.5), nn.MaxPool2d(2)),
    "dropped after a function": lambda: through(nn.Tanh(), nn.Dropout2d(0.5), nn.ReLU()),
    "dropped twice in a row": lambda: nn.Sequential(nn.Dropout2d(0.3), nn.ReLU(), nn.Dropout2d(0.3)),
    "units dropped again": lambda: through(nn.Flatten(), nn.Linear(128, 10), nn.ReLU(), nn.Dropout(0.5)),
    "single pixels dropped": lambda: through(nn.Dropout(0.5)),
    "all dropped": lambda: through(nn.Dropout2d(1.0)),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)),
    "alpha dropout": lambda: through(nn.FeatureAlphaDropout(0.5)),
    "mean over pixels": lambda: nn.AdaptiveAvgPool2d(1),
    "sigmoid": lambda: nn.Sigmoid(),
    "two uses": lambda: in_two_uses,
    "joined": lambda: joined,
    "in place": lambda: in_place,
    "written to": lambda: written_to,
    "source changed": lambda: source_changed,
    "changed in place": lambda: changed_in_place,
    "looked at": lambda: looked_at,
    "with lists": lambda: with_lists,
    "divided in place": lambda: divided_in_place,
    "viewed": lambda: viewed,
    "view changed": lambda: view_changed,
    "changed after view": lambda: changed_after_view,
    "with indices": lambda: with_indices,
    "flattened, units": lambda: nn.Sequential(nn.Flatten(), nn.Linear(216, 7), nn.Linear(7, 7)),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_predictions_are_those_of_whole_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = Images(PARTS[name]()).double()
    x = torch.randn(5, *net.shape, dtype=torch.float64)
    net.eval()(x)
    thin = predict(net, x)
    monkeypatch.setattr(sparse, "dropped", lambda *_: None)
    torch.testing.assert_close(thin, predict(net, x), rtol=0, atol=1e-12)
    assert thin.std(1).max() > 1e-4 or name == "all dropped"


class Sequences(nn.Module):
    """Read each pixel of the first channel as a step of a sequence, with dropout between two recurrent layers."""

    def __init__(self, recurrent: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.drop, self.second = recurrent(4, 2, batch_first=True), nn.Dropout(0.6), nn.Linear(2, 3)
        self.third = recurrent(3, 2, batch_first=True, num_layers=2, dropout=0.6)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.first(x)[0][:, -1]
        hidden = self.second(self.drop(steps))
        return self.third(hidden[:, None].expand(-1, 3, -1))[0][:, -1]


def of_images(*layers: nn.Module, axes: int = 2) -> tuple[nn.Module, tuple[int, ...]]:
    first: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return nn.Sequential(first(1, 2, 1), *layers, nn.Flatten(), nn.LazyLinear(3)), (1, *[6] * axes)


FEW = {
    "Conv1d": lambda: of_images(nn.Dropout1d(0.6), nn.Conv1d(2, 3, 3), nn.ReLU(), nn.MaxPool1d(2), axes=1),
    "Conv2d": lambda: of_images(nn.Dropout2d(0.6), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "Conv3d": lambda: of_images(nn.Dropout3d(0.6), nn.Conv3d(2, 3, 3), nn.ReLU(), nn.MaxPool3d(2), axes=3),
    "no bias": lambda: of_images(nn.Dropout2d(0.6), nn.Conv2d(2, 3, 3, bias=False), nn.AdaptiveAvgPool2d(2)),
    "groups": lambda: of_images(nn.Dropout2d(0.6), nn.Conv2d(2, 4, 3, groups=2)),
    "separable": lambda: of_images(nn.Dropout2d(0.6), nn.Conv2d(2, 2, 3, groups=2), nn.ReLU(), nn.Conv2d(2, 3, 1)),
    "transposed 1d": lambda: of_images(nn.Dropout1d(0.6), nn.ConvTranspose1d(2, 3, 3), axes=1),
    "transposed 2d": lambda: of_images(nn.Dropout2d(0.6), nn.ConvTranspose2d(2, 3, 3)),
    "transposed 3d": lambda: of_images(nn.Dropout3d(0.6), nn.ConvTranspose3d(2, 3, 3), axes=3),
    "reflected": lambda: of_images(nn.Dropout2d(0.6), nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")),
    "pool alone": lambda: of_images(nn.Dropout2d(0.6), nn.MaxPool2d(2)),
    "two convolutions": lambda: of_images(
        *(nn.Dropout2d(0.6), nn.Conv2d(2, 2, 3), nn.Dropout2d(0.6), nn.ReLU(), nn.Conv2d(2, 3, 3))
    ),
    "before flattening": lambda: of_images(nn.Dropout2d(0.2), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2), nn.Dropout2d(0.7)),
    "batch norm": lambda: of_images(nn.Dropout2d(0.6), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)),
    "alpha channels": lambda: of_images(nn.FeatureAlphaDropout(0.6), nn.Conv2d(2, 3, 3)),
    "p = 1": lambda: of_images(nn.Dropout2d(1.0), nn.Conv2d(2, 3, 3), nn.Dropout2d(0.5)),
    "units": lambda: (nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.6), nn.Linear(2, 3)), (4,)),
    "units twice": lambda: (
        nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.6), nn.Linear(2, 2), nn.ReLU(), nn.Dropout(0.6), nn.Linear(2, 3)),
        (4,),
    ),
    "units, p = 1": lambda: (nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2), nn.Dropout(1.0), nn.Linear(2, 3)), (4,)),
    "alpha units": lambda: (nn.Sequential(nn.Linear(4, 2), nn.AlphaDropout(0.6), nn.Linear(2, 3)), (4,)),
    "one unit": lambda: (nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.6), nn.Linear(1, 1), nn.Linear(1, 3)), (4,)),
    "RNN": lambda: (nn.Sequential(Sequences(nn.RNN), nn.Linear(2, 3)), (5, 4)),
    "GRU": lambda: (nn.Sequential(Sequences(nn.GRU), nn.Linear(2, 3)), (5, 4)),
    "LSTM": lambda: (nn.Sequential(Sequences(nn.LSTM), nn.Linear(2, 3)), (5, 4)),
}


@pytest.mark.parametrize("name", FEW)
def test_a_sample_may_drop_all_channels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few channels all are dropped in some sample, which sees the biases alone."""
    torch.manual_seed(0)
    net, shape = FEW[name]()
    net = net.double().eval()
    x = torch.randn(4, *shape, dtype=torch.float64)
    net(x)
    thin = predict(net, x, num_samples=10)
    assert thin.isfinite().all()
    if "alpha" not in name:
        assert (thin.std(0).amax(-1) < 1e-12).any(), "a sample that drops everything tells no two points apart"
    monkeypatch.setattr(sparse, "dropped", lambda *_: None)
    torch.testing.assert_close(thin, predict(net, x, num_samples=10), rtol=0, atol=1e-12)


def test_a_sample_takes_a_quarter_of_the_products() -> None:
    net, x = paper_cnn(), torch.randn(64, 1, 28, 28)

    def products(num_samples: int) -> int:
        with FlopCounterMode(display=False) as counter:
            predict(net, x, num_samples)
        return counter.get_total_flops()

    per_sample = (products(41) - products(1)) / 40
    with FlopCounterMode(display=False) as counter:
        net.eval()(x)
    assert per_sample < 0.28 * counter.get_total_flops()


def test_a_view_leaves_units_out_too() -> None:
    class Viewing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(x.size(0), -1)

    def products(flatten: nn.Module) -> int:
        net = paper_cnn()
        net[8] = flatten
        with FlopCounterMode(display=False) as counter:
            predict(net, torch.randn(64, 1, 28, 28))
        return counter.get_total_flops()

    assert products(Viewing()) == products(nn.Flatten())


def test_what_treats_channels_alike_is_computed_once_for_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    get = sparse.SharedResults.get

    def noted(*args: Any) -> Tensor:
        given.append(get(*args))
        return given[-1]

    monkeypatch.setattr(sparse.SharedResults, "get", noted)
    predict(paper_cnn(), torch.randn(16, 1, 28, 28), num_samples=5)
    # Memory format, pooling and ReLU of five samples, and of the two that are compared for few points by themselves.
    assert len(given) == 3 * (5 + 2)
    assert len({id(result) for result in given}) == 3 * (1 + 2)
