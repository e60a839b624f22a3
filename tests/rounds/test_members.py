"""Several fits a round: what is kept of each, what a killed run does again, and what a journal may say of them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.rounds.members import Member, Members
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.records import replay
from tests.doors.test_several_fits import Ensemble, active_data, plain
from tests.support import programs
from tests.support.combinations import one_in
from tests.support.tasks import LitMLP, trainer

DEATHS = {
    # The place, the fit in which the process dies, and how many of the six fits are left for the next one.
    "in the second fit": ("fit", 1, 5),
    "in the test of the first": ("test", 0, 6),
    "in the test of the second": ("test", 1, 5),
    "between the second and the third": ("between", 2, 4),
    "with weights that have no row": ("before row", 1, 5),
    "just after a row": ("after row", 0, 5),
    "in the second fit of the second round": ("fit", 4, 2),
    "before the first round is recorded": ("label", 2, 3),
    "in the last fit": ("fit", 5, 1),
}


REPEATED = (
    *("in the test of the first", "in the test of the second", "between the second and the third"),
    *("in the second fit of the second round", "in the last fit"),
)
"""Places with no more and no less on the disk than others have, or the same in other fits.

The runs that are stopped by a signal are in the second round too.
"""

OFTEN = (pytest.mark.long, pytest.mark.slow)

SIGNALS = ("SIGTERM", "SIGINT")

RUNS: dict[str, dict[str, Any]] = {
    "whole": {},
    "whole and warm": {"reset": "warm"},
    **{name: {"place": place, "fit": fit} for name, (place, fit, _) in DEATHS.items()},
    "warm in the second round": {"place": "fit", "fit": 4, "reset": "warm"},
    **{number: {"place": "fit", "fit": 4, "signal": number} for number in SIGNALS},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Return how a run ended that died and was resumed, or one that nothing disturbed; each is made once."""

    @cache
    def ended(name: str) -> dict[str, Any]:
        out = tmp_path_factory.mktemp("members")
        done = programs.run("-m", "tests.support.ensemble_runs", out, json.dumps([{"name": name, **RUNS[name]}]))
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    return ended


def check_as_whole(ended: dict[str, Any], whole: dict[str, Any], fits: int) -> None:
    assert ended["ended"] == 0, ended["said"]
    for name in ("rounds", "labels", "weights", "files", "step"):
        assert ended[name] == whole[name], name
    assert ended["fits"] == fits


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["in the second fit", *(pytest.param(name, marks=OFTEN[name in REPEATED]) for name in list(DEATHS)[1:])],
)
def test_a_killed_run_resumes_in_its_fit_and_ends_as_a_whole_one(found: Any, name: str) -> None:
    assert found(name)["died"] == -signal.SIGKILL
    check_as_whole(found(name), found("whole"), DEATHS[name][2])


@pytest.mark.long
def test_a_killed_run_resumes_each_fit_from_its_own_end_of_the_round_before(found: Any) -> None:
    check_as_whole(found("warm in the second round"), found("whole and warm"), 2)


# The two signals are told apart in tests/run/test_stopping.py.
@pytest.mark.long
@pytest.mark.parametrize("number", [SIGNALS[0], pytest.param(SIGNALS[1], marks=pytest.mark.slow)])
def test_a_stopped_run_resumes_in_its_fit_too(found: Any, number: str) -> None:
    assert found(number)["died"] == 128 + signal.Signals[number]
    check_as_whole(found(number), found("whole"), 2)


@pytest.mark.long
def test_a_whole_run_leaves_no_weights_of_its_fits(found: Any) -> None:
    kept = [f"run/kept/round-1/member-{member}/epoch=0-step=2.ckpt" for member in range(3)]
    journals = [f"run/{name}" for name in ("history.jsonl", "initial.pt", "journal.sqlite", "labels.csv", "model.ckpt")]
    checkpoints = ["run/kept/round-1/.lightning_al.json", *kept]
    assert found("whole")["fits"] == 6
    assert found("whole")["files"] == sorted([*journals, *checkpoints])
    warm = [f"run/warm-{number}{member}.pt" for number in range(2) for member in ("", "-member-1", "-member-2")]
    assert found("whole and warm")["files"] == sorted([*journals, *checkpoints, *warm])


class CutError(Exception):
    pass


class Cut(pl.Callback):
    """Cut the run off after the first epoch of a fit, once a checkpoint was saved; and count fits."""

    def __init__(self, fit: int | None = None) -> None:
        self.fit = fit
        self.fits = 0
        self.epochs: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append(trainer.current_epoch)
        if self.fits - 1 == self.fit and trainer.current_epoch == 1:
            self.fit = None
            raise CutError


