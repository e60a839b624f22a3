"""MCDropout: sample k is one function of the input, the same for the whole pool.

A network of dropout calls alone, applied to ones, shows the masks of each sample (`read_masks`). The references apply
them by plain multiplication to one point at a time.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_al import MCDropout
from lightning_al.demos.networks import paper_cnn
from lightning_al.run.seeds import generator
from tests.support.samples import log_probs_of

K = 6
Drop = Callable[[Tensor], Tensor]


def predict(net: nn.Module, batches: Sequence[Tensor], seed: int = 0, num_samples: int = K) -> Tensor:
    """Predict a pool: log-probabilities [N, K, C]."""
    return torch.cat(list(log_probs_of(MCDropout(num_samples), net, batches, seed=seed)))


class Probe(nn.Module):
    """Apply dropout calls to inputs of one value, and give the results as logits, beside one logit that is 0."""

    def __init__(self, calls: Sequence[tuple[Drop, tuple[int, ...]]], value: float = 1.0) -> None:
        super().__init__()
        self.calls = calls
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        dropped = [
            drop(torch.full((len(x), *features), self.value, dtype=torch.float64)).flatten(1)
            for drop, features in self.calls
        ]
        return torch.cat([*dropped, torch.zeros(len(x), 1, dtype=torch.float64)], dim=1)


def read_masks(
    *calls: tuple[Drop, tuple[int, ...]], seed: int = 0, num_samples: int = K, n: int = 3, value: float = 1.0
) -> list[Tensor]:
    """Return what each call makes of inputs of one value, [K, *features], checked to be the same for n points."""
    log_probs_n_K_C = predict(Probe(calls, value), [torch.zeros(n, 1)], seed, num_samples)
    dropped_n_K_F = log_probs_n_K_C[..., :-1] - log_probs_n_K_C[..., -1:]
    assert torch.allclose(dropped_n_K_F, dropped_n_K_F[:1], rtol=0, atol=1e-12), "points get different masks"
    sizes = [math.prod(features) for _, features in calls]
    parts = dropped_n_K_F[0].split(sizes, dim=1)
    return [part.unflatten(1, features).round(decimals=9) for part, (_, features) in zip(parts, calls, strict=True)]


class Multiply(nn.Module):
    """Multiply by one tensor after the other, in place of a dropout module."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors.pop(0)


class MLP(nn.Module):
    """Two dropouts of different rates, a residual connection and batch norm."""

    calls = staticmethod(lambda net: [(net.first, (8,)), (net.second, (12,))])
    shape = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Dropout(0.25), nn.Dropout(0.6)
        self.into, self.norm, self.out = nn.Linear(8, 12), nn.BatchNorm1d(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.norm(self.into(self.first(x))))
        return self.out(hidden + self.second(hidden))


class Shared(nn.Module):
    """One dropout module that is called twice."""

    calls = staticmethod(lambda net: [(net.drop, (8,)), (net.drop, (8,))])
    shape = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.into, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(torch.tanh(self.into(self.drop(x)))))


