"""Going on: a run that was cut off ends as one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.acquisition import BALD, Acquisition, Selection
from lightning_al.host.namespace import pl
from lightning_al.points import Candidates
from lightning_al.run.journal import Journal
from lightning_al.run.stopping import StoppedError
from tests.support.combinations import one_in
from tests.support.tasks import LitMLP, points, trainer
from tests.test_callback import active_data, model, plain, same_weights, weights


class InterruptedFitError(Exception):
    pass


class Cut(pl.Callback):
    """Cut the run off in the middle of a fit, or just before or after a round is recorded."""

    def __init__(self, fit: int, place: str) -> None:
        self.fit = fit
        self.place = place
        self.fits = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._cut("fit", trainer.current_epoch == 1)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._cut("test", True)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._cut("between", True)

    def _cut(self, place: str, now: bool) -> None:
        fits = self.fits + (place == "between")
        if self.place == place and fits == self.fit and now:
            raise InterruptedFitError


def run(
    tmp_path: Path, folder: Path | None, *extra: pl.Callback, seed_of_weights: int = 7, **kwargs: Any
) -> tuple[Any, ...]:
    arguments: dict[str, Any] = {"query_size": 4, "budget": 16, "folder": folder, "seed": 1, **kwargs}
    arguments.setdefault("posterior", MCDropout(3))
    active = ActiveLearning(arguments.pop("acquisition", "bald"), **arguments)
    torch.manual_seed(seed_of_weights)
    module, data = LitMLP(), active_data(20)
    trainer(tmp_path, max_epochs=3, callbacks=[active, *extra]).fit(module, datamodule=data)
    return plain(active.history), weights(module), data.pool.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return how a run ends that nothing cuts off, and its folder; each is made once."""

    @cache
    def undisturbed(reset: str = "initial") -> tuple[tuple[Any, ...], Path]:
        folder = tmp_path_factory.mktemp(reset) / "whole"
        return run(folder.parent, folder, reset=reset), folder

    return undisturbed


CUTS: list[tuple[int, str, str]] = [
    *((1, "between", "fresh"), (1, "fit", "initial")),
    *((2, "test", "fresh"), (2, "fit", "warm")),
    *((3, "between", "warm"), (3, "test", "initial")),
]
"""The first fit, a middle one and the last, and each place and each `reset` twice."""


@pytest.mark.parametrize(
    ("fit", "place", "reset"),
    [
        pytest.param(*cut, marks=[] if cut in CUTS else [pytest.mark.slow])
        for cut in product([1, 2, 3], ["fit", "test", "between"], ["initial", "warm", "fresh"])
    ],
)
def test_a_run_cut_off_goes_on_to_the_same_end(tmp_path: Path, whole: Any, fit: int, place: str, reset: Any) -> None:
    undisturbed, whole_folder = whole(reset)
    with pytest.raises(InterruptedFitError):
        run(tmp_path, tmp_path / "cut", Cut(fit, place), reset=reset)
    # Other initial weights, as a user's new process may have: those of the run's start are what counts.
    seed_of_weights = 7 if fit == 1 and place == "between" else 8
    history, final, pool = run(tmp_path, tmp_path / "cut", reset=reset, seed_of_weights=seed_of_weights)
    assert history == undisturbed[0]
    assert same_weights(final, undisturbed[1])
    assert pool == undisturbed[2]
    rounds, cut = (Journal.read_history(folder) for folder in (whole_folder, tmp_path / "cut"))
    assert plain(rounds) == plain(cut) == undisturbed[0]
    left = {path.name for path in (tmp_path / "cut").iterdir()}
    assert left == {path.name for path in whole_folder.iterdir()}


class Terminated(Acquisition):
    """BALD, with a SIGTERM before, while or after the pool is scored."""

    min_samples: ClassVar[int] = 2

    def __init__(self, place: str) -> None:
        self.place = place

    def __repr__(self) -> str:
        return repr(BALD())

    def config(self) -> dict[str, Any]:
        return {"class": "lightning_al.BALD"}  # which it is to a run that goes on without the signal

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        self._terminate("before")
        for _ in candidates.chunks():
            self._terminate("while")
        selection = BALD().select(candidates, b, generator)
        self._terminate("after")
        return selection

    def _terminate(self, place: str) -> None:
        if place == self.place:
            os.kill(os.getpid(), signal.SIGTERM)


