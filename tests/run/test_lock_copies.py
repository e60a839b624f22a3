"""The lock of a folder that was copied, moved or left by a kill: one writer in each folder, shut out by no other's."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al.run import lock
from lightning_al.run.journal import Journal
from lightning_al.run.lock import InUseError, RunLock, reading
from lightning_al.run.lock_file import MARK
from lightning_al.run.weights_file import load_weights
from tests.run.test_folder import contents
from tests.run.test_journal_writers import forked, lines
from tests.run.test_not_ours import link_tree
from tests.support.rounds import LABELS, ROUNDS, write


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody long, since here nobody lets go."""
    monkeypatch.setattr(lock, "SECONDS", 0.1)


def is_let_in(folder: Path) -> bool:
    """Tell whether another process may write to a folder."""

    def attempt(say: Callable[[object], None]) -> None:
        try:
            RunLock(folder).acquire()
            say(True)
        except InUseError:
            say(False)

    child, pipe = forked(attempt)
    (said,) = lines(pipe)
    os.waitpid(child, 0)
    return bool(said)


def killed_while_it_holds(folder: Path) -> None:
    def doomed(_: Callable[[object], None]) -> None:
        opened = Journal(folder)
        os.kill(os.getpid(), signal.SIGKILL)
        opened.close()

    child, pipe = forked(doomed)
    os.close(pipe)
    os.waitpid(child, 0)
    assert (folder / "writer.lock").exists()


def test_a_copy_by_links_of_a_running_run_is_a_run_of_its_own(tmp_path: Path) -> None:
    run, copy, third = tmp_path / "run", tmp_path / "copy", tmp_path / "third"
    write(run, 1)
    first = Journal(run)
    link_tree(run, copy)
    link_tree(copy, third)  # a copy of a copy
    before = contents(run)
    assert list(Journal.read_history(copy)) == ROUNDS[:1]
    assert contents(copy) == before
    for folder in (copy, third):
        second = Journal(folder)
        assert not is_let_in(run)
        assert not is_let_in(folder)
        second.append(ROUNDS[1], LABELS[1])
        second.close()
        assert contents(run) == before
    first.append(ROUNDS[1], LABELS[1])
    first.close()
    assert first.folder == run
    assert list(Journal.read_history(run)) == ROUNDS[:2]


@pytest.mark.parametrize("is_copied_twice", [False, True])
def test_a_killed_run_goes_on_while_its_copy_runs(tmp_path: Path, is_copied_twice: bool) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    write(run, 1)
    killed_while_it_holds(run)
    link_tree(run, copy)
    if is_copied_twice:
        link_tree(copy, tmp_path / "third")
    second = Journal(copy)
    first = Journal(run)
    assert not is_let_in(run)
    assert not is_let_in(copy)
    for opened in (first, second):
        opened.append(ROUNDS[1], LABELS[1])
        opened.close()


