"""Going back to where a round starts: callbacks, checkpoints' folders, nested runs, weights."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from torch import nn

from lightning_al.host.callback_states import CallbackStates
from lightning_al.host.namespace import pl
from lightning_al.host.nested_fits import nested
from lightning_al.host.round_start import RoundStart
from lightning_al.run.weights import copy_weights, reset_parameters
from tests.support.tasks import LitMLP, trainer


class Counter(pl.Callback):
    """A user's callback: what it returns as its state goes back, what it gathers besides does not."""

    def __init__(self) -> None:
        self.count = 0
        self.gathered: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


class PatientStopping(pl.callbacks.EarlyStopping):
    """A user's own kind of one of Lightning's callbacks."""


def test_states_go_back_to_those_before_the_first_fit(tmp_path: Path) -> None:
    counter, stopping, timer = Counter(), PatientStopping("val_loss"), pl.callbacks.Timer("00:01:00:00")
    fitting, states, start = trainer(tmp_path, callbacks=[counter, stopping, timer]), CallbackStates(), RoundStart()
    module = LitMLP()
    start.before_setup(fitting, module)
    states.remember_or_restore(fitting, but=pl.Callback())
    for _ in range(2):
        counter.count, stopping.wait_count, timer._offset = 5, 3, 7
        counter.gathered.append(1)
        stopping.best_score = torch.tensor(0.25)
        start.before_setup(fitting, module)
        states.remember_or_restore(fitting, but=pl.Callback())
        assert (counter.count, stopping.wait_count, timer._offset) == (0, 0, 7)
        assert stopping.best_score == torch.tensor(float("inf"))
    assert counter.gathered == [1, 1]


def test_a_state_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    class Locked(pl.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"lock": Lock()}

    fitting = trainer(tmp_path, callbacks=[Locked()])
    with pytest.raises(TypeError, match="`state_dict` of `Locked` cannot be copied"):
        CallbackStates().remember_or_restore(fitting, but=pl.Callback())


class OwnStopping(pl.Callback):
    """A user's callback that stops a fit by what it keeps in its attributes, without a `state_dict`."""

    def __init__(self) -> None:
        self.best = torch.tensor(float("inf"))
        self.wait = 0
        self.patience = 2
        self.seen: list[float] = []


def test_what_a_fit_leaves_in_a_callback_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopping, counter = OwnStopping(), Counter()
    fitting, states = trainer(tmp_path, callbacks=[stopping, counter]), CallbackStates()
    with caplog.at_level("INFO"):
        for _ in range(3):
            states.remember_or_restore(fitting, but=pl.Callback())
            stopping.best, stopping.wait, counter.count = torch.tensor(0.5), stopping.wait + 1, 1
            stopping.seen.append(0.5)
    said = [record.getMessage() for record in caplog.records if "begins this fit" in record.getMessage()]
    assert len(said) == 1
    assert "`OwnStopping` begins this fit with what the one before left in `best`, `wait`. For each fit" in said[0]
    assert stopping.wait == 3


def test_a_nested_run_leaves_the_trainers_state(tmp_path: Path) -> None:
    fitting = trainer(tmp_path)
    fitting.state.fn, fitting.training = pl.trainer.states.TrainerFn.FITTING, True
    with nested(fitting):
        fitting.state.fn, fitting.testing = pl.trainer.states.TrainerFn.TESTING, True
    assert fitting.state.fn == pl.trainer.states.TrainerFn.FITTING
    assert fitting.training


def test_weights_are_copied_not_shared() -> None:
    module = LitMLP()
    copied = copy_weights(module)
    with torch.no_grad():
        module.net[0].weight.zero_()
    assert copied["net.0.weight"].abs().sum() > 0


def test_reset_draws_parameters_and_statistics_anew() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ModuleList([nn.Linear(4, 4)]))
    net[1].running_mean.fill_(3.0)
    before = copy_weights(net)
    torch.manual_seed(0)
    reset_parameters(net)
    assert not torch.equal(net[0].weight, before["0.weight"])
    assert not torch.equal(net[2][0].weight, before["2.0.weight"])
    assert torch.equal(net[1].running_mean, torch.zeros(4))


def test_what_cannot_be_reset_is_named() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.free = nn.Parameter(torch.zeros(2))

    with pytest.raises(ValueError, match=r"cannot reset 'free' of `Bare` \(1 parameters in all\)"):
        reset_parameters(Bare())