# What comes before is seen at the first batch, as what comes while the pool is scored.
@pytest.mark.parametrize("place", [pytest.param("before", marks=pytest.mark.slow), "while", "after"])
def test_a_sigterm_between_fits_ends_the_run_and_it_goes_on(tmp_path: Path, whole: Any, place: str) -> None:
    undisturbed, _ = whole()
    with pytest.raises(StoppedError) as raised:
        run(tmp_path, tmp_path / "cut", acquisition=Terminated(place))
    assert raised.value.code == 128 + signal.SIGTERM
    assert len(Journal.read_history(tmp_path / "cut")) == 0
    history, final, _ = run(tmp_path, tmp_path / "cut", seed_of_weights=8)
    assert history == undisturbed[0]
    assert same_weights(final, undisturbed[1])


def test_a_run_without_a_folder_says_that_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), pytest.raises(StoppedError):
        run(tmp_path, None, acquisition=Terminated("while"))
    assert "Stopped by SIGTERM in round 0. Without `folder=`, there is nothing to resume from." in caplog.messages


def test_history_for_people_has_every_round(whole: Any) -> None:
    (history, _, _), folder = whole()
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["indices"] for line in lines] == [round["indices"] for round in history]


def test_a_finished_run_started_again_only_repeats_its_last_fit(tmp_path: Path, whole: Any) -> None:
    first, folder = whole()
    shutil.copytree(folder, tmp_path / "run")
    again = run(tmp_path, tmp_path / "run", seed_of_weights=8)
    assert first[0] == again[0]
    assert same_weights(first[1], again[1])


# From its initial weights too, a run that was cut off goes on above.
@pytest.mark.parametrize("reset", [pytest.param("initial", marks=pytest.mark.slow), "warm"])
def test_a_larger_budget_goes_on_further(tmp_path: Path, whole: Any, reset: Any) -> None:
    undisturbed, _ = whole(reset)
    run(tmp_path, tmp_path / "run", budget=12, reset=reset)
    assert len(Journal.read_history(tmp_path / "run")) == 2
    further = run(tmp_path, tmp_path / "run", reset=reset, seed_of_weights=8)
    assert further[0] == undisturbed[0]
    assert same_weights(further[1], undisturbed[1])


# A callback that goes on from the weights of the call before is in tests/test_callback.py.
@pytest.mark.parametrize("reset", ["initial", pytest.param("warm", marks=pytest.mark.slow)])
def test_a_larger_budget_of_the_same_callback_goes_on_too(tmp_path: Path, reset: Any) -> None:
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=12, reset=reset)
    data, module = active_data(20), model()
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    active.budget = 16
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    whole, other = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16, reset=reset), model()
    trainer(tmp_path, callbacks=[whole]).fit(other, datamodule=active_data(20))
    assert plain(active.history) == plain(whole.history)
    assert same_weights(weights(module), weights(other))


OTHER_RUNS: list[tuple[dict[str, Any], str]] = [
    ({"acquisition": "entropy"}, r"its acquisition differ.*BALD\(\)' there and 'Entropy\(\)' here"),
    ({"query_size": 2}, "its query_size differ.*query_size` is 4 there and 2 here"),
    ({"seed": 2}, "its seed differ"),
    ({"reset": "fresh"}, "its reset differ"),
    ({"posterior": "deterministic", "acquisition": "entropy"}, "its acquisition, posterior differ"),
]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "run", max_rounds=1)
    for change, message in OTHER_RUNS:
        with pytest.raises(ValueError, match=message):
            run(tmp_path, tmp_path / "run", **change)
    run(tmp_path, tmp_path / "run", max_rounds=2)  # and the right one still goes on
    assert len(Journal.read_history(tmp_path / "run")) == 2


def test_other_data_are_refused(tmp_path: Path) -> None:
    def fit(n: int, seed: int) -> None:
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, max_rounds=1, folder=tmp_path / "run")
        data = ActiveDataModule(points(n), initial_size=8, seed=seed)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)

    fit(20, 0)
    with pytest.raises(ValueError, match=r"its data.length, data.labels, .*differ"):
        fit(24, 0)
    with pytest.raises(ValueError, match=r"its datamodule.seed, initial differ"):
        fit(20, 1)


