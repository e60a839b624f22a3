"""Runs whose checkpoints Lightning finds again by itself: they end as one that nothing cut off, and ask nothing twice.

SLURM is played here by its environment variables and a `scontrol` that does what SLURM does to a job that is queued
again; Lightning's own handlers do the rest. tests/slurm has the real one.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle
from lightning_al.host.found_checkpoints import by_age
from lightning_al.host.namespace import pl
from lightning_al.run.journal import Journal
from lightning_al.run.stopping import StoppedError
from tests.support.tasks import LitMLP, points, trainer
from tests.test_callback import active_data, plain, same_weights, weights

pytestmark = pytest.mark.filterwarnings(r"ignore:.*fit\(ckpt_path=")  # Lightning's word on OnExceptionCheckpoint

Place = Literal["fit", "train end", "test", "label", "between"]
How = Literal["an exception", "SLURM"]


class CutError(Exception):
    pass


class Cut(pl.Callback):
    """Do something once, at a place in a round."""

    def __init__(self, do: Callable[[pl.Trainer], None], round: int, place: Place) -> None:
        self.do, self.round, self.place = do, round, place
        self.is_done = False

    def at(self, trainer: pl.Trainer, place: Place, now: bool = True) -> None:
        [active] = [callback for callback in trainer.callbacks if isinstance(callback, ActiveLearning)]
        if now and not self.is_done and (active.round, place) == (self.round, self.place):
            self.is_done = True
            self.do(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at(trainer, "between")
        self.trainer = trainer

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at(trainer, "fit", trainer.current_epoch == 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at(trainer, "train end")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.at(trainer, "test")


class Logged(Oracle):
    """Give the classes of `points` in another order, so that no label is the dataset's own, and log what is asked."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.cut = cut
        self.asked: list[list[int]] = []

    def label(self, indices: Sequence[int]) -> Mapping[int, int]:
        if self.cut is not None:
            self.cut.at(self.cut.trainer, "label")
        self.asked.append(list(indices))
        return {index: (index + 1) % 4 for index in indices}


class Ended(NamedTuple):
    """How a program ends."""

    rounds: list[dict[str, Any]]
    weights: dict[str, Tensor]
    asked: list[list[int]]
    active: ActiveLearning
    trainer: pl.Trainer


def fail(trainer: pl.Trainer) -> None:
    raise CutError


def warn_of_the_end(trainer: pl.Trainer) -> None:
    """Do what SLURM does some time before the end of a job's."""
    os.kill(os.getpid(), signal.SIGUSR1)


CUTS: dict[How, Callable[[pl.Trainer], None]] = {"an exception": fail, "SLURM": warn_of_the_end}


