"""Checkpoints lie in a folder a round; what this run made is removed when it is superseded, and nothing else, ever."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.host.round_checkpoints import RoundCheckpoints
from lightning_al.host.round_folder import MARK
from lightning_al.run.journal import Journal
from tests.rounds.test_resume import Cut, InterruptedFitError
from tests.support.tasks import LitMLP, trainer
from tests.test_callback import active_data, model


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
        self.rounds.begin(self.trainer, number, again=again)
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
    assert kept.finish(1) == {"mine.txt", "round-0", "round-1"}
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
    with pytest.warns(UserWarning, match=r"round-1/b\.ckpt cannot be loaded \(.*\)\. .* earlier rounds are kept"):
        assert kept.finish(1) == {"round-0", "round-1"}
    kept.begin(2)
    kept.save(2)
    assert kept.finish(2) == {"round-2"}


def test_a_checkpoint_with_objects_in_it_is_whole(kept: Checkpoints) -> None:
    kept.begin(0)
    kept.save(0)
    kept.begin(1)
    kept.save(1, mine=pl.callbacks.EarlyStopping("val_loss"))
    assert kept.finish(1) == {"round-1"}


@pytest.mark.parametrize("keep_all", [False, True])
def test_what_a_cut_off_fit_saved_is_set_aside_until_there_is_more(tmp_path: Path, keep_all: bool) -> None:
    kept = Checkpoints(tmp_path, keep_all)
    kept.begin(0)
    kept.save(0, "first.ckpt")
    for name in ("second.ckpt", "third.ckpt"):
        kept.begin(0, again=True)
        kept.save(0, name)
        assert {path.name for path in (kept.folder / "round-0-before").iterdir()} == {MARK, "first.ckpt"}
    assert kept.finish(0) == {"round-0"}
    assert {path.name for path in (kept.folder / "round-0").iterdir()} == {MARK, "third.ckpt"}
    kept.begin(1)
    kept.save(1)
    assert kept.finish(1) == ({"round-0", "round-1"} if keep_all else {"round-1"})


# Two runs, and what is not of any.


def run(place: Path | None, home: Path, *, budget: int = 16, extra: tuple[pl.Callback, ...] = (), **kwargs: Any) -> Any:
    """Run to the budget with checkpoints in a place, or in the default one."""
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=place, monitor="val_loss", save_last=True)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=budget, **kwargs)
    epochs, callbacks = 2 if extra else 1, [active, checkpoint, *extra]
    fitting = trainer(home, max_epochs=epochs, enable_checkpointing=True, callbacks=callbacks)
    fitting.fit(model(), datamodule=active_data(20))
    return active, checkpoint


def files(place: Path) -> set[str]:
    """All files in a place, but for the marks."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file() and path.name != MARK}


def checkpoints(place: Path) -> set[str]:
    return {name for name in files(place) if name.endswith(".ckpt")}


MINE = ("round-robin", "round-0", "round-1", "round-2", "round-1-before", "round-9", "round-12345678-before")


@pytest.mark.parametrize(("with_folder", "keep"), [(False, False), (True, True)])
def test_folders_of_the_users_stay(tmp_path: Path, with_folder: bool, keep: bool) -> None:
    place = tmp_path / "kept"
    for name in MINE:
        (place / name).mkdir(parents=True)
        (place / name / "thesis.tex").write_text("years of work")
    (place / "round-9" / MARK).write_text(json.dumps({"run": "0" * 32, "round": 9}))  # of another run
    folder = {"folder": tmp_path / "run"} if with_folder else {}
    active, checkpoint = run(place, tmp_path, keep_checkpoints=keep, **folder)
    assert active.done
    assert {f"{name}/thesis.tex" for name in MINE} <= files(place)
    assert Path(checkpoint.best_model_path).parent.name.startswith("round-2-")
    assert len({name.split("/")[0] for name in checkpoints(place)}) == (3 if keep else 1)


@pytest.mark.long
@pytest.mark.parametrize(
    "what",
    [
        "file",
        pytest.param("link", marks=pytest.mark.slow),
        pytest.param("dangling link", marks=pytest.mark.slow),
        pytest.param("empty folder", marks=pytest.mark.slow),
        pytest.param("pipe", marks=pytest.mark.slow),
        "link to a run's folder",
    ],
)
def test_what_has_the_name_of_a_rounds_folder_stays(tmp_path: Path, what: str) -> None:
    place, elsewhere = tmp_path / "kept", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    if what == "link to a run's folder":
        run(elsewhere, tmp_path)
    for number in (0, 2):
        path = place / f"round-{number}"
        if what == "file":
            path.write_text("notes")
        elif what == "pipe":
            os.mkfifo(path)
        elif what == "empty folder":
            path.mkdir()
        else:
            path.symlink_to(elsewhere / {"link": "", "dangling link": "nowhere"}.get(what, "round-2"))
    before = {path: path.lstat() for path in place.iterdir()}, files(elsewhere)
    _, checkpoint = run(place, tmp_path, folder=tmp_path / "run")
    assert all(path.lstat().st_ino == found.st_ino for path, found in before[0].items())
    assert files(elsewhere) == before[1]
    assert Path(checkpoint.last_model_path).exists()
    assert {name.split("/")[0] for name in checkpoints(place)} - {"round-0", "round-2"}


@pytest.mark.parametrize(("with_folder", "default"), [(True, False), (False, True)])
def test_two_runs_in_one_place_both_keep_their_checkpoints(tmp_path: Path, with_folder: bool, default: bool) -> None:
    place = tmp_path / "checkpoints"
    for number, budget in enumerate((12, 8)):
        before = {name: (place / name).read_bytes() for name in checkpoints(place)}
        folder = {"folder": tmp_path / f"run-{number}"} if with_folder else {}
        _, checkpoint = run(None if default else place, tmp_path, budget=budget, **folder)
        assert {name: (place / name).read_bytes() for name in before} == before
        best = Path(checkpoint.best_model_path)
        assert best.is_relative_to(place)
        assert str(best.relative_to(place)) not in before
    assert len({name.split("/")[0] for name in checkpoints(place)}) == 2


