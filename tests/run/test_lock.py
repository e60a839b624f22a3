"""The lock on a run's folder, whatever else its process does, and what becomes of a run whose folder is taken away."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.oracle import Oracle
from lightning_al.run import journal_folder, lock
from lightning_al.run.journal import Journal
from lightning_al.run.lock import InUseError, RunLock, reading
from lightning_al.run.schemas import SCHEMA
from lightning_al.run.weights_file import load_weights
from tests.run.test_journal_writers import forked, lines
from tests.support.rounds import HEADER, LABELS, ROUNDS, write
from tests.support.tasks import LitMLP, points, trainer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody long, since here nobody lets go."""
    monkeypatch.setattr(lock, "SECONDS", 0.1)


def refused(folder: Path) -> list[object]:
    """What another process is told that opens the journal, reads it, and repairs it."""

    def others(say: Callable[[object], None]) -> None:
        for act in (Journal, Journal.read_history, Journal.salvage):
            try:
                act(folder)
                say("let in")
            except RuntimeError as error:
                say(str(error))

    child, pipe = forked(others)
    said = lines(pipe)
    os.waitpid(child, 0)
    return said


def assert_refused(folder: Path) -> None:
    said = refused(folder)
    assert len(said) == 3
    assert all(str(words).startswith("Another process is writing to the run folder") for words in said), said


def copy_by_reading(folder: Path) -> None:
    for path in folder.iterdir():
        path.read_bytes()


def copy_the_tree(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("backup"))


def read_by_sqlite(folder: Path) -> None:
    database = sqlite3.connect(folder / "journal.sqlite")
    assert database.execute("SELECT count(*) FROM rows").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize("act", [copy_by_reading, copy_the_tree, read_by_sqlite])
def test_a_process_that_reads_or_copies_its_folder_keeps_it(tmp_path: Path, act: Callable[[Path], None]) -> None:
    folder = tmp_path / "run"
    write(folder, 1)
    opened = Journal(folder)
    act(folder)
    assert_refused(folder)
    opened.append(ROUNDS[1], LABELS[1])
    opened.close()
    assert list(Journal.read_history(folder)) == ROUNDS[:2]
    if act is copy_the_tree:
        assert list(Journal.read_history(tmp_path / "backup")) == ROUNDS[:1]


def test_a_run_that_is_killed_lets_go_though_what_it_started_lives_on(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def hold(say: Callable[[object], None]) -> None:
        opened = Journal(tmp_path)
        child = os.fork()
        if child == 0:  # as the worker of a DataLoader
            time.sleep(60)
            os._exit(0)
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        say([child, started.pid])
        signal.pause()
        opened.close()

    child, reading_end = forked(hold)
    with os.fdopen(reading_end) as pipe:
        others = json.loads(pipe.readline())
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        began = time.monotonic()
        Journal(tmp_path).close()
        assert time.monotonic() - began < 1
        for other in others:
            os.kill(other, 0)  # is there
    finally:
        for other in others:
            os.kill(other, signal.SIGKILL)


def test_a_forked_process_has_no_part_in_the_journal_of_its_parent(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, 1)
    opened = Journal(folder)

    def others(say: Callable[[object], None]) -> None:
        try:
            opened.append(ROUNDS[1], {9: "of the child"})
        except RuntimeError as error:
            say(str(error))
        opened.close()

    child, pipe = forked(others)
    (said,) = lines(pipe)
    os.waitpid(child, 0)
    assert f"another process has taken over the folder (Another process is writing to the run folder {folder}" in str(
        said
    )
    assert_refused(folder)
    opened.append(ROUNDS[1], LABELS[1])
    opened.close()
    assert list(Journal.read_history(folder)) == ROUNDS[:2]
    assert list(Journal.read_history(tmp_path / "run-rescued")) == ROUNDS[:2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_copy_of_a_lock_holds_nothing(tmp_path: Path, copied: Callable[[RunLock], RunLock]) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    other = copied(lock)
    assert not other.is_held
    with pytest.raises(InUseError, match="Another process is writing"):
        other.acquire()
    other.release()
    assert lock.is_held
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_any_number_may_read_and_nobody_then_writes(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "writer.lock").touch()  # of a process that was killed
    with reading(tmp_path), reading(tmp_path):
        assert list(Journal.read_history(tmp_path)) == ROUNDS[:1]
        with pytest.raises(InUseError, match="Another process is writing"):
            RunLock(tmp_path).acquire()
    Journal(tmp_path).close()


def test_a_lock_that_is_removed_is_taken_again(tmp_path: Path) -> None:
    write(tmp_path, 1)
    opened = Journal(tmp_path)
    (tmp_path / "writer.lock").unlink()
    opened.append(ROUNDS[1], LABELS[1])
    assert_refused(tmp_path)
    opened.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:2]


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_not_locked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "own").write_text("mine")
    path = tmp_path / "run" / "writer.lock"
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(tmp_path / "own")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"The run folder .* has a (link|pipe|folder) named writer\.lock"):
        Journal(tmp_path / "run")
    with pytest.raises(OSError, match=r"writer\.lock"):  # of one that was put there in the moment after
        RunLock(tmp_path / "run").acquire()
    assert time.monotonic() - began < 1
    assert (tmp_path / "own").read_text() == "mine"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_lock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    with pytest.raises(RuntimeError, match=r"its file system has no locks .* Choose a folder on a local disk"):
        Journal(tmp_path)