@pytest.mark.parametrize("with_folder", [False, True])
def test_a_checkpoint_from_the_middle_of_a_round_goes_on_there(tmp_path: Path, with_folder: bool) -> None:
    folder = {"folder": tmp_path / "run"} if with_folder else {}

    def fit(*extra: pl.Callback, **kwargs: Any) -> tuple[ActiveLearning, pl.Trainer, ActiveDataModule, nn.Module]:
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", monitor="val_loss", save_last=True)
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16, seed=1, **folder)
        fitting = trainer(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[active, checkpoint, *extra])
        module, data = model(), active_data(20)
        fitting.fit(module, datamodule=data, **kwargs)
        return active, fitting, data, module

    with pytest.raises(InterruptedFitError):
        fit(Cut(2, "fit"))
    path = tmp_path / "kept" / "round-1" / "last.ckpt"
    saved = torch.load(path, weights_only=True)  # plain data and tensors alone, so that loading runs no code
    assert saved["epoch"] == 0 or saved["epoch"] == 1
    epochs: list[int] = []

    class Counting(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            epochs.append(trainer.current_epoch)

    active, _, data, _ = fit(Counting(), ckpt_path=path)
    assert epochs[0] == saved["epoch"] + 1  # the round goes on, and is not begun again
    assert epochs[-3:] == [0, 1, 2]  # the next one is whole
    assert [round.labelled for round in active.history] == [8, 12, 16]
    whole = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=12, seed=1)
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "whole", monitor="val_loss")
    trainer(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[whole, checkpoint]).fit(
        model(), datamodule=active_data(20)
    )
    assert plain(active.history)[:1] == plain(whole.history)[:1]
    assert len(set(data.pool.labelled)) == 16


def test_a_checkpoint_that_is_only_tried_takes_nothing_of_the_run(tmp_path: Path) -> None:
    """A test of it, as of the best one after the run, wants its weights."""
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
    stopping = pl.callbacks.EarlyStopping("val_loss", patience=9)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16, keep_checkpoints=True)
    fitting = trainer(tmp_path, enable_checkpointing=True, callbacks=[active, checkpoint, stopping])
    module, data = model(), active_data(20, predict=[x for x, _ in points(5)])
    fitting.fit(module, datamodule=data)
    history, state, last = plain(active.history), data.pool.state_dict(), weights(module)
    for use, number in product(("test", "validate", "predict"), (2, 0)):
        path = tmp_path / "kept" / f"round-{number}" / "last.ckpt"
        found = getattr(fitting, use)(module, datamodule=data, ckpt_path=path)
        if use == "test":
            assert found == [{"test_acc": active.history[number].metrics["test_acc"]}]
        assert (plain(active.history), data.pool.state_dict()) == (history, state)
        assert active.done
        saved = torch.load(path, weights_only=True)["state_dict"]
        assert same_weights(weights(module), saved)
    fitting.fit(module, datamodule=data)  # which repeats the last fit, from where a round starts
    assert same_weights(weights(module), last)
    assert plain(active.history) == history


def test_a_checkpoint_is_tested_in_a_new_process_and_a_run_begun_there(tmp_path: Path) -> None:
    def start() -> tuple[ActiveLearning, pl.Trainer, ActiveDataModule]:
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        stopping = pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.5)
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16)
        callbacks = [active, checkpoint, stopping]
        fitting = trainer(tmp_path, max_epochs=4, enable_checkpointing=True, callbacks=callbacks)
        return active, fitting, active_data(20)

    first, fitting, data = start()
    fitting.fit(model(), datamodule=data)
    active, fitting, data = start()
    [found] = fitting.test(model(), datamodule=data, ckpt_path=tmp_path / "kept" / "round-2" / "last.ckpt")
    assert found == {"test_acc": first.history[-1].metrics["test_acc"]}
    fitting.fit(model(), datamodule=data)
    assert plain(active.history) == plain(first.history)


def test_a_checkpoint_of_no_run_is_tested(tmp_path: Path) -> None:
    fitting, module, data = trainer(tmp_path), model(), active_data(20)
    fitting.fit(module, DataLoader(points(20), 8))
    fitting.save_checkpoint(tmp_path / "plain.ckpt")
    expected = fitting.test(module, data.test_dataloader())
    active = ActiveLearning("bald", query_size=4)
    tested = trainer(tmp_path, callbacks=[active]).test(model(), datamodule=data, ckpt_path=tmp_path / "plain.ckpt")
    assert tested == expected