@pytest.mark.long
@pytest.mark.parametrize("cut", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_started_again_knows_its_own_beside_anothers(tmp_path: Path, cut: int) -> None:
    place = tmp_path / "kept"
    run(place, tmp_path, folder=tmp_path / "other", keep_checkpoints=True)
    others = checkpoints(place)
    for _ in range(2):
        with pytest.raises(InterruptedFitError):
            run(place, tmp_path, folder=tmp_path / "run", extra=(Cut(cut, "fit"),))
        cut = 1
    run(place, tmp_path, folder=tmp_path / "run")
    own = {name.split("/")[0] for name in checkpoints(place) - others}
    assert others <= checkpoints(place)
    assert [name[:8] for name in own] == ["round-2-"]
    assert not [path.name for path in place.iterdir() if "before" in path.name or path.name.startswith(".")]


def test_a_copy_that_the_user_made_stays(tmp_path: Path) -> None:
    place = tmp_path / "kept"

    class Copying(pl.Callback):
        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if (place / "round-0").exists():
                for name in ("round-0-good", "round-7", "best"):
                    shutil.copytree(place / "round-0", place / name, dirs_exist_ok=True)

    run(place, tmp_path, folder=tmp_path / "run", extra=(Copying(),))
    assert {path.name for path in place.iterdir()} == {"round-2", "round-0-good", "round-7", "best"}


def test_a_checkpoint_says_whose_its_folder_is(tmp_path: Path) -> None:
    """Without a run's folder, the checkpoint that is gone on from has the id."""
    place = tmp_path / "kept"
    with pytest.raises(InterruptedFitError):
        run(place, tmp_path, extra=(Cut(3, "fit"),))
    path = place / "round-2" / "last.ckpt"
    assert (
        torch.load(path, weights_only=True)["callbacks"]["ActiveLearning"]["id"]
        == json.loads((place / "round-2" / MARK).read_text())["run"]
    )
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=place, monitor="val_loss", save_last=True)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=20)
    fitting = trainer(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=[active, checkpoint])
    fitting.fit(model(), datamodule=active_data(20), ckpt_path=path)
    assert {path.name for path in place.iterdir()} == {"round-3"}


def without_ids(place: Path, *, checkpoint: bool) -> None:
    """Make of a place what a version without marks would have left."""
    for mark in place.rglob(MARK):
        mark.unlink()
    for path in place.rglob("*.ckpt") if checkpoint else ():
        content = torch.load(path, weights_only=True)
        del content["callbacks"]["ActiveLearning"]["id"]
        torch.save(content, path)


def test_a_checkpoint_without_an_id_is_gone_on_from_in_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    with pytest.raises(InterruptedFitError):
        run(place, tmp_path, extra=(Cut(3, "fit"),))
    without_ids(place, checkpoint=True)
    (place / "round-1").mkdir(exist_ok=True)
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=place, monitor="val_loss", save_last=True)
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=20)
    fitting = trainer(tmp_path, max_epochs=2, enable_checkpointing=True, callbacks=[active, checkpoint])
    fitting.fit(model(), datamodule=active_data(20), ckpt_path=place / "round-2" / "last.ckpt")
    assert {path.name for path in place.iterdir()} == {"round-1", "round-3"}


def test_folders_of_a_version_without_marks_are_left_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place = tmp_path / "kept"
    with pytest.raises(InterruptedFitError):
        run(place, tmp_path, folder=tmp_path / "run", extra=(Cut(3, "fit"),))
    without_ids(place, checkpoint=False)
    before = checkpoints(place)
    run(place, tmp_path, folder=tmp_path / "run")
    assert before <= checkpoints(place)
    assert caplog.text.count("without the mark of a run. `ActiveLearning` does not remove folders") == 1


@pytest.mark.parametrize("run_id", ["../../elsewhere", "", 7, "a" * 32 + "/x"])
def test_an_id_that_somebody_made_up_leads_nowhere(tmp_path: Path, run_id: Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("mine")
    kept = Checkpoints(tmp_path)
    kept.rounds.run_id = run_id
    kept.begin(0)
    kept.save(0)
    assert kept.finish(0) == {"round-0"}
    assert (elsewhere / "notes.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "kept"}


def test_a_round_whose_two_names_are_taken_is_refused(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.rounds.run_id = "a" * 32
    for name in ("round-0", "round-0-aaaaaaaa"):
        (kept.folder / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"checkpoints of round 0 to .*round-0-aaaaaaaa, but something else has that"):
        kept.begin(0)


def test_at_an_address_a_run_has_names_of_its_own_and_removes_nothing(tmp_path: Path) -> None:
    place = "memory://kept"
    named = ({"folder": tmp_path / f"run-{number}", "weights": "last"} for number in range(2))
    checkpoints = [run(place, tmp_path, budget=8, **kwargs)[1] for kwargs in named]
    paths = [str(checkpoint.best_model_path) for checkpoint in checkpoints]
    assert len(set(paths)) == 2
    assert all(path.startswith("memory://kept/round-0-") for path in paths)
    assert not (tmp_path / "memory:").exists()


def test_the_id_is_in_the_journal(tmp_path: Path) -> None:
    run(tmp_path / "kept", tmp_path, folder=tmp_path / "run")
    journal = Journal(tmp_path / "run")
    assert journal.run_id == json.loads((tmp_path / "kept" / "round-2" / MARK).read_text())["run"]
    journal.close()