class CNN(nn.Module):
    """Channels and units dropped, as in the BatchBALD paper's network."""

    calls = staticmethod(lambda net: [(net.channels, (6, 4, 4)), (net.units, (24,))])
    shape = (1, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.units = nn.Dropout2d(0.5), nn.Dropout(0.5)
        self.convolve, self.out = nn.Conv2d(1, 6, 3), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(F.max_pool2d(self.channels(self.convolve(x)), 2))
        return self.out(self.units(hidden.flatten(1)))


NETS = [MLP, Shared, CNN]


def make(kind: type, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Make a network of double precision with batch norm statistics, and a pool of 7 points."""
    torch.manual_seed(seed)
    net = kind().double()
    net(torch.randn(16, *kind.shape, dtype=torch.float64))
    return net, torch.randn(7, *kind.shape, dtype=torch.float64)


def slow_reference(net: nn.Module, pool: Tensor, masks: list[Tensor]) -> Tensor:
    """Predict each point alone with each sample's masks multiplied by hand."""
    net = copy.deepcopy(net).eval()
    factors: dict[nn.Module, Multiply] = {}
    order = []
    for drop, _ in type(net).calls(net):
        order.append(factors.setdefault(drop, Multiply()))
    for name, part in list(net.named_children()):
        if part in factors:
            setattr(net, name, factors[part])
    rows = []
    for x in pool:
        row = []
        for k in range(len(masks[0])):
            for multiply, mask in zip(order, masks, strict=True):
                multiply.factors.append(mask[k])
            probs = torch.softmax(net(x.unsqueeze(0))[0], dim=0)
            row.append(probs.log())
        rows.append(torch.stack(row))
    return torch.stack(rows).detach()


@pytest.mark.parametrize("kind", NETS)
def test_a_prediction_equals_the_network_with_its_masks_multiplied_by_hand(kind: type) -> None:
    net, pool = make(kind)
    masks = read_masks(*kind.calls(net), seed=3)
    torch.testing.assert_close(predict(net, [pool], seed=3), slow_reference(net, pool, masks), rtol=0, atol=1e-8)


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 6), unique=True).map(sorted), order=st.permutations(range(7)))
@pytest.mark.parametrize("kind", NETS)
def test_batches_and_their_order_do_not_matter(kind: type, cuts: list[int], order: list[int]) -> None:
    net, pool = make(kind)
    whole = predict(net, [pool])
    in_parts = predict(net, [pool[order[first:last]] for first, last in zip([0, *cuts], [*cuts, 7], strict=True)])
    torch.testing.assert_close(in_parts, whole[order], rtol=0, atol=1e-12)