def program(
    home: Path,
    cut: Cut | None = None,
    *,
    folder: Path | None = None,
    extra: Sequence[pl.Callback] = (),
    seed_of_weights: int = 7,
    on_exception: bool = True,
    fit: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Ended:
    """Run a user's program, which is the same each time that it is started."""
    oracle = Logged(cut)
    arguments: dict[str, Any] = {"query_size": 4, "budget": 16, "folder": folder, "seed": 1, **kwargs}
    arguments.setdefault("posterior", MCDropout(3))
    active = ActiveLearning(arguments.pop("acquisition", "bald"), oracle=oracle, **arguments)
    torch.manual_seed(seed_of_weights)
    module, data = LitMLP(), active_data(20)
    saving = [pl.callbacks.OnExceptionCheckpoint(home)] if on_exception else []
    callbacks = [active, *saving, *extra, *([] if cut is None else [cut])]
    fitting = trainer(home, max_epochs=2, callbacks=callbacks, enable_checkpointing=bool(saving or extra))
    try:
        while not active.done:
            fitting.fit(module, datamodule=data, **(fit or {}))
    finally:
        ASKED.extend(oracle.asked)
    return Ended(plain(active.history), weights(module), oracle.asked, active, fitting)


ASKED: list[list[int]] = []
"""All queries of a test, those of programs that were cut off among them."""


@pytest.fixture(autouse=True)
def nothing_asked(whole: Ended) -> None:
    ASKED.clear()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process be a job of SLURM's, which ends what it queues again: once `Popen` has made its object."""
    for name in ("JOB_ID", "NTASKS", "PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "1" if name in ("JOB_ID", "NTASKS") else "0")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text("#!/bin/sh\nsleep 0.1\nkill -TERM $PPID\n")
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The program that nothing cuts off."""
    return program(tmp_path_factory.mktemp("whole"), on_exception=False)


def check_same_end(ended: Ended, whole: Ended) -> None:
    assert ended.rounds == whole.rounds
    assert same_weights(ended.weights, whole.weights)


QUICK = [
    *(("an exception", "fit", 1, False), ("an exception", "fit", 1, True)),
    *(("an exception", "between", 1, False), ("SLURM", "label", 1, False)),
]
"""What SLURM ends in a fit goes on below, in a loop of one's own."""

WAYS = [
    pytest.param(
        how, place, round, with_folder, marks=[] if (how, place, round, with_folder) in QUICK else [pytest.mark.slow]
    )
    for with_folder in (False, True)
    for round in (0, 1)
    for how, places in {
        "an exception": ["fit", "train end", "test", "label", "between"],
        "SLURM": ["fit", "train end", "test", "label"],  # Lightning answers the signal from the start of training on
    }.items()
    for place in places
]


@pytest.mark.long
@pytest.mark.parametrize(("how", "place", "round", "with_folder"), WAYS)
def test_a_program_started_again_ends_as_one_that_was_not_cut_off(
    tmp_path: Path, whole: Ended, slurm: None, how: How, place: Place, round: int, with_folder: bool
) -> None:
    options: dict[str, Any] = {
        "folder": tmp_path / "run" if with_folder else None,
        "on_exception": how == "an exception",
    }
    with pytest.raises((CutError, StoppedError)):
        program(tmp_path, Cut(CUTS[how], round, place), **options)
    found = tmp_path / ("on_exception.ckpt" if how == "an exception" else "hpc_ckpt_1.ckpt")
    assert found.exists() == ((round, place) != (0, "between"))  # where nothing has happened yet
    # The new process may have other weights to begin with: those of the run's start are what counts.
    again = program(tmp_path, **options, seed_of_weights=8 if round > 0 else 7)
    check_same_end(again, whole)
    assert whole.asked == ASKED


@pytest.mark.parametrize("reset", ["warm", pytest.param("fresh", marks=pytest.mark.slow)])
def test_a_round_that_starts_from_other_weights_begins_again_too(tmp_path: Path, reset: Any) -> None:
    whole = program(tmp_path, reset=reset, on_exception=False)
    ASKED.clear()
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 1, "fit"), reset=reset)
    torch.load(tmp_path / "on_exception.ckpt", weights_only=True)  # plain data and tensors alone
    check_same_end(program(tmp_path, reset=reset, seed_of_weights=8), whole)
    assert whole.asked == ASKED


@pytest.mark.parametrize("with_folder", [False, True], ids=["without", "with"])
def test_a_loop_of_ones_own_takes_the_checkpoint_once(
    tmp_path: Path, whole: Ended, slurm: None, caplog: pytest.LogCaptureFixture, with_folder: bool
) -> None:
    options: dict[str, Any] = {
        "folder": tmp_path / "run" if with_folder else None,
        "rounds_per_fit": 1,
        "on_exception": False,
    }
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "fit"), **options)
    with caplog.at_level("INFO"):
        check_same_end(program(tmp_path, **options), whole)
    assert whole.asked == ASKED
    said = [line for line in caplog.messages if "that Lightning found by itself" in line or "It is ignored" in line]
    path = tmp_path / "hpc_ckpt_1.ckpt"
    ignored = f"Lightning found the checkpoint {path} by itself. It is ignored, since"
    if with_folder:
        assert said == [f"{ignored} the run folder {tmp_path / 'run'} says where the run stands."]
    else:
        resumed = (
            f"Resuming the run in {path}, a checkpoint that Lightning found by itself: it has 1 rounds, and round 1"
        )
        assert said == [f"{resumed} begins again.", f"{ignored} this `ActiveLearning` resumes its own run."]


