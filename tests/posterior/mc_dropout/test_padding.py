"""Batches that are padded to the longest of their inputs: sample k is one function of a point, padded or not.

Axes: n points of a batch, L places of a sequence, D units.
"""

from __future__ import annotations

import math
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import MCDropout
from lightning_al.posterior.mc_dropout.layout import BatchAxis, Layout, drawn_by_position
from tests.support.samples import log_probs_of

LENGTHS = [1, 4, 2, 9, 3, 1, 7, 5, 2, 6, 8]
K, D = 6, 8


class Reader(nn.Module):
    """Embeds tokens, passes them through a part of its own with a mask of padding, and averages what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(20, D, padding_idx=0), nn.Linear(D, 3)
        self.drop = nn.Dropout(0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        is_token = tokens != 0
        hidden = self.read(self.drop(self.embed(tokens)), is_token)
        mean = (hidden * is_token.unsqueeze(-1)).sum(1) / is_token.sum(1, keepdim=True)
        return self.out(mean)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return hidden


class Encoder(Reader):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(D, 2, 16, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return self.encoder(hidden, src_key_padding_mask=~is_token)


class SequenceFirst(Reader):
    """Points stand on the second axis within."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(D, 2, 16, dropout=0.3)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return self.encoder(hidden.transpose(0, 1), src_key_padding_mask=~is_token).transpose(0, 1)


class Attention(Reader):
    """Attention written out, whose mask is drawn for [n, heads, L, L], or for [n heads, L, L] where they are joined."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.qkv, self.joined = nn.Linear(D, 3 * D), joined

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(hidden).chunk(3, dim=-1))
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~is_token[:, None, None], -math.inf).softmax(-1)
        shape = (-1, *scores.shape[2:]) if self.joined else scores.shape
        scores = F.dropout(scores.reshape(shape), 0.3).reshape(scores.shape)
        return (scores @ v).transpose(1, 2).flatten(2)


class Fused(Reader):
    """Attention in one function, which draws inside of it and in training mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(hidden).chunk(3, dim=-1))
        p = 0.3 if self.training else 0.0
        mask = is_token[:, None, None].expand(-1, 1, is_token.shape[1], -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p).transpose(1, 2).flatten(2)


class Module(Reader):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 2, dropout=0.3, batch_first=True)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return self.attention(hidden, hidden, hidden, key_padding_mask=~is_token)[0]


class Recurrent(Reader):
    """Layers of an LSTM with dropout between them, that read from left to right."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(D, D, num_layers=2, dropout=0.4, batch_first=batch_first)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        if self.rnn.batch_first:
            return self.rnn(hidden)[0]
        return self.rnn(hidden.transpose(0, 1))[0].transpose(0, 1)


class Convolution(Reader):
    """Channels before places: [n, C, L], dropped by unit and by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(D, D, 3, padding=1)

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        channels = (hidden * is_token.unsqueeze(-1)).transpose(1, 2)
        return F.dropout1d(F.dropout(self.convolve(channels), 0.3), 0.3).transpose(1, 2)


class Flattened(Reader):
    """Drops with points and places on one axis: [n L, D]."""

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return F.dropout(hidden.flatten(0, 1), 0.3).unflatten(0, hidden.shape[:2])


class Gaussian(Reader):
    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return hidden + torch.randn_like(hidden) if self.training else hidden


