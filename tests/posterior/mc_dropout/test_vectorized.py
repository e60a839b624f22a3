"""Several samples in one pass, as on a GPU: each is what it is when computed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_al import MCDropout
from lightning_al.posterior.mc_dropout import vectorized
from tests.posterior.mc_dropout.test_mc_dropout import CNN, MLP
from tests.posterior.mc_dropout.test_networks import NETWORKS, Sequence, make
from tests.support.combinations import one_in
from tests.support.samples import log_probs_of

K = 7


@pytest.fixture
def on_wide_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(vectorized, "DEVICES", {"cpu"})


def predict(net: nn.Module, batches: Any, num_samples: int = K) -> Tensor:
    return torch.cat(list(log_probs_of(MCDropout(num_samples), net, batches, seed=0)))


def count_forwards(net: nn.Module, batches: Any) -> list[int]:
    """Return how many points each forward pass was given."""
    seen: list[int] = []
    handle = net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    predict(net, batches)
    handle.remove()
    return seen


class Residual(nn.Module):
    """Adds what comes before the first dropout to what comes after it, and reads sizes of both."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out, self.position = nn.Linear(8, 8), nn.Linear(8, 3), nn.Parameter(torch.randn(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        n, rows = x.shape[0], x.size(0)
        hidden = torch.tanh(self.into(x)) + self.position.expand(n, -1)
        dropped = F.dropout(hidden, 0.4).view(rows, 2, 4).flatten(1)
        return self.out(hidden + dropped + x * torch.ones(len(x), 1)) * 2


class Masked(nn.Module):
    """Reads a mask of the input after the first dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.out(F.dropout(batch["x"], 0.4) * batch["mask"] + batch["scale"])


class InPlace(nn.Module):
    """Drops in place what the input is, so that nothing can be kept for the other samples."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.dropout(x, 0.4, inplace=True).relu_())