@pytest.mark.parametrize(
    ("place", "with_folder"),
    [
        ("fit", False),
        ("between", True),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in (("fit", True), ("between", False))),
    ],
)
def test_the_last_checkpoint_by_that_word(tmp_path: Path, whole: Ended, place: Place, with_folder: bool) -> None:
    """``ckpt_path="last"``, set once and for all, where each round has a folder of checkpoints of its own."""

    def started(cut: Cut | None = None) -> Ended:
        return program(
            tmp_path,
            cut,
            folder=tmp_path / "run" if with_folder else None,
            extra=[pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)],
            on_exception=False,
            fit={"ckpt_path": "last"},
        )

    with pytest.raises(CutError):
        started(Cut(fail, 1, place))
    check_same_end(started(), whole)
    # Between two rounds the last checkpoint is of the round before, whose query only a folder has.
    again = whole.asked[:1] if place == "between" and not with_folder else []
    assert [*again, *whole.asked] == ASKED


def test_slurms_checkpoint_by_its_word(tmp_path: Path, whole: Ended, slurm: None) -> None:
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "fit"), on_exception=False)
    check_same_end(program(tmp_path, on_exception=False, fit={"ckpt_path": "hpc"}), whole)


def test_what_only_has_a_name_like_slurms_checkpoints_is_let_be(tmp_path: Path, whole: Ended, slurm: None) -> None:
    files = ["hpc_ckpt_x.ckpt", "hpc_ckpt_.ckpt", "hpc_ckpt_007.ckpt", "hpc_ckpt_\u0663.ckpt", "hpc_ckpt_8.ckpt.part"]
    files += ["my_ckpt_best.ckpt", "old-hpc_ckpt_9.ckpt", "hpc_ckpt_3 (copy).ckpt"]
    for name in files:
        (tmp_path / name).write_text("not ours")
    (tmp_path / "hpc_ckpt_5.ckpt").mkdir()
    os.mkfifo(tmp_path / "hpc_ckpt_6.ckpt")
    ended = program(tmp_path, on_exception=False)
    check_same_end(ended, whole)
    ended.trainer.test(LitMLP(), datamodule=active_data(20), verbose=False)
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(lambda _: signal.raise_signal(signal.SIGUSR1), 1, "fit"), on_exception=False)
    assert (tmp_path / "hpc_ckpt_7.ckpt").is_file()
    ASKED.clear()
    again = program(tmp_path, on_exception=False)
    check_same_end(again, whole)
    assert again.asked == whole.asked[1:]
    assert {(tmp_path / name).read_text() for name in files} == {"not ours"}


@pytest.mark.parametrize("suffix", ["", "-0123abcd"])
def test_folders_of_rounds_are_sorted_from_the_newest(suffix: str) -> None:
    names = [f"round-{number}{suffix}{aside}" for number in (10, 9, 2) for aside in ("", "-before")]
    others = ["round-robin", "round-1234567890", "round-\u0663"]
    assert [path.name for path in sorted(map(Path, [*others, *reversed(names)]), key=by_age)] == [*names, *others]


def test_what_the_folder_says_is_ahead_of_the_checkpoint(tmp_path: Path, whole: Ended, slurm: None) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "fit"), folder=folder)
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 2, "fit"), folder=folder, on_exception=False)  # and no new checkpoint
    check_same_end(program(tmp_path, folder=folder), whole)
    check_same_end(program(tmp_path, folder=folder), whole)  # where it is done
    assert whole.asked == ASKED


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path: Path, whole: Ended) -> None:
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 1, "fit"))
    with pytest.raises(ValueError, match=r"on_exception.ckpt, which Lightning found by itself \(move .*its query_size"):
        program(tmp_path, query_size=2)
    program(tmp_path, query_size=2, budget=10, on_exception=False)  # which finds none
    ASKED[1:] = []
    check_same_end(program(tmp_path), whole)
    assert whole.asked == ASKED