class Tokens(Reader):
    """Leaves whole tokens out, by a mask [n, L, 1]."""

    def read(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        return hidden * F.dropout(torch.ones_like(hidden[..., :1]), 0.3)


class Pooled(Reader):
    """Also drops units of the average, in one go as in other networks."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Dropout(0.5), nn.Linear(D, 3))  # type: ignore[assignment]


READERS: dict[str, Callable[[], nn.Module]] = {
    "embedding": Reader,
    "encoder": Encoder,
    "sequence first": SequenceFirst,
    "attention": lambda: Attention(joined=False),
    "attention, joined": lambda: Attention(joined=True),
    "fused attention": Fused,
    "attention module": Module,
    "lstm": lambda: Recurrent(batch_first=True),
    "lstm, sequence first": lambda: Recurrent(batch_first=False),
    "convolution": Convolution,
    "flattened": Flattened,
    "gaussian": Gaussian,
    "tokens": Tokens,
    "pooled": Pooled,
}


def texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, 20, (length,), generator=generator) for length in LENGTHS]


def padded(some: list[Tensor], extra: int = 0) -> Tensor:
    batch = nn.utils.rnn.pad_sequence(some, batch_first=True)
    return F.pad(batch, (0, extra))


def predict(net: nn.Module, batches: list[Any], seed: int = 0) -> Tensor:
    logits = lambda module, batch: module(batch if isinstance(batch, Tensor) else batch["tokens"])  # noqa: E731
    return torch.cat(list(log_probs_of(MCDropout(K), net, batches, forward=logits, seed=seed)))


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    net = READERS[name]()
    nn.init.normal_([part for part in net.modules() if isinstance(part, nn.Linear)][-1].weight)
    return net.eval()


@pytest.mark.parametrize(
    "name",
    [
        name if number % 3 == 0 else pytest.param(name, marks=pytest.mark.slow)
        for number, name in enumerate(sorted(set(READERS) - {"flattened"}))
    ],
)
def test_a_prediction_does_not_depend_on_padding_batch_and_order(name: str) -> None:
    net, pool = make(name), texts()
    whole = predict(net, [padded(pool)])
    assert whole.std(1).max() > 1e-3
    assert (predict(net, [padded(pool)], seed=1) - whole).abs().max() > 1e-3
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(2)).tolist()
    for places, sizes in ((range(len(pool)), (1, 3)), (order, (2, 5))):
        for size in sizes:
            chunks = [places[first : first + size] for first in range(0, len(pool), size)]
            got = predict(net, [padded([pool[place] for place in chunk]) for chunk in chunks])
            torch.testing.assert_close(got, whole[list(places)], rtol=0, atol=2e-5)
    torch.testing.assert_close(predict(net, [padded(pool, extra=3)]), whole, rtol=0, atol=2e-5)


def test_places_beside_the_points_on_one_axis() -> None:
    """Sequences of two places at least, since one of a single place looks like units."""
    net, pool = make("flattened"), [text for text in texts() if len(text) > 1]
    whole = predict(net, [padded(pool)])
    for size in (1, 2, 4):
        batches = [padded(pool[first : first + size]) for first in range(0, len(pool), size)]
        torch.testing.assert_close(predict(net, batches), whole, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="keeps one mask for the whole pool, but dropout call 1"):
        predict(net, [padded(texts()[:1]), padded(pool)])


def test_batches_of_a_tokenizer_are_cut_copied_and_compared_as_dicts_are() -> None:
    """transformers' `BatchEncoding` is a `UserDict`, into which torch does not look."""
    net, pool = make("encoder"), texts()
    batches = [padded(pool[:5]), padded(pool[5:])]
    got = predict(net, [UserDict(tokens=batch, more={"row": torch.arange(len(batch))}) for batch in batches])
    torch.testing.assert_close(got, predict(net, list(batches)))

    class Mixing(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return F.dropout(tokens[:, :3].float() - tokens[:, :3].float().mean(0), 0.5)

    with pytest.raises(ValueError, match="same predictions for a point in any batch"):
        predict(Mixing(), [UserDict(tokens=padded(pool, extra=3))])


def test_units_and_channels_are_drawn_in_one_go_as_before() -> None:
    """Picks of such networks stay those of 0.1.0."""
    for shape in ((1, 50), (1, 16, 1, 1), (1, 1, 1, 1), (1,), ()):
        [place] = drawn_by_position([Layout(BatchAxis(0, 1) if shape else None, shape)], [False], reads_images=False)
        assert not place.by_position
    # Feature maps of images, and the same shape in a network that reads sequences.
    for reads_images in (True, False):
        [place] = drawn_by_position([Layout(BatchAxis(0, 1), (1, 16, 4, 4))], [False], reads_images=reads_images)
        assert place.by_position is not reads_images
    # A network that reads sequences beside it.
    both = [Layout(BatchAxis(0, 1), (1, 50)), Layout(BatchAxis(0, 1), (1, 8, 1))]
    [units, channels] = drawn_by_position(both, [False, True], reads_images=False)
    assert not units.by_position
    assert not channels.by_position


def test_features_that_are_no_sequence_still_have_to_be_of_one_size() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.AdaptiveAvgPool1d(3))
    with pytest.raises(ValueError, match=r"met features of shape \[1, 8\] in one batch and \[1, 9\] in another"):
        predict(net, [torch.ones(6, 8), torch.ones(6, 9)])
