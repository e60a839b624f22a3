"""SIGTERM and Ctrl-C, sent to real processes: each ends at once, says how to go on, and leaves a run that can."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_al.stopping import StoppedError, Stopping
from tests.stopped import run

ROOT = Path(__file__).parent.parent
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
PLACES = ["fit", "score", "test", "last", "label"]


def start(*command: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell lets what it runs in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop(
    process: subprocess.Popen[str],
    at: str,
    number: signal.Signals,
    *,
    group: bool = False,
    wait_for: Path | None = None,
) -> str:
    """Send a signal once a line, and a file, say where the process is, and return all that it said."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if at in line:
            break
    while wait_for is not None and not wait_for.exists() and process.poll() is None:
        time.sleep(0.1)
    (os.killpg if group else os.kill)(process.pid, number)
    rest, _ = process.communicate(timeout=240)
    return "".join(said) + rest


def assert_stopped(process: subprocess.Popen[str], output: str, number: signal.Signals, folder: Path) -> None:
    assert process.returncode == CODES[number], output
    assert "Traceback" not in output
    assert "after the run" not in output
    assert {path.name for path in folder.iterdir()} <= {"journal.sqlite", "history.jsonl", "initial.pt"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    return run(tmp_path_factory.mktemp("whole"))


def assert_stops(folder: Path, place: str, number: signal.Signals, *, workers: int = 0, group: bool = False) -> None:
    process = start("-m", "tests.stopped", folder, place, workers)
    output = stop(process, f"waiting at {place}", number, group=group)
    assert_stopped(process, output, number, folder / "run")
    assert len(re.findall(f"Stopped by {NAMES[number]} in round [12]", output)) == 1, output
    assert f"Started again on {folder / 'run'}, it goes on from there" in output


def test_a_program_stopped_twice_goes_on_to_the_same_end(tmp_path: Path, undisturbed: list[list[int]]) -> None:
    assert_stops(tmp_path, "score", signal.SIGTERM)
    assert_stops(tmp_path, "label", signal.SIGINT)
    assert run(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("place", PLACES)
def test_a_program_stops_anywhere_and_goes_on(tmp_path: Path, place: str, number: signal.Signals, workers: int) -> None:
    """A terminal sends Ctrl-C to the workers of the loaders too."""
    assert_stops(tmp_path / "cut", place, number, workers=workers, group=number == signal.SIGINT)
    assert run(tmp_path / "cut", workers=workers) == run(tmp_path / "whole", workers=workers)


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("at", ["Run folder", "steps"])
def test_the_command_line_stops_in_a_line(tmp_path: Path, number: signal.Signals, at: str) -> None:
    folder = tmp_path / "run"
    tiny = ["trainer.max_steps=100000", "trainer.max_epochs=100000", "active.budget=30", "logger=none"]
    process = start("-m", "lightning_al.cli", f"folder={folder}", *tiny, "callbacks=none")
    output = stop(process, "Run folder", number, wait_for=folder / "initial.pt" if at == "steps" else None)
    assert process.returncode == CODES[number], output
    assert "Traceback" not in output
    assert f"Stopped by {NAMES[number]}. Go on by: lightning-al folder={folder}" in output
    assert not {"writer.json", "journal.sqlite-journal"} & {path.name for path in folder.iterdir()}


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in CODES]
    run(tmp_path)
    assert [signal.getsignal(number) for number in CODES] == before


def test_handlers_of_the_user_are_kept() -> None:
    heard: list[int] = []
    before = [signal.signal(number, lambda number, frame: heard.append(number)) for number in CODES]
    stopping = Stopping()
    try:
        stopping.begin()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # while the run is being left
        stopping.end()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in zip(CODES, before, strict=True):
            signal.signal(number, handler)
    assert heard == [signal.SIGINT, signal.SIGTERM]


def test_a_handler_put_back_by_another_hands_on() -> None:
    """As Lightning does where a fit ends by an exception."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    stopping = Stopping()
    try:
        stopping.begin()
        stopping.end()
        signal.signal(signal.SIGTERM, stopping)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