def test_equal_points_get_equal_predictions() -> None:
    net, pool = make(MLP)
    twice = predict(net, [torch.cat([pool, pool[2:3]]), pool[2:3]])
    assert torch.allclose(twice[7], twice[2], rtol=0, atol=1e-12)
    assert torch.allclose(twice[8], twice[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_samples_differ_by_number_and_by_seed_and_by_nothing_else(kind: type) -> None:
    net, pool = make(kind)
    torch.manual_seed(1)
    one = predict(net, [pool], seed=0)
    torch.manual_seed(2)
    again, other = predict(net, [pool], seed=0), predict(net, [pool], seed=1)
    assert torch.equal(one, again)
    for k in range(K):
        assert not torch.allclose(one[:, k], other[:, k])
        for j in range(k):
            assert not torch.allclose(one[:, k], one[:, j])


def test_the_first_samples_do_not_change_the_network_s_output_for_others() -> None:
    """A sample depends on the seed and the weights alone, so a net with other weights keeps the same masks."""
    masks = read_masks((nn.Dropout(0.5), (50,)), seed=4)[0]
    again = read_masks((nn.Dropout(0.5), (50,)), seed=4, n=1)[0]
    assert torch.equal(masks, again)


# Masks.


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_units_are_dropped_at_rate_p_and_the_others_scaled(p: float) -> None:
    [mask] = read_masks((nn.Dropout(p), (4000,)))
    assert set(mask.flatten().tolist()) == {0.0, round(1 / (1 - p), 9)}
    dropped = (mask == 0).double().mean(1)
    assert (dropped - p).abs().max() < 5 * math.sqrt(p * (1 - p) / 4000)


def test_masks_of_samples_calls_and_seeds_are_independent() -> None:
    drop = nn.Dropout(0.5)
    first, second = read_masks((drop, (4000,)), (drop, (4000,)))
    [other] = read_masks((drop, (4000,)), seed=1)
    masks = (torch.cat([first, second, other]) > 0).double()
    correlations = torch.corrcoef(masks) - torch.eye(len(masks))
    assert correlations.abs().max() < 5 / math.sqrt(4000)


@pytest.mark.parametrize(
    ("drop", "features"),
    [
        (nn.Dropout1d(0.5), (40, 5)),
        (nn.Dropout2d(0.5), (40, 3, 3)),
        (nn.Dropout3d(0.5), (40, 2, 2, 2)),
        (nn.FeatureAlphaDropout(0.5), (40, 2, 2, 2)),
    ],
    ids=["1d", "2d", "3d", "alpha"],
)
def test_whole_channels_are_dropped(drop: nn.Module, features: tuple[int, ...]) -> None:
    [mask] = read_masks((drop, features))
    by_channel = mask.flatten(2)
    assert torch.equal(by_channel, by_channel[..., :1].expand_as(by_channel)), "a channel is dropped as a whole"
    values = by_channel[..., 0]
    assert values.unique().numel() == 2
    for k in range(K):
        assert 5 < (values[k] == values.min()).sum() < 35


def test_dropout_drops_single_units_of_an_image() -> None:
    [mask] = read_masks((nn.Dropout(0.5), (4, 10, 10)))
    assert ((mask == 0).flatten(2).double().mean(2) % 1 > 0).all()


@pytest.mark.parametrize("p", [0.2, 0.5])
@pytest.mark.parametrize("value", [1.0, -0.5])
@pytest.mark.parametrize(
    ("drop", "features"),
    [
        (lambda x, p: F.dropout(x, p), (60,)),
        (lambda x, p: F.dropout2d(x, p), (60, 1, 1)),
        (lambda x, p: F.alpha_dropout(x, p, training=True), (60,)),
        (lambda x, p: F.feature_alpha_dropout(x, p, training=True), (60, 1, 1)),
    ],
    ids=["dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"],
)
def test_kept_and_dropped_values_are_torch_s(drop: Any, features: tuple[int, ...], p: float, value: float) -> None:
    torch.manual_seed(0)
    own = drop(torch.full((20, *features), value, dtype=torch.float64), p).unique().tolist()
    [ours] = read_masks((lambda x: drop(x, p), features), value=value)
    assert ours.unique().tolist() == pytest.approx(own, abs=1e-8)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("drop", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_0_and_variance_1(drop: Any, p: float) -> None:
    features, samples = (2000, 1, 1), 40
    inputs = torch.randn(features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = (inputs - inputs.mean()) / inputs.std(correction=0)
    [dropped] = read_masks((lambda x: drop(p)(inputs.expand(len(x), *features)), features), num_samples=samples)
    count = dropped.numel()
    assert abs(dropped.mean()) < 5 / math.sqrt(count)
    assert abs(dropped.var() - 1) < 5 * math.sqrt(3 / count)


def test_the_mean_over_samples_approaches_the_deterministic_output() -> None:
    """A linear network's logits are linear in the mask, whose mean is 1."""
    torch.manual_seed(0)
    net, samples = nn.Sequential(nn.Dropout(0.5), nn.Linear(10, 3)).double(), 600
    pool = torch.randn(5, 10, dtype=torch.float64)
    log_probs = predict(net, [pool], num_samples=samples)
    differences = log_probs[..., :-1] - log_probs[..., -1:]
    net.eval()
    expected = (net(pool)[:, :-1] - net(pool)[:, -1:]).detach()
    error = (differences.mean(1) - expected) / (differences.std(1) / math.sqrt(samples))
    assert error.abs().max() < 5


# Ways to write dropout.

CALLS: dict[str, Drop] = {
    "module": nn.Dropout(0.5),
    "module in eval": nn.Dropout(0.5).eval(),
    "in place": nn.Dropout(0.5, inplace=True),
    "F, training": lambda x: F.dropout(x, 0.5, training=True),
    "F, not training": lambda x: F.dropout(x, training=False),
    "F, keywords": lambda x: F.dropout(input=x, p=0.5, training=False),
    "F, in place": lambda x: F.dropout(x, 0.5, False, True),
    "torch": lambda x: torch.dropout(x, 0.5, False),
    "torch, keywords": lambda x: torch.dropout(x, p=0.5, train=False),
    "torch, in place": lambda x: torch.dropout_(x, 0.5, False),
    "torch, in place, keywords": lambda x: torch.dropout_(input=x, p=0.5, train=False),
}


@pytest.mark.parametrize("drop", CALLS.values(), ids=CALLS)
def test_every_way_to_write_dropout_gets_the_same_masks(drop: Drop) -> None:
    expected = read_masks((nn.Dropout(0.5), (40,)))
    assert 0.2 < (expected[0] == 0).double().mean() < 0.8
    assert torch.equal(read_masks((drop, (40,)))[0], expected[0])


def ignoring(drop: Drop) -> Drop:
    """Call dropout for its effect on the input, and leave what it returns."""

    def dropped(x: Tensor) -> Tensor:
        drop(x)
        return x

    return dropped


@pytest.mark.parametrize("name", ["in place", "F, in place", "torch, in place", "torch, in place, keywords"])
def test_dropout_in_place_changes_its_input(name: str) -> None:
    expected = read_masks((nn.Dropout(0.5), (40,)))
    assert torch.equal(read_masks((ignoring(CALLS[name]), (40,)))[0], expected[0])


@pytest.mark.parametrize("name", ["module", "F, not training", "torch"])
def test_dropout_leaves_its_input_as_it_was(name: str) -> None:
    [untouched] = read_masks((ignoring(CALLS[name]), (40,)))
    assert (untouched == 1).all()


class Rescaling(nn.Module):
    """A network that changes its own input, as `x.div_(255)` does."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.div_(3))


def test_what_one_sample_does_to_its_input_is_unseen_by_the_next() -> None:
    torch.manual_seed(0)
    pool, out = torch.randn(7, 8), nn.Linear(8, 3)
    given_pool = pool.clone()
    expected = predict(nn.Sequential(nn.Dropout(0.5), out), [pool])
    in_place = predict(nn.Sequential(nn.Dropout(0.5, inplace=True), out), [pool])
    torch.testing.assert_close(in_place, expected, rtol=0, atol=1e-6)
    rescaling = Rescaling()
    rescaling.out[1] = out
    torch.testing.assert_close(predict(rescaling, [3 * pool]), expected)
    assert torch.equal(pool, given_pool)


class InPlaceBeforeDropout(nn.Module):
    """A network that changes a hidden layer in place before its dropout, once it has looked at its shape."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.into, self.out = nn.Linear(8, 8), nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.into(x)
        assert hidden.shape == x.shape
        return self.out(hidden.div_(3).add_(1) if self.in_place else hidden / 3 + 1)


class SkipToInput(nn.Module):
    """A network that changes its input in place, and reads it again after its dropout."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.into, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            x[:, 0] = 2
            x.div_(3)
        else:
            x = torch.cat([torch.full_like(x[:, :1], 2), x[:, 1:]], dim=1) / 3
        return self.out(F.dropout(self.into(x), 0.5, self.training) + x)


def test_an_input_changed_in_place_before_the_first_dropout_stays_so_after_it() -> None:
    torch.manual_seed(0)
    plain, in_place, pool = SkipToInput(False), SkipToInput(True), torch.randn(7, 8)
    in_place.load_state_dict(plain.state_dict())
    torch.testing.assert_close(predict(in_place, [pool]), predict(plain, [pool]))


def test_what_happens_in_place_before_the_first_dropout_happens_once_a_sample() -> None:
    torch.manual_seed(0)
    plain, in_place, pool = InPlaceBeforeDropout(False), InPlaceBeforeDropout(True), torch.randn(7, 8)
    in_place.load_state_dict(plain.state_dict())
    torch.testing.assert_close(predict(in_place, [pool]), predict(plain, [pool]))


def test_dropout_at_p_0_is_nothing_beside_another() -> None:
    nothing = nn.Dropout(0.0)
    [plain] = read_masks((nn.Dropout(0.5), (40,)))
    before, mask, after = read_masks((nothing, (3,)), (nn.Dropout(0.5), (40,)), (nothing, (3,)))
    assert (before == 1).all()
    assert (after == 1).all()
    assert torch.equal(mask, plain)


@pytest.mark.parametrize(
    ("drop", "features"), [(nn.Dropout(1.0), (5,)), (nn.Dropout2d(1.0), (5, 1, 1)), (nn.AlphaDropout(1.0), (5,))]
)
def test_dropout_at_p_1_drops_everything_and_gives_no_nan(drop: Any, features: tuple[int, ...]) -> None:
    [mask] = read_masks((drop, features))
    assert (mask == 0).all()


def test_a_transformer_layer_s_dropout_is_found_in_evaluation_mode() -> None:
    torch.manual_seed(0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).mean(1)

    net, pool = Encoder(), torch.randn(7, 5, 8, dtype=torch.float64)
    whole = predict(net, [pool])
    torch.testing.assert_close(predict(net, pool.split(3)), whole, rtol=0, atol=1e-12)
    assert not torch.allclose(whole[:, 0], whole[:, 1])


def test_a_single_recurrent_layer_drops_nothing_and_is_no_obstacle() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                # torch says that dropout has no effect on a single layer, which is what this test is about.
                warnings.simplefilter("ignore")
                self.rnn = nn.LSTM(8, 5, dropout=0.5, batch_first=True)
            self.out = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0][:, -1])

    torch.manual_seed(0)
    net, pool = Recurrent(), torch.randn(7, 4, 8)
    whole = predict(net, [pool])
    torch.testing.assert_close(predict(net, pool.split(3)), whole)
    assert not torch.allclose(whole[:, 0], whole[:, 1])


# What must stay as it was.


@pytest.mark.parametrize("kind", NETS)
def test_weights_buffers_modes_and_grad_flags_are_untouched(kind: type) -> None:
    net, pool = make(kind)
    next(iter(net.parameters())).requires_grad_(False)
    list(net.children())[1].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [(part, part.training) for part in net.modules()]
    grads = [(weight, weight.requires_grad, weight.grad) for weight in net.parameters()]
    given_pool = pool.clone()
    assert not predict(net, pool.split(3)).requires_grad
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert [(part, part.training) for part in net.modules()] == flags
    assert all(weight.requires_grad == flag and weight.grad is grad for weight, flag, grad in grads)
    assert torch.equal(pool, given_pool)


def test_global_generators_are_untouched() -> None:
    net, pool = make(MLP)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    predict(net, [pool])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_dropout_is_random_again_after_a_prediction() -> None:
    net, pool = make(Shared)
    predict(net, [pool])
    torch.manual_seed(0)
    assert not torch.allclose(net(pool), net(pool))
    net.eval()
    assert torch.equal(net(pool), net(pool))


# Contexts.


def test_it_works_under_inference_mode() -> None:
    net, pool = make(CNN)
    expected = predict(net, [pool])
    with torch.inference_mode():
        assert torch.equal(predict(net, [pool]), expected)
    torch.testing.assert_close(predict(net, pool.split(2)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", NETS)
def test_it_works_under_bfloat16_autocast(kind: type) -> None:
    net, pool = make(kind)
    net, pool = net.float(), pool.float()
    expected = predict(net, [pool])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = predict(net, [pool])
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.exp(), expected.exp(), rtol=0, atol=0.03)
    assert not torch.allclose(low[:, 0], low[:, 1], atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_do_not_depend_on_the_precision(dtype: torch.dtype) -> None:
    net, pool = make(Shared)
    expected = predict(net, [pool])
    low = predict(net.to(dtype), [pool.to(dtype)])
    assert low.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(low.double().exp(), expected.exp(), rtol=0, atol=tolerance)


def test_no_batches_give_no_predictions() -> None:
    assert list(log_probs_of(MCDropout(K), MLP(), [], seed=0)) == []


def test_autocast_predicts_in_bfloat16_and_gives_log_probabilities_close_by() -> None:
    torch.manual_seed(0)
    net, x = paper_cnn().eval(), torch.randn(12, 1, 28, 28)
    seen = []
    net[-1].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))

    def samples(posterior: MCDropout) -> Tensor:
        return torch.cat(list(log_probs_of(posterior, net, x.split(5), seed=0)))

    exact, fast = samples(MCDropout(4)), samples(MCDropout(4, autocast=True))
    assert {torch.float32, torch.bfloat16} == set(seen)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast.logsumexp(-1), torch.zeros(12, 4), atol=1e-5, rtol=0)
    assert 0 < (fast.exp() - exact.exp()).abs().max() < 0.01
    assert exact.exp().std(1).max() > 0.01
    assert not torch.is_autocast_enabled("cpu")


def test_feature_maps_of_images_keep_the_masks_of_0_1_0() -> None:
    """One generator a call of dropout, for all samples at once, so that runs begun with these masks go on with them."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
    head = nn.Linear(6 * 4 * 4, 3)
    net = nn.Sequential(features, nn.Dropout(0.25), nn.Flatten(), head)
    images = torch.rand(5, 1, 4, 4)
    [predicted] = log_probs_of(MCDropout(7), net, [images], seed=11)
    keep = torch.rand(7, 1, 6, 4, 4, generator=generator(11, "dropout", 0)) >= 0.25
    with torch.no_grad():
        expected = [head((features(images) * mask / 0.75).flatten(1)).log_softmax(1) for mask in keep]
    torch.testing.assert_close(predicted, torch.stack(expected, 1))