def test_slurms_checkpoint_of_another_run_waits_for_that_run(tmp_path: Path, whole: Ended, slurm: None) -> None:
    """As in a program that runs one seed after the other, and was cut off in the second."""

    def seeds(cut: Cut | None = None) -> Ended:
        program(tmp_path, on_exception=False, seed=2, max_rounds=1)
        return program(tmp_path, cut, on_exception=False)

    with pytest.raises(StoppedError):
        seeds(Cut(warn_of_the_end, 1, "fit"))
    with pytest.warns(UserWarning, match=r"hpc_ckpt_1.ckpt, which .* its seed differ.* Until then it is ignored"):
        again = seeds()
    check_same_end(again, whole)
    assert whole.asked == ASKED


def test_a_new_folder_begins_another_run_beside_a_checkpoint(tmp_path: Path, whole: Ended, slurm: None) -> None:
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "fit"), query_size=2)
    check_same_end(program(tmp_path, folder=tmp_path / "run"), whole)
    assert len(Journal.read_history(tmp_path / "run")) == len(whole.rounds)


def test_a_checkpoint_of_no_active_learning_is_ignored(
    tmp_path: Path, whole: Ended, slurm: None, caplog: pytest.LogCaptureFixture
) -> None:
    fitting = trainer(tmp_path)
    fitting.fit(LitMLP(), DataLoader(points(20), 8))
    fitting.save_checkpoint(tmp_path / "hpc_ckpt_7.ckpt")
    with caplog.at_level("INFO"):
        check_same_end(program(tmp_path), whole)
    assert "hpc_ckpt_7.ckpt by itself. It is ignored, since it does not belong to an active learning" in caplog.text


class FailsInSetup(pl.Callback):
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        raise OSError


def test_an_error_before_the_checkpoint_was_read_leaves_it_as_it_is(tmp_path: Path, whole: Ended) -> None:
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 1, "fit"))
    before = (tmp_path / "on_exception.ckpt").read_bytes()
    with pytest.raises(OSError):  # noqa: PT011  # it has no message
        program(tmp_path, extra=[FailsInSetup()])
    assert (tmp_path / "on_exception.ckpt").read_bytes() == before
    with pytest.raises(CutError):  # once the round has begun, a new one may replace it
        program(tmp_path, Cut(fail, 1, "fit"))
    check_same_end(program(tmp_path), whole)
    assert whole.asked == ASKED


def test_the_same_objects_fitted_again_go_on_with_their_own_run(tmp_path: Path, whole: Ended) -> None:
    oracle, data = Logged(), active_data(20)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16, seed=1, oracle=oracle)
    torch.manual_seed(7)
    module = LitMLP()
    saving = pl.callbacks.OnExceptionCheckpoint(tmp_path)
    callbacks = [active, saving, Cut(fail, 1, "fit")]
    fitting = trainer(tmp_path, max_epochs=2, callbacks=callbacks, enable_checkpointing=True)
    with pytest.raises(CutError):
        fitting.fit(module, datamodule=data)
    fitting.fit(module, datamodule=data)
    assert plain(active.history) == whole.rounds
    assert same_weights(weights(module), whole.weights)
    assert oracle.asked == whole.asked


@pytest.mark.parametrize("with_another_trainer", [False, True])
def test_a_test_after_the_run_tests_the_module_as_it_is(
    tmp_path: Path, whole: Ended, slurm: None, with_another_trainer: bool
) -> None:
    """Lightning would load SLURM's checkpoint, of the middle of an early round, in a test too."""
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "fit"))
    again = program(tmp_path)
    testing = trainer(tmp_path) if with_another_trainer else again.trainer
    [found] = testing.test(again.trainer.lightning_module, datamodule=again.trainer.datamodule, verbose=False)
    assert found["test_acc"] == whole.rounds[-1]["metrics"]["test_acc"]
    assert same_weights(weights(again.trainer.lightning_module), whole.weights)


