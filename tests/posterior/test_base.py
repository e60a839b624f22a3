"""What all posteriors share: evaluation mode that goes back, and log-probabilities from whatever a module gives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_al.posterior import Deterministic, MCDropout, Posterior, posteriors
from lightning_al.posterior.base import evaluating
from lightning_al.task import Multiclass
from tests.support.samples import log_probs_of

# Logits such as 0, 0, 1 for each point would be taken for probabilities.
logits = (
    st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=5)
    .map(torch.tensor)
    .filter(lambda logits_n_C: logits_n_C.min() < 0 or (logits_n_C.sum(1) - 1).abs().max() > 0.01)
)


@given(logits)
def test_log_probs_are_those_of_the_softmax(logits_n_C: Tensor) -> None:
    log_probs = Multiclass().log_probs(logits_n_C.double())
    for row, expected in zip(log_probs.tolist(), logits_n_C.tolist(), strict=True):
        total = sum(math.exp(logit) for logit in expected)
        assert row == pytest.approx([logit - math.log(total) for logit in expected], abs=1e-9)


@given(logits)
def test_log_probs_pass_unchanged(logits_n_C: Tensor) -> None:
    log_probs = Multiclass().log_probs(logits_n_C.double())
    torch.testing.assert_close(Multiclass().log_probs(log_probs), log_probs, rtol=0, atol=1e-12)


@given(logits, st.floats(-10, 10))
def test_a_constant_in_all_logits_changes_nothing(logits_n_C: Tensor, constant: float) -> None:
    logits_n_C = logits_n_C.double() - 1
    torch.testing.assert_close(
        Multiclass().log_probs(logits_n_C - abs(constant)), Multiclass().log_probs(logits_n_C), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_precision_is_single_at_least(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert Multiclass().log_probs(torch.zeros(2, 3, dtype=dtype)).dtype == expected


def test_impossible_classes_and_nan_pass_on() -> None:
    log_probs = Multiclass().log_probs(torch.tensor([[0.0, 0.0, -math.inf], [0.0, math.nan, 1.0]]))
    assert log_probs[0].tolist() == pytest.approx([-math.log(2), -math.log(2), -math.inf])
    assert log_probs[1].isnan().all(), "a NaN must stay one, so that scoring can name the point"


@pytest.mark.parametrize(
    "outputs",
    [
        torch.zeros(0, 3),
        torch.tensor([[0.2, 0.9], [0.5, 0.5]]),
        torch.tensor([[-0.1, 1.1], [0.5, 0.5]]),
        torch.tensor([[2.0, 0.0]]),
        torch.tensor([[0.6, 0.4005]]),
    ],
    ids=["empty", "one row sums to more", "negative", "positive", "one point sums to 1 by chance"],
)
def test_logits_that_only_look_like_probabilities_pass(outputs: Tensor) -> None:
    torch.testing.assert_close(Multiclass().log_probs(outputs), outputs.log_softmax(1))


def mixed_modes() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), nn.ReLU())
    net[1].eval()
    net[1][0].train()
    net[0].weight.requires_grad_(False)
    return net


def flags(net: nn.Module) -> list[bool]:
    return [part.training for part in net.modules()] + [weight.requires_grad for weight in net.parameters()]


def test_evaluating_puts_every_part_back_to_its_own_mode() -> None:
    net = mixed_modes()
    before = flags(net)
    with evaluating(net):
        assert not any(part.training for part in net.modules())
        assert not torch.is_grad_enabled()
    assert flags(net) == before
    assert torch.is_grad_enabled()


def test_evaluating_puts_modes_back_after_an_exception() -> None:
    net = mixed_modes()
    before = flags(net)
    with pytest.raises(KeyError), evaluating(net):
        raise KeyError
    assert flags(net) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("posterior", [Deterministic(), MCDropout(3)])
def test_the_module_is_as_before_between_batches_and_after_an_exception(posterior: Posterior) -> None:
    net = mixed_modes()
    before = flags(net)
    batches = iter([torch.ones(4, 2), torch.ones(3, 5)])
    predictions = log_probs_of(posterior, net, batches, seed=0)
    first = next(predictions)
    assert flags(net) == before
    assert torch.is_grad_enabled()
    assert not first.requires_grad
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        next(predictions)
    assert flags(net) == before
    assert torch.is_grad_enabled()


def test_a_posterior_needs_one_fit_a_round_unless_it_says_otherwise() -> None:
    assert MCDropout().num_fits == Deterministic().num_fits == 1


def test_posteriors_are_chosen_by_name() -> None:
    assert {"deterministic", "mc_dropout"} <= set(posteriors.available())
    assert posteriors.create("mc_dropout", num_samples=7) == MCDropout(7)
    assert posteriors.create("deterministic") == Deterministic()
    with pytest.raises(ValueError, match=r"no posterior named 'dropout'. Choose one of: .*deterministic, .*mc_dropout"):
        posteriors.create("dropout")
