"""MCDropout on networks as people write them: found without a change, or refused with a reason.

For each, sample k has to be one function of a point, and the samples together have to be distributed as the network's
own noise is in training mode.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import VisionTransformer
from torchvision.ops import StochasticDepth

from lightning_al import MCDropout
from lightning_al.posterior.mc_dropout import vectorized
from tests.support.combinations import one_in
from tests.support.samples import log_probs_of


def predict(net: nn.Module, batches: Any, num_samples: int = 3, seed: int = 0) -> Tensor:
    return torch.cat(list(log_probs_of(MCDropout(num_samples), net, batches, seed=seed)))


class Sequence(nn.Module):
    """Embeds sequences of 5, applies a part, and classifies the mean."""

    shape: tuple[int, ...] = (5, 8)

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.into, self.part, self.out = nn.Linear(8, 8), part, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.part(torch.tanh(self.into(x)))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.out(hidden.mean(1)) * 2


class SelfAttention(nn.Module):
    """Attention by torch's module, with its weights or without."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.4, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class CausalAttention(nn.Module):
    """Attention as language models write it: dropout as an argument, in training mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        dropout = 0.4 if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True).transpose(1, 2).flatten(2)


class Guarded(nn.Module):
    """Dropout that is called in training mode alone."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = F.dropout(x, 0.4)
        return x


class DropPath(nn.Module):
    """A layer that is left out for some points, with noise made in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x + self.layer(x)
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.6).div_(0.6)
        return x + self.layer(x) * keep


class RoundedDropPath(nn.Module):
    """A layer that is left out for some points, by noise that is rounded down, so that its mean says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x + self.layer(x)
        keep = (0.6 + torch.rand(x.shape[0], 1, 1)).floor_()
        return x + self.layer(x) / 0.6 * keep


class SkippedLayer(nn.Module):
    """A layer that is left out by torchvision's stochastic depth, for each point or for all of a batch."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.layer, self.skip = nn.Linear(8, 8), StochasticDepth(0.4, mode)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.skip(self.layer(x))


class LayerDrop(nn.Module):
    """Layers that are left out for a whole batch by asking a number, so that what follows is drawn earlier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if self.training and torch.rand([]) < 0.4:
                continue
            x = x + F.dropout(layer(x), 0.1, self.training)
        x = F.dropout(x, 0.7, self.training)
        return x + 0.1 * torch.randn_like(x) if self.training else x


class GaussianNoise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) * 0.5 if self.training else x


class BatchSecond(nn.Module):
    """A recurrent network with time on the first axis and the batch on the second."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(8, 8, num_layers=3, dropout=0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)


class DropConnect(nn.Linear):
    """Drops weights rather than units."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.dropout(self.weight, 0.4), self.bias)


class Windows(nn.Module):
    """Folds parts of each point into the batch axis, drops there, and unfolds them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x.flatten(0, 1), 0.4).unflatten(0, x.shape[:2])


class Norms(nn.Module):
    """Reads the mode, beside batch norm that must not follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return F.dropout(x, 0.4) if self.training else x


class Auxiliary(nn.Module):
    """Gives something else in training mode, beside parts whose noise is there alone."""

    shape = (5, 8)

    def __init__(self) -> None:
        super().__init__()
        self.net = Sequence(Guarded())

    def forward(self, x: Tensor) -> Any:
        return (self.net(x), None) if self.training else self.net(x)