# A run whose folder is taken away.


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def moved_and_made_anew(folder: Path) -> None:
    moved(folder)
    folder.mkdir()


def moved_and_another_run_in_its_place(folder: Path) -> None:
    moved(folder)
    write(folder, 3)


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def journal_deleted(folder: Path) -> None:
    (folder / "journal.sqlite").unlink()


def journal_of_another_run(folder: Path) -> None:
    other = Journal(folder.with_name("other"))
    other.begin({**HEADER, "seed": 99})
    other.append(ROUNDS[0], LABELS[0])
    other.close()
    os.replace(folder.with_name("other") / "journal.sqlite", folder / "journal.sqlite")


def journal_with_a_round_more(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("copy"))
    other = Journal(folder.with_name("copy"))
    other.append(ROUNDS[1], {9: 77})
    other.close()
    shutil.copy(folder.with_name("copy") / "journal.sqlite", folder / "journal.sqlite")


def journal_emptied(folder: Path) -> None:
    (folder / "journal.sqlite").write_bytes(b"")


def journal_overwritten(folder: Path) -> None:
    (folder / "journal.sqlite").write_bytes(b"no database " * 1000)


def journal_cut(folder: Path) -> None:
    path = folder / "journal.sqlite"
    path.write_bytes(path.read_bytes()[:5000])


def table_dropped(folder: Path) -> None:
    database = sqlite3.connect(folder / "journal.sqlite")
    database.execute("DROP TABLE rows")
    database.close()


WAYS = [
    moved,
    moved_and_made_anew,
    moved_and_another_run_in_its_place,
    deleted,
    journal_deleted,
    journal_of_another_run,
    journal_with_a_round_more,
    journal_emptied,
    journal_overwritten,
    journal_cut,
    table_dropped,
]