def test_a_checkpoint_and_a_folder_that_disagree_are_refused(tmp_path: Path) -> None:
    def fit(**kwargs: Any) -> None:
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        active = ActiveLearning(
            "bald", query_size=4, budget=20, folder=tmp_path / "run", keep_checkpoints=True, rounds_per_fit=2
        )
        fitting = trainer(tmp_path, enable_checkpointing=True, callbacks=[active, checkpoint])
        fitting.fit(model(), datamodule=active_data(20), **kwargs)

    fit()
    with pytest.raises(ValueError, match=r"checkpoint is at round 1, but the run folder .* is at round 2"):
        fit(ckpt_path=tmp_path / "kept" / "round-1" / "last.ckpt")


@pytest.mark.parametrize("dry", [0, 2])
def test_a_checkpoint_of_a_fit_that_had_finished_is_said_to_be_one(tmp_path: Path, dry: int) -> None:
    def fit(**kwargs: Any) -> ActiveLearning:
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        active = ActiveLearning("entropy", posterior=MCDropout(3), query_size=4, budget=12, keep_checkpoints=True)
        settings: Any = {"enable_checkpointing": True, "num_sanity_val_steps": dry}
        trainer(tmp_path, callbacks=[active, checkpoint], **settings).fit(model(), datamodule=active_data(20), **kwargs)
        return active

    fit()
    path = tmp_path / "kept" / "round-1" / "last.ckpt"
    with pytest.raises(
        RuntimeError, match=r"last.ckpt is of a fit that had finished, after \d+ steps.*Leave out `ckpt"
    ):
        fit(ckpt_path=path)


def test_the_state_of_a_network_is_plain(tmp_path: Path) -> None:
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=12)
    trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data(20))

    def leaves(state: Any) -> list[Any]:
        if isinstance(state, dict):
            return [leaf for part in state.values() for leaf in leaves(part)]
        if isinstance(state, list):
            return [leaf for part in state for leaf in leaves(part)]
        return [state]

    assert {type(leaf) for leaf in leaves(active.state_dict())} <= {bool, int, float, str, Tensor, type(None)}


class Marked(LitMLP):
    """Draw at random in each step, and let a validation step leave what the next training steps go by."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx) * torch.rand(())
        return loss * (1 + self.steps)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.steps += 1
        super().validation_step(batch, batch_idx)


class Validated(pl.LightningDataModule):
    """Draw at random where the loader of the validation set is made, and give it workers that stay, or none."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers

    def train_dataloader(self) -> Any:
        return DataLoader(points(40), batch_size=4, shuffle=True)

    def val_dataloader(self) -> Any:
        points_drawn = torch.randperm(16)[:8].tolist()
        drawn = Subset(points(16, seed=1), points_drawn)
        return DataLoader(drawn, 4, num_workers=self.workers, persistent_workers=self.workers > 0)


class Checks(pl.Callback):
    """Note in which round's fit Lightning's sanity check is run."""

    def __init__(self, active: ActiveLearning) -> None:
        self.active = active
        self.rounds: list[int] = []

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rounds.append(self.active.round)


@pytest.mark.long
@pytest.mark.parametrize(("net", "workers"), one_in(2, [LitMLP, Marked], [0, 1]))
def test_what_a_sanity_check_leaves_makes_no_round_another_one(tmp_path: Path, net: type[LitMLP], workers: int) -> None:
    """It belongs to the first round, as Lightning's plain program has it, and to no later one."""

    def run(folder: str, fail_at: int = -1) -> tuple[Any, ...]:
        asked = []

        def answer(indices: Sequence[int]) -> dict[int, int]:
            asked.append(indices)
            if len(asked) - 1 == fail_at:
                raise ConnectionError("the service is down")
            return {index: index % 3 for index in indices}

        torch.manual_seed(7)
        module, data = net(), ActiveDataModule(Validated(workers), initial=list(range(8)))
        active = ActiveLearning(
            "bald", posterior=MCDropout(3), query_size=4, budget=16, folder=tmp_path / folder, oracle=answer
        )
        checks = Checks(active)
        current = trainer(tmp_path, callbacks=[active, checks], num_sanity_val_steps=2)
        try:
            current.fit(module, datamodule=data)
        except ConnectionError:
            assert fail_at >= 0
        assert current.num_sanity_val_steps == 2
        rounds = [(round.indices, round.scores, round.metrics) for round in active.history]
        return rounds, weights(module), checks.rounds

    rounds, end, checked = run("whole")
    assert checked == [0]
    assert len(rounds) == 3
    run("cut", fail_at=1)
    other_rounds, other_end, checked = run("cut")
    assert checked == []
    assert other_rounds == rounds
    assert same_weights(other_end, end)
