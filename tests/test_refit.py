"""Going back to where a round starts: callbacks, checkpoints' folders, nested runs, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_al._lightning import pl
from lightning_al.refit import CallbackStates, RoundCheckpoints, Start, nested
from lightning_al.weights import copy_weights, reset_parameters
from tests.tasks import LitMLP, trainer


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
    fitting, states, start = trainer(tmp_path, callbacks=[counter, stopping, timer]), CallbackStates(), Start()
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


class Checkpoints:
    """A folder of checkpoints, as real fits write them."""

    def __init__(self, tmp_path: Path, keep_all: bool = False) -> None:
        self.folder = tmp_path / "kept"
        self.checkpoint = pl.callbacks.ModelCheckpoint(dirpath=self.folder)
        self.trainer = trainer(tmp_path, enable_checkpointing=True, callbacks=[self.checkpoint])
        self.rounds = RoundCheckpoints(keep_all)

    def save(self, number: int, name: str = "a.ckpt", **hyperparameters: Any) -> Path:
        path = self.folder / f"round-{number}" / name
        module = LitMLP()
        module.hparams.update(hyperparameters)
        self.trainer.strategy.connect(module)
        self.trainer.save_checkpoint(path)
        return path

    def begin(self, number: int, again: bool = False) -> None:
        self.checkpoint.dirpath = str(self.folder)
        (self.rounds.begin_again if again else self.rounds.begin)(self.trainer, number)
        assert self.checkpoint.dirpath == str(self.folder / f"round-{number}")

    def finish(self, number: int) -> set[str]:
        self.rounds.finish(self.trainer, number)
        return self.left

    @property
    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path)


def test_checkpoints_of_other_rounds_go_only_once_there_is_a_new_one(kept: Checkpoints) -> None:
    kept.begin(0)
    kept.save(0)
    (kept.folder / "mine.txt").touch()
    kept.begin(1)
    assert kept.finish(1) == {"mine.txt", "round-0"}
    kept.save(1)
    assert kept.finish(1) == {"mine.txt", "round-1"}


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite_the_start(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\0" * 512 + content[512:])


@pytest.mark.parametrize("damage", [cut_in_half, empty, overwrite_the_start])
@pytest.mark.parametrize("beside_a_whole_one", [False, True])
def test_a_damaged_checkpoint_keeps_the_older_ones(kept: Checkpoints, damage: Any, beside_a_whole_one: bool) -> None:
    kept.begin(0)
    kept.save(0)
    kept.begin(1)
    damage(kept.save(1, "b.ckpt"))
    if beside_a_whole_one:
        kept.save(1, "c.ckpt")
    with pytest.warns(UserWarning, match=r"round-1/b\.ckpt cannot be loaded \(.*\)\. .* rounds before are kept"):
        assert kept.finish(1) == {"round-0", "round-1"}
    kept.begin(2)
    kept.save(2)
    assert kept.finish(2) == {"round-2"}


def test_a_checkpoint_with_objects_in_it_is_whole(kept: Checkpoints) -> None:
    kept.begin(0)
    kept.save(0)
    kept.begin(1)
    kept.save(1, mine=PatientStopping("val_loss"))
    assert kept.finish(1) == {"round-1"}


@pytest.mark.parametrize("keep_all", [False, True])
def test_what_a_cut_off_fit_saved_is_set_aside_until_there_is_more(tmp_path: Path, keep_all: bool) -> None:
    kept = Checkpoints(tmp_path, keep_all)
    kept.begin(0)
    kept.save(0, "first.ckpt")
    for name in ("second.ckpt", "third.ckpt"):
        kept.begin(0, again=True)
        kept.save(0, name)
        assert {path.name for path in (kept.folder / "round-0-before").iterdir()} == {"first.ckpt"}
    assert kept.finish(0) == {"round-0"}
    assert {path.name for path in (kept.folder / "round-0").iterdir()} == {"third.ckpt"}
    kept.begin(1)
    kept.save(1)
    assert kept.finish(1) == ({"round-0", "round-1"} if keep_all else {"round-1"})


def test_a_nested_run_leaves_the_trainers_state(tmp_path: Path) -> None:
    fitting = trainer(tmp_path)
    fitting.state.fn, fitting.training = pl.trainer.states.TrainerFn.FITTING, True
    with nested(fitting):
        fitting.state.fn, fitting.testing = pl.trainer.states.TrainerFn.TESTING, True
    assert fitting.state.fn == pl.trainer.states.TrainerFn.FITTING
    assert fitting.training


def test_a_lightning_that_chooses_checkpoints_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = trainer(tmp_path)
    monkeypatch.delattr(type(fitting._checkpoint_connector), "_select_ckpt_path")
    with pytest.raises(RuntimeError, match="whose Trainers choose a checkpoint by"), nested(fitting):
        pass


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
