"""The fitted weights alone."""

from __future__ import annotations

import torch
from torch import nn

from lightning_al import Deterministic
from tests.support.samples import log_probs_of


def test_it_predicts_what_the_network_does_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    net(torch.randn(32, 8))
    pool = torch.randn(11, 8)
    buffers = {name: value.clone() for name, value in net.state_dict().items()}
    batches = list(log_probs_of(Deterministic(), net, pool.split(4), seed=0))
    assert net.training
    assert all(torch.equal(value, buffers[name]) for name, value in net.state_dict().items())
    net.eval()
    expected = torch.stack([torch.log(torch.softmax(net(x.unsqueeze(0))[0], 0)) for x in pool])
    assert [len(batch) for batch in batches] == [4, 4, 3]
    torch.testing.assert_close(torch.cat(batches), expected.unsqueeze(1))


def test_the_seed_does_not_matter() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    first, second = (next(log_probs_of(Deterministic(), net, [torch.ones(2, 8)], seed=seed)) for seed in (0, 1))
    assert torch.equal(first, second)


def test_it_has_one_sample() -> None:
    assert Deterministic().num_samples == 1