class Run:
    """Three rounds of three fits that may be cut off and resumed, in this process or as in another."""

    def __init__(self, tmp_path: Path, folder: str | None = None, seed_of_weights: int = 7, **arguments: Any) -> None:
        self.tmp_path = tmp_path
        given = {"query_size": 4, "max_rounds": 2, "seed": 5, **arguments}
        place = None if folder is None else tmp_path / folder
        self.active = ActiveLearning("bald", posterior=Ensemble(), folder=place, **given)
        torch.manual_seed(seed_of_weights)
        self.module, self.data = LitMLP(), active_data()

    def fit(self, *callbacks: pl.Callback, ckpt_path: str | Path | None = None) -> Cut:
        """Return what counted the fits."""
        cut = next((one for one in callbacks if isinstance(one, Cut)), Cut())
        given = {"callbacks": [self.active, *{cut, *callbacks}], "enable_checkpointing": True}
        path: Any = ckpt_path
        trainer(self.tmp_path, **given).fit(self.module, datamodule=self.data, ckpt_path=path)
        return cut

    @property
    def ended(self) -> Any:
        weights = {name: value.tolist() for name, value in self.module.state_dict().items()}
        return plain(self.active), weights, self.data.pool.state_dict()


def checkpoint(tmp_path: Path) -> pl.callbacks.ModelCheckpoint:
    return pl.callbacks.ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_last=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How runs end that nothing cuts off, by `reset`."""
    ended = {}
    for reset in ("initial", "warm"):
        tmp_path = tmp_path_factory.mktemp(reset)
        run = Run(tmp_path, reset=reset)
        run.fit(checkpoint(tmp_path))
        ended[reset] = run.ended
    return ended


@pytest.mark.long
@pytest.mark.parametrize(("folder", "reset"), one_in(2, ["run", None], ["initial", "warm"]))
def test_the_same_program_may_call_again(tmp_path: Path, whole: Any, folder: str | None, reset: str) -> None:
    run = Run(tmp_path, folder, reset=reset)
    with pytest.raises(CutError):
        run.fit(checkpoint(tmp_path), Cut(4))
    assert run.fit(checkpoint(tmp_path)).fits == 2
    assert run.ended == whole[reset]


# Without a folder, all that the fit goes on from is in the checkpoint.
@pytest.mark.long
@pytest.mark.parametrize(("folder", "reset"), [pytest.param("run", "initial", marks=pytest.mark.slow), (None, "warm")])
def test_a_checkpoint_of_the_middle_of_a_fit_goes_on_there(
    tmp_path: Path, whole: Any, folder: str | None, reset: str
) -> None:
    with pytest.raises(CutError):
        Run(tmp_path, folder, reset=reset).fit(checkpoint(tmp_path), Cut(4))
    (last,) = (tmp_path / "kept" / "round-1" / "member-1").glob("last.ckpt")
    resumed = Run(tmp_path, folder, seed_of_weights=8, reset=reset)
    cut = resumed.fit(checkpoint(tmp_path), ckpt_path=last)
    assert cut.epochs == [1, 0, 1]
    # As a round with one fit does, the fit goes on with other random numbers than one that was not cut off.
    (before, round), (whole_before, whole_round) = resumed.ended[0], whole[reset][0]
    assert before == whole_before
    assert round["members"][::2] == whole_round["members"][::2]
    assert {path.parent.name for path in (tmp_path / "kept").rglob("*.ckpt")} == {"member-0", "member-1", "member-2"}


@pytest.mark.long
def test_a_checkpoint_that_is_found_begins_its_fit_again(tmp_path: Path, whole: Any) -> None:
    with pytest.raises(CutError):
        Run(tmp_path).fit(checkpoint(tmp_path), Cut(4))
    resumed = Run(tmp_path, seed_of_weights=8)
    assert resumed.fit(checkpoint(tmp_path), ckpt_path="last").fits == 2
    assert resumed.ended == whole["initial"]


def test_a_checkpoint_of_an_earlier_fit_than_the_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        Run(tmp_path, "run").fit(checkpoint(tmp_path), Cut(4))
    (earlier,) = (tmp_path / "kept" / "round-1" / "member-0").glob("last.ckpt")
    words = (
        r"was saved in fit 0 of round 1, but of that round the run folder .* has 1 whole fits\. Leave out `ckpt_path`"
    )
    with pytest.raises(ValueError, match=words):
        Run(tmp_path, "run").fit(checkpoint(tmp_path), ckpt_path=earlier)


@pytest.mark.long
@pytest.mark.parametrize("reset", ["initial", pytest.param("warm", marks=pytest.mark.slow)])
def test_a_run_that_is_done_repeats_its_last_fit(tmp_path: Path, whole: Any, reset: str) -> None:
    Run(tmp_path, "run", reset=reset).fit(checkpoint(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    again = Run(tmp_path, "run", seed_of_weights=8, reset=reset)
    assert again.fit(checkpoint(tmp_path)).fits == 1
    assert again.ended == whole[reset]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.long
@pytest.mark.parametrize("reset", [pytest.param("initial", marks=pytest.mark.slow), "warm"])
def test_a_larger_limit_goes_on_further(tmp_path: Path, whole: Any, reset: str) -> None:
    Run(tmp_path, "run", max_rounds=1, reset=reset).fit(checkpoint(tmp_path))
    further = Run(tmp_path, "run", seed_of_weights=8, reset=reset)
    assert further.fit(checkpoint(tmp_path)).fits == 6
    assert further.ended == whole[reset]


@pytest.mark.parametrize("folder", ["run", pytest.param(None, marks=pytest.mark.slow)])
def test_a_label_that_is_corrected_in_between_begins_the_round_again(tmp_path: Path, folder: str | None) -> None:
    run = Run(tmp_path, folder)
    with pytest.raises(CutError):
        run.fit(Cut(4))
    run.data.pool.correct(run.data.pool.labelled[-1], 3)
    assert run.fit().fits == 3
    assert run.active.history[1].corrected == [run.data.pool.labelled[-1]]


@pytest.mark.long
def test_fits_whose_weights_are_gone_are_done_again(tmp_path: Path, whole: Any) -> None:
    with pytest.raises(CutError):
        Run(tmp_path, "run").fit(checkpoint(tmp_path), Cut(5))
    (tmp_path / "run" / "round-1-member-1.pt").unlink()
    resumed = Run(tmp_path, "run", seed_of_weights=8)
    assert resumed.fit(checkpoint(tmp_path)).fits == 2
    assert resumed.ended == whole["initial"]


def test_damaged_weights_of_a_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        Run(tmp_path, "run").fit(Cut(4))
    path = tmp_path / "run" / "round-1-member-0.pt"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RuntimeError, match=r"round-1-member-0\.pt is damaged"):
        Run(tmp_path, "run").fit()


def test_another_seed_does_the_fits_again(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        Run(tmp_path, "run").fit(Cut(1))
    with pytest.warns(UserWarning, match="resumes a run that began with other arguments"):
        assert Run(tmp_path, "run", seed=6, force=True).fit().fits == 6


# What a journal may say.

MEMBER = Member(0, 0, 3, {"acc": 0.5}, {"fit": 1.5}, {"fit": 7}, 20, 16).to_dict()
ROUND = {"number": 0, "indices": [7], "scores": [0.5]}


def rows(*bodies: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"schema": 1, "initial": [7]}, *bodies]


def test_a_journal_tells_of_the_fits_of_the_next_round() -> None:
    first, second = {"member": MEMBER}, {"member": {**MEMBER, "number": 1}}
    assert replay(rows(first, second)).members == [MEMBER, second["member"]]
    assert replay(rows(first, second, first)).members == [MEMBER], "done again, so that the others are too"
    assert replay(rows(first, {"round": ROUND, "labels": {"7": 1}})).members == []
    assert replay(rows(first, {"change": {"index": 7, "label": 1, "given_back": False}})).members == []
    assert Member(**replay(rows(first)).members[0]).to_dict() == MEMBER


@pytest.mark.parametrize(
    "wrong",
    [
        {"round": 1},
        {"number": 1},
        {"number": -1},
        {"number": "0"},
        {"seed": "3"},
        {"metrics": {"acc": "good"}},
        {"seconds": [1]},
        {"steps": 1.5},
        {"peak_bytes": None},
        {"validation_labels": True},
    ],
    ids=str,
)
def test_a_fit_that_no_run_writes_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"a row contradicts those before: (it is fit|fit 0 of round 0 has) .*Put back"
    ):
        replay(rows({"member": {**MEMBER, **wrong}}))
    for name in MEMBER:
        with pytest.raises(KeyError):
            replay(rows({"member": {key: value for key, value in MEMBER.items() if key != name}}))


def test_rounds_of_several_fits_are_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin({"seed": 0})
    journal.save_weights("round-0-member-0", {"weight": torch.ones(2)})
    journal.append_member(MEMBER)
    assert journal.members == [MEMBER]
    journal.remove_weights("round-0-member-0")
    assert journal.members == []
    journal.append(Round(0, 2, [7], [0.5], members=[{"acc": 0.5}, {"acc": 0.25}]), {})
    journal.close()
    (round,) = Journal.read_history(tmp_path)
    assert round.members == [{"acc": 0.5}, {"acc": 0.25}]


def test_the_figures_of_fits_come_together() -> None:
    members = Members()
    members.done = [Member(0, 0, 1, {"loss": 1.0}, {"fit": 1.0, "test": 2.0}, {"fit": 9}, 10, 16)]
    last = Round(0, 2, [7], [0.5], metrics={"loss": 3.0, "acc": 0.5}, seconds={"fit": 2.0}, steps=5)
    round = members.together(last)
    assert round.metrics == {"loss": 2.0, "acc": 0.5}
    assert round.members == [{"loss": 1.0}, {"loss": 3.0, "acc": 0.5}]
    assert (round.seconds, round.steps) == ({"fit": 3.0, "test": 2.0}, 15)
    assert (round.validation_labels, round.peak_bytes) == (16, {"fit": 9})
    assert Members().together(last) == last