def test_without_active_learning_lightning_resumes_as_ever(tmp_path: Path) -> None:
    epochs: list[int] = []

    class Counts(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            epochs.append(trainer.current_epoch)
            if epochs == [0, 1]:
                raise CutError

    def fit() -> None:
        callbacks = [pl.callbacks.OnExceptionCheckpoint(tmp_path), Counts()]
        fitting = trainer(tmp_path, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
        fitting.fit(LitMLP(), datamodule=active_data(20))

    with pytest.raises(CutError):
        fit()
    fit()
    assert epochs == [0, 1, 1, 2]


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def test_a_checkpoint_that_lacks_where_a_round_starts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 1, "fit"), reset="warm")
    changed(tmp_path / "on_exception.ckpt", lambda checkpoint: checkpoint["callbacks"]["ActiveLearning"].pop("ends"))
    with pytest.raises(ValueError, match=r"lacks the weights that round 1 starts from\. Pass it as `ckpt_path=`"):
        program(tmp_path, reset="warm")


def test_a_checkpoint_with_code_in_the_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        program(tmp_path, Cut(fail, 1, "fit"))
    pool = "ActiveDataModule"
    changed(tmp_path / "on_exception.ckpt", lambda checkpoint: checkpoint[pool]["pool"]["labels"].update({0: Path()}))
    with pytest.raises(ValueError, match="holds more of the run than tensors and plain data"):
        program(tmp_path)


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2]])
def test_a_damaged_checkpoint_is_refused_and_kept(
    tmp_path: Path, whole: Ended, slurm: None, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 0, "fit"), on_exception=False)
    path = tmp_path / "hpc_ckpt_1.ckpt"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"hpc_ckpt_1.ckpt, which Lightning found by itself, cannot be read \("):
        program(tmp_path, on_exception=False)
    assert path.read_bytes() == damaged
    check_same_end(program(tmp_path, folder=tmp_path / "run", on_exception=False), whole)  # which does not need it


def test_a_stopped_run_names_the_checkpoint_to_resume_from(
    tmp_path: Path, slurm: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"), pytest.raises(StoppedError):
        program(tmp_path, Cut(warn_of_the_end, 1, "label"), on_exception=False)
    path = tmp_path / "hpc_ckpt_1.ckpt"
    assert f"Stopped by SIGTERM in round 1. Start it again to resume from {path}." in caplog.messages


@pytest.mark.parametrize("users", [signal.SIG_DFL, lambda number, frame: None])
def test_slurms_signal_is_answered_while_points_are_labelled_unless_the_user_does(
    tmp_path: Path, slurm: None, users: Any
) -> None:
    handlers = []
    before = signal.signal(signal.SIGUSR1, users)
    try:
        cut = Cut(lambda trainer: handlers.append(signal.getsignal(signal.SIGUSR1)), 1, "label")
        program(tmp_path, cut, on_exception=False)
        assert signal.getsignal(signal.SIGUSR1) is users
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (handlers == [users]) == callable(users)


def test_labels_that_were_corrected_or_given_back_in_a_program_are_so_after_resuming(tmp_path: Path) -> None:
    def made() -> tuple[ActiveLearning, Any, pl.Trainer]:
        active = ActiveLearning(
            "bald", posterior=MCDropout(3), query_size=4, budget=16, oracle=Logged(), rounds_per_fit=1
        )
        kept = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        data = ActiveDataModule(points(40), initial=range(8), batch_size=8)
        return active, data, trainer(tmp_path, callbacks=[active, kept], max_epochs=1, enable_checkpointing=True)

    active, data, fitting = made()
    module = LitMLP(hidden=4)
    fitting.fit(module, datamodule=data)
    first, second = active.history[0].indices[:2]
    data.pool.correct(0, 3)
    data.pool.correct(first, 2)
    data.pool.give_back(second)
    data.pool.give_back(5)
    fitting.fit(module, datamodule=data)
    again, resumed, resuming = made()
    resuming.fit(LitMLP(hidden=4), datamodule=resumed, ckpt_path="last")
    assert resumed.pool.state_dict() == data.pool.state_dict()
    assert again.history[1].indices == active.history[1].indices