class Images(nn.Module):
    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.net = VisionTransformer(8, 4, 1, 2, 8, 16, dropout=0.2, attention_dropout=0.3, num_classes=3)
        nn.init.normal_(self.net.heads.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    return nn.TransformerEncoder(layer, 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "attention with weights": lambda: Sequence(SelfAttention(True)),
    "attention without weights": lambda: Sequence(SelfAttention(False)),
    "causal attention": lambda: Sequence(CausalAttention()),
    "transformer encoder": lambda: Sequence(encoder()),
    "vision transformer": Images,
    "guarded dropout": lambda: Sequence(Guarded()),
    "drop path": lambda: Sequence(DropPath()),
    "drop path, rounded": lambda: Sequence(RoundedDropPath()),
    "stochastic depth by row": lambda: Sequence(SkippedLayer("row")),
    "stochastic depth by batch": lambda: Sequence(SkippedLayer("batch")),
    "layer drop": lambda: Sequence(LayerDrop()),
    "gaussian noise": lambda: Sequence(GaussianNoise()),
    "lstm": lambda: Sequence(nn.LSTM(8, 8, num_layers=2, dropout=0.4, batch_first=True)),
    "gru": lambda: Sequence(nn.GRU(8, 8, num_layers=2, dropout=0.4, batch_first=True)),
    "lstm, batch second": lambda: Sequence(BatchSecond(nn.LSTM)),
    "rnn, batch second": lambda: Sequence(BatchSecond(nn.RNN)),
    "dropped weights": lambda: Sequence(DropConnect(8, 8)),
    "windows": lambda: Sequence(Windows()),
    "norms": lambda: Sequence(Norms()),
    "auxiliary outputs": Auxiliary,
}

SHARED_WITHIN_A_BATCH = {"layer drop", "stochastic depth by batch", "dropped weights"}
"""Noise that torch draws once for a batch, not for each point."""


def make(name: str, n: int = 11) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = NETWORKS[name]()
    pool = torch.randn(n, *net.shape)
    net(pool)
    return net.eval(), pool


MADE_OF_OTHERS = ("vision transformer", "gru", "lstm, batch second")
"""Networks whose noise is that of the transformer encoder, and of the LSTM and the other networks with time first."""

ONE_OF_EACH = [pytest.param(name, marks=pytest.mark.slow) if name in MADE_OF_OTHERS else name for name in NETWORKS]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_sample_k_is_one_function_of_a_point(name: str) -> None:
    net, pool = make(name, n=7)
    whole = predict(net, [pool], num_samples=6)
    assert whole.std(1).max() > 1e-3
    # Batches as long as a sequence, single points, and ragged ones.
    for size in (5, 1):
        torch.testing.assert_close(predict(net, pool.split(size), num_samples=6), whole, rtol=0, atol=1e-5)
    order = torch.randperm(len(pool))
    shuffled = predict(net, pool[order].split(4), num_samples=6)
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-5)
    assert (predict(net, [pool], num_samples=6, seed=1) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("name", one_in(2, [name for name in NETWORKS if name not in MADE_OF_OTHERS]))
def test_samples_are_distributed_as_the_network_s_own_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In one pass where the network allows it: test_vectorized.py has it that these are the samples of single passes.
    monkeypatch.setattr(vectorized, "DEVICES", {"cpu"})
    net, pool = make(name, n=2)
    num_samples = 150
    ours = predict(net, [pool], num_samples).exp()
    for part in net.modules():
        part.training = not isinstance(part, nn.BatchNorm1d | Auxiliary)
    with torch.no_grad():
        if name in SHARED_WITHIN_A_BATCH:
            own = torch.stack([net(pool) for _ in range(num_samples)], dim=1).softmax(-1)
        else:
            own = net(pool.repeat_interleave(num_samples, 0)).view(2, num_samples, -1).softmax(-1)
    error = ((ours.var(1) + own.var(1)) / num_samples).sqrt()
    assert ((ours.mean(1) - own.mean(1)).abs() <= 4.5 * error + 1e-4).all()
    spread = ours.std(1) / own.std(1)
    assert 0.7 < spread.min() < spread.max() < 1.4


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_network_is_left_as_it_was(name: str) -> None:
    net, pool = make(name)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    predict(net, pool.split(4))
    assert all(value.equal(state[key]) for key, value in net.state_dict().items())
    assert not any(part.training for part in net.modules())
    assert torch.get_rng_state().equal(generator)


def test_what_comes_before_noise_inside_a_function_is_computed_once() -> None:
    def products(num_samples: int) -> int:
        net = Sequence(CausalAttention())
        with FlopCounterMode(display=False) as counter:
            predict(net, [torch.randn(9, 5, 8)], num_samples)
        return counter.get_total_flops()

    # Of the products of one sample, two come before the attention: those into it take more than half of the work.
    per_sample = (products(21) - products(11)) / 10
    whole = Sequence(nn.Sequential(nn.Dropout(0.1), CausalAttention()))
    with FlopCounterMode(display=False) as counter:
        whole.eval()(torch.randn(9, 5, 8))
    assert per_sample < 0.6 * counter.get_total_flops()


class BatchMean(nn.Module):
    """Lets the points of a batch see one another."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class OwnNoise(nn.Module):
    """Draws noise that torch knows nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        return x + random.gauss(0, 1) * torch.arange(8.0)


@pytest.mark.parametrize("part", [BatchMean, OwnNoise])
def test_a_network_whose_samples_are_not_functions_of_a_point_is_refused(part: type[nn.Module]) -> None:
    net = nn.Sequential(part(), nn.Dropout(0.5), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"same predictions for a point in any batch.*batches of 3 and 12.*Draw noise"):
        predict(net, [torch.randn(12, 8)])


def test_a_part_that_draws_nothing_of_torch_s_in_training_mode_is_not_put_in_it() -> None:
    class Augmented(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * random.uniform(0.9999, 1.0001) if self.training else x

    net = nn.Sequential(Augmented(), nn.Dropout(0.5), nn.Linear(8, 3))
    pool = torch.randn(12, 8)
    torch.testing.assert_close(predict(net, pool.split(5)), predict(net, [pool]), rtol=0, atol=1e-6)


def test_outputs_that_are_no_logits_are_refused_beside_parts_that_read_the_mode() -> None:
    class Outputs(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"scores": F.dropout(x, 0.5) if self.training else x}

    with pytest.raises(ValueError, match=r"the module gave dict with scores\. Pass `forward=`, a function"):
        predict(Outputs(), [torch.randn(12, 8)])


def test_a_network_that_draws_more_for_some_points_is_refused() -> None:
    class Adaptive(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5) if x.max() > 100 else x

    net = nn.Sequential(nn.Dropout(0.5), Adaptive(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"`Sequential` called dropout 1 times .* and 2 and 0 in another. Let the"):
        predict(net, [torch.randn(12, 8), torch.full((12, 8), 1000.0)])


def test_a_network_that_draws_more_than_when_it_was_tried_is_refused() -> None:
    class Adaptive(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x.repeat(1, 2), 0.5)[:, :8] if x.max() > 100 else x

    net = nn.Sequential(nn.Dropout(0.5), Adaptive(), nn.Linear(8, 3))
    with pytest.raises(
        ValueError, match=r"met dropout call 1 in a batch, and only 1 when it tried the first. Let the network draw"
    ):
        predict(net, [torch.randn(12, 8), torch.full((12, 8), 1000.0)])


def test_noise_that_is_not_drawn_point_by_point_is_refused() -> None:
    class Pairs(nn.Module):
        """Draws a number for each pair of points."""

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(len(x) * (len(x) - 1) // 2).mean()

    with pytest.raises(ValueError, match=r"expected noise for each point .* shapes \[3\] for 3 points and \[1\] for 2"):
        predict(nn.Sequential(Pairs(), nn.Dropout(0.5), nn.Linear(8, 3)), [torch.randn(12, 8)])


def test_noise_that_cannot_be_answered_for_is_refused_by_name() -> None:
    class Shuffled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, torch.randperm(8)]

    with pytest.raises(ValueError, match=r"what `aten::randperm` draws at random .* Draw it by dropout"):
        predict(nn.Sequential(nn.Dropout(0.5), Shuffled(), nn.Linear(8, 3)), [torch.randn(12, 8)])


def test_a_batch_that_cannot_be_cut_is_scored_all_the_same() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    batches = [{"names": ["a", "b", "c", "d"], "x": x} for x in torch.randn(2, 4, 8)]
    [one, other] = log_probs_of(MCDropout(4), net, batches, forward=lambda m, batch: m(batch["x"]), seed=0)
    again = predict(net, [torch.cat([batch["x"] for batch in batches])], num_samples=4)
    torch.testing.assert_close(torch.cat([one, other]), again)