def content(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith("writer.")
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_lost_its_folder_is_in_a_new_one(tmp_path: Path, way: Callable[[Path], None]) -> None:
    folder = tmp_path / "run"
    write(folder, 1)
    opened = Journal(folder)
    way(folder)
    before = content(tmp_path)
    opened.save_weights("warm-1", {"weight": torch.ones(3)})
    for _ in range(2):  # it says so again
        with pytest.raises(
            RuntimeError, match=rf"The run in {folder} lost its journal: .* Start the run again on that"
        ):
            opened.append(ROUNDS[len(opened.history)], LABELS[len(opened.history)])
    assert opened.folder == tmp_path / "run-rescued"
    opened.close()
    assert {path: bytes for path, bytes in content(tmp_path).items() if path in before} == before
    assert {path.parent for path in content(tmp_path)} - {path.parent for path in before} == {tmp_path / "run-rescued"}
    rescued = Journal(tmp_path / "run-rescued")
    assert list(rescued.history) == ROUNDS[:3]
    assert rescued.labels == LABELS[:3]
    assert rescued.header == {"schema": SCHEMA, **HEADER}
    rescued.close()
    assert load_weights(tmp_path / "run-rescued", "warm-1")["weight"].tolist() == [1, 1, 1]


def test_new_folders_do_not_replace_each_other(tmp_path: Path) -> None:
    for name in ("run-rescued", "run-rescued-2"):
        folder = tmp_path / "run"
        opened = Journal(folder)
        opened.begin(HEADER)
        shutil.rmtree(folder)
        with pytest.raises(RuntimeError, match=rf"the labels too, is in {tmp_path / name}\."):
            opened.append(ROUNDS[0], LABELS[0])
        opened.close()
        assert list(Journal.read_history(tmp_path / name)) == ROUNDS[:1]


def test_labels_are_said_where_they_can_be_written_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    opened = Journal(folder)
    opened.begin(HEADER)
    shutil.rmtree(folder.parent)
    folder.parent.write_text("a file")
    words = r"A folder beside it could not be made either: .* the labels given last were {'7': 1, '4': None}"
    with pytest.raises(RuntimeError, match=words):
        opened.append(ROUNDS[0], LABELS[0])
    opened.close()


def test_a_folder_put_back_from_a_copy_is_still_the_run_s(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, 1)
    opened = Journal(folder)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    opened.append(ROUNDS[1], LABELS[1])
    assert_refused(folder)
    opened.close()
    assert list(Journal.read_history(folder)) == ROUNDS[:2]


def test_a_program_that_keeps_the_database_locked_costs_no_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_folder, "PATIENCE", 0.2)
    write(tmp_path / "run", 1)
    opened = Journal(tmp_path / "run")
    reader = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM rows").fetchone()
    with pytest.raises(RuntimeError, match=r"another program has kept journal\.sqlite locked for 0 seconds"):
        opened.append(ROUNDS[1], LABELS[1])
    reader.close()
    opened.close()
    assert list(Journal.read_history(tmp_path / "run")) == ROUNDS[:1]
    assert list(Journal.read_history(tmp_path / "run-rescued")) == ROUNDS[:2]


class Asked(Oracle):
    def __init__(self) -> None:
        self.indices: list[list[int]] = []

    def label(self, indices: Any) -> dict[int, Any]:
        self.indices.append(list(indices))
        return dict.fromkeys(indices)


class OnTrainEnd(pl.Callback):
    """Do something when the second fit ends."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.fits = 0

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fits += 1
        if self.fits == 2:
            self.act()


def fit(folder: str | Path, tmp_path: Path, oracle: Oracle, act: Callable[[], object] = int) -> ActiveLearning:
    torch.manual_seed(3)
    data = ActiveDataModule(points(40), initial_size=8, batch_size=8)
    active = ActiveLearning(
        "bald", posterior=MCDropout(3), query_size=4, budget=20, folder=folder, reset="warm", oracle=oracle
    )
    trainer(tmp_path, callbacks=[active, OnTrainEnd(act)], max_epochs=1).fit(LitMLP(), datamodule=data)
    return active


@pytest.mark.parametrize("way", [deleted, moved_and_made_anew])
def test_a_run_whose_folder_was_taken_away_goes_on_in_the_new_one(tmp_path: Path, way: Callable[[Path], None]) -> None:
    whole, oracle = Asked(), Asked()
    history = fit(tmp_path / "whole", tmp_path, whole).history
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="lost its journal"):
        fit(folder, tmp_path, oracle, lambda: way(folder))
    assert not folder.exists() or list(folder.iterdir()) == []
    again = fit(tmp_path / "run-rescued", tmp_path, oracle).history
    assert [round.indices for round in again] == [round.indices for round in history]
    assert oracle.indices == whole.indices


def test_a_relative_folder_is_where_it_was_when_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    whole, oracle = Asked(), Asked()
    history = fit(tmp_path / "whole", tmp_path, whole).history

    def stop() -> None:
        os.chdir(tmp_path / "other")
        raise ConnectionError("the service is down")

    with pytest.raises(ConnectionError, match="the service is down"):
        fit("run", tmp_path, oracle, stop)
    monkeypatch.chdir(tmp_path / "one")
    again = fit("run", tmp_path, oracle).history
    assert [round.indices for round in again] == [round.indices for round in history]
    assert oracle.indices == whole.indices
    assert list((tmp_path / "other").iterdir()) == []


def test_a_folder_is_meant_as_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ActiveLearning("random", query_size=1, folder="~/run").folder == tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    opened = Journal("run")
    monkeypatch.chdir("/")
    opened.begin(HEADER)
    opened.close()
    assert (tmp_path / "run" / "journal.sqlite").exists()
    with pytest.raises(ValueError, match=r"`folder` is the empty name\. Pass the name of a folder"):
        ActiveLearning("random", query_size=1, folder="")