def test_reading_a_copy_keeps_nobody_from_the_other(tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    write(run, 1)
    killed_while_it_holds(run)
    link_tree(run, copy)
    with reading(copy):
        Journal(run).close()


@pytest.mark.long
@pytest.mark.parametrize("is_held", [True, False])
def test_of_many_that_start_on_a_copy_at_once_one_is_let_in(tmp_path: Path, is_held: bool) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    killed_while_it_holds(run)
    first = RunLock(run)
    if is_held:
        first.acquire()
    link_tree(run, copy)

    def others(say: Callable[[object], None], copy: Path = copy) -> None:
        lock = RunLock(copy)
        try:
            lock.acquire()
        except InUseError:
            say("refused")
            return
        say("let in")
        signal.pause()

    started = [forked(others) for _ in range(6)]
    said = []
    for _, pipe in started:
        with os.fdopen(pipe) as answers:
            said.append(json.loads(answers.readline()))
    for child, _ in started:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert sorted(said) == ["let in", *["refused"] * 5]
    assert first.is_held == is_held
    assert is_let_in(run) != is_held


def test_the_lock_of_this_folder_is_never_broken(tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    write(run, 1)
    opened = Journal(run)
    link_tree(run, tmp_path / "copy")
    assert not is_let_in(run)
    run.rename(moved)
    assert not is_let_in(moved)
    (tmp_path / "link").symlink_to(moved)
    assert not is_let_in(tmp_path / "link")
    moved.rename(run)
    opened.append(ROUNDS[1], LABELS[1])
    opened.close()
    assert list(Journal.read_history(run)) == ROUNDS[:2]


def test_a_run_whose_folder_was_put_back_by_links_holds_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, 1)
    opened = Journal(run)
    link_tree(run, tmp_path / "copy")
    run.rename(tmp_path / "old")
    (tmp_path / "copy").rename(run)
    opened.append(ROUNDS[1], LABELS[1])
    assert not is_let_in(run)
    opened.close()
    assert list(Journal.read_history(run)) == ROUNDS[:2]
    assert list(Journal.read_history(tmp_path / "old")) == ROUNDS[:1]


def test_a_copy_by_reading_is_marked_anew(tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    killed_while_it_holds(run)
    shutil.copytree(run, copy)
    lock = RunLock(copy)
    lock.acquire()
    link_tree(copy, tmp_path / "third")
    assert not is_let_in(copy)
    assert is_let_in(tmp_path / "third")
    lock.release()


@pytest.mark.parametrize("content", [MARK, b""])
def test_a_lock_of_an_earlier_version_is_a_lock(tmp_path: Path, content: bytes) -> None:
    fcntl = pytest.importorskip("fcntl")
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    (run / "writer.lock").write_bytes(content)
    link_tree(run, copy)
    with (run / "writer.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not is_let_in(run)
        assert not is_let_in(copy)
    lock = RunLock(run)
    lock.acquire()
    assert not is_let_in(run)
    assert is_let_in(copy) == (content == MARK)
    assert (copy / "writer.lock").exists()
    lock.release()


# Killed at any moment.


def killed_before_call(number: int, act: Callable[[Any], object], prepare: Callable[[], Any] = int) -> bool:
    """Act in another process, which is killed before a call of the system or SQLite; return whether it was."""

    def doomed(say: Callable[[object], None]) -> None:
        calls, prepared = 0, prepare()

        def count(frame: Any, event: str, function: Any) -> None:
            nonlocal calls
            of = getattr(function, "__self__", None)
            if event == "c_call" and (getattr(of, "__name__", "") == "posix" or isinstance(of, sqlite3.Connection)):
                calls += 1
                if calls > number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        try:
            act(prepared)
        except RuntimeError:
            pass
        finally:
            sys.setprofile(None)
        say("done")

    child, pipe = forked(doomed)
    said = lines(pipe)
    os.waitpid(child, 0)
    return said != ["done"]


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("found", ["nothing", "a copy"])
def test_a_kill_leaves_no_lock_that_is_not_whole(tmp_path: Path, found: str, step: int) -> None:
    first, number, is_killed = tmp_path / "first", 0, True
    first.mkdir()
    held = RunLock(first)
    held.acquire()
    while is_killed:
        folder = tmp_path / str(number)
        if found == "a copy":
            link_tree(first, folder)
        else:
            folder.mkdir()
        is_killed = killed_before_call(number, RunLock.acquire, functools.partial(RunLock, folder))
        path = folder / "writer.lock"
        assert not path.exists() or path.read_bytes().startswith(MARK)
        Journal(folder).close()
        assert [path.name for path in folder.iterdir()] == ["journal.sqlite"]
        number += step
    assert number > 10
    assert held.is_held


@pytest.mark.long
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_leaves_no_half_of_a_folder_that_a_run_was_moved_to(tmp_path: Path, step: int) -> None:
    number, is_killed, kept = 0, True, 0
    write(tmp_path / "template", 1)
    while is_killed:
        folder = tmp_path / str(number) / "run"
        shutil.copytree(tmp_path / "template", folder)

        def lost(folder: Path = folder) -> Journal:
            opened = Journal(folder)
            opened.weights_at_hand = lambda: {"initial": {"weight": torch.ones(3)}}
            (folder / "journal.sqlite").unlink()
            return opened

        is_killed = killed_before_call(number, lambda opened: opened.append(ROUNDS[1], LABELS[1]), lost)
        rescued = folder.with_name("run-rescued")
        if rescued.exists():
            kept += 1
            assert load_weights(rescued, "initial")["weight"].tolist() == [1, 1, 1]
            again = Journal(rescued)
            assert list(again.history) == ROUNDS[:2]
            assert again.labels == LABELS[:2]
            again.close()
        shutil.rmtree(folder.parent)
        number += step
    assert 0 < kept < number