PLAIN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP": (MLP, MLP.shape),
    "CNN": (CNN, CNN.shape),
    "residual": (Residual, (8,)),
    "in place": (InPlace, (8,)),
    "alpha dropout": (lambda: nn.Sequential(nn.Linear(8, 8), nn.SELU(), nn.AlphaDropout(0.3), nn.Linear(8, 3)), (8,)),
    "late": (lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3)), (8,)),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)),
        (1, 4, 4),
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_samples_are_those_of_passes_one_by_one(name: str, on_wide_device: Callable[[], None]) -> None:
    torch.manual_seed(0)
    net = PLAIN[name][0]().eval()
    pool = torch.randn(23, *PLAIN[name][1])
    alone = predict(net, pool.split(9))
    on_wide_device()
    torch.testing.assert_close(predict(net, pool.split(9)), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_most_samples_share_a_pass(name: str, on_wide_device: Callable[[], None]) -> None:
    torch.manual_seed(0)
    net, batches = PLAIN[name][0]().eval(), torch.randn(23, *PLAIN[name][1]).split(9)
    alone = len(count_forwards(net, batches))
    on_wide_device()
    # The first sample and all others: two passes a batch; and in the first batch the last once more, to compare.
    assert len(count_forwards(net, batches)) == alone - 3 * (K - 2) + 1


@pytest.mark.parametrize("name", one_in(2, NETWORKS))
def test_networks_as_people_write_them(name: str, on_wide_device: Callable[[], None]) -> None:
    net, pool = make(name, n=7)
    alone = predict(net, [pool], num_samples=4)
    on_wide_device()
    for size in (5, 1):  # 5 is the length of a sequence too
        torch.testing.assert_close(predict(net, pool.split(size), num_samples=4), alone, rtol=0, atol=1e-5)


def test_what_is_read_of_the_batch_after_dropout_is_copied(on_wide_device: Callable[[], None]) -> None:
    torch.manual_seed(0)
    net = Masked()
    pool = {"x": torch.randn(12, 8), "mask": torch.rand(12, 1).round()}
    batches = [
        {**{name: values[i : i + 5] for name, values in pool.items()}, "scale": torch.tensor(0.5)} for i in (0, 5, 7)
    ]
    alone = predict(net, batches)
    on_wide_device()
    torch.testing.assert_close(predict(net, batches), alone, rtol=0, atol=1e-5)


def test_passes_stay_below_a_limit_of_bytes(
    monkeypatch: pytest.MonkeyPatch, on_wide_device: Callable[[], None]
) -> None:
    torch.manual_seed(0)
    net = PLAIN["late"][0]().eval()
    pool = torch.randn(40, 8)
    alone = predict(net, pool.split(10))
    on_wide_device()
    # Of the hidden 64 units, the 10 points of a batch and the 3 logits, in float32, one sample computes 2,680 bytes.
    monkeypatch.setattr(vectorized, "PASS_BYTES", 3 * 2_700)
    widths: list[int] = []
    net[3].register_forward_pre_hook(lambda module, args: widths.append(len(args[0])))
    torch.testing.assert_close(predict(net, pool.split(10)), alone, rtol=0, atol=1e-5)
    assert max(widths) <= 30
    assert 20 in widths or 30 in widths


def test_what_comes_before_dropout_is_computed_once(on_wide_device: Callable[[], None]) -> None:
    on_wide_device()

    def products(num_samples: int) -> int:
        net = nn.Sequential(nn.Linear(8, 512), nn.ReLU(), nn.Linear(512, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
        with FlopCounterMode(display=False) as counter:
            predict(net, torch.randn(40, 8).split(20), num_samples)
        return counter.get_total_flops()

    assert products(30) < 1.2 * products(3)


def test_a_network_that_mixes_the_points_of_a_batch_is_still_refused(on_wide_device: Callable[[], None]) -> None:
    class BatchMean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0)

    on_wide_device()
    net = nn.Sequential(BatchMean(), nn.Dropout(0.5), nn.Linear(8, 3))
    with pytest.raises(ValueError, match="same predictions for a point in any batch"):
        predict(net, [torch.randn(12, 8)])


def test_a_network_that_scales_by_its_rows_is_computed_one_by_one(on_wide_device: Callable[[], None]) -> None:
    """It knows its batches' size by heart, so that a pass over copies would give other numbers."""

    class Scaled(Sequence):
        def forward(self, x: Tensor) -> Tensor:
            hidden = F.dropout(x.mean(1), 0.4)
            return self.out(hidden) * (2.0 if hidden.shape[0] <= 11 else 3.0)

    torch.manual_seed(0)
    net, pool = Scaled(nn.Identity()).eval(), torch.randn(11, 5, 8)
    alone = predict(net, [pool])
    on_wide_device()
    torch.testing.assert_close(predict(net, [pool]), alone, rtol=0, atol=1e-5)


def test_an_error_of_the_network_is_its_own(on_wide_device: Callable[[], None]) -> None:
    class Broken(Sequence):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 6:
                raise RuntimeError("six is too many")
            return self.out(F.dropout(x.mean(1), 0.4))

    on_wide_device()
    with pytest.raises(RuntimeError, match="six is too many"):
        predict(Broken(nn.Identity()).eval(), torch.randn(11, 5, 8).split([5, 6]))


@pytest.mark.parametrize(("rounding", "is_refused"), [(0.02, False), (2.0, True)])
def test_rounding_of_a_gpu_is_no_noise(on_wide_device: Callable[[], None], rounding: float, is_refused: bool) -> None:
    """As of TF32, by which probabilities of the paper's network differ by .0013 between batches of 3 and of 512."""

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.drop(x)) + rounding * (len(x) > 3) * torch.eye(3)[0]

    on_wide_device()
    torch.manual_seed(0)
    if is_refused:
        with pytest.raises(ValueError, match="same predictions for a point in any batch"):
            predict(Rounded().eval(), [torch.randn(12, 8)])
    else:
        predict(Rounded().eval(), [torch.randn(12, 8)])
