"""One process writes to a run's folder at a time; the others are refused, and lose nothing and double nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from tests.support.rounds import HEADER, ROUNDS, write


def forked(act: Callable[[Callable[[object], None]], None]) -> tuple[int, int]:
    """Run an act in a child, with what to answer by, and return the child and the pipe to read from."""
    reading, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            act(lambda said: os.write(answer, f"{json.dumps(said)}\n".encode()) and None)
        finally:
            os._exit(0)
    os.close(answer)
    return child, reading


def lines(reading: int) -> list[object]:
    with os.fdopen(reading) as pipe:
        return [json.loads(line) for line in pipe]


@pytest.mark.long
def test_a_second_writer_is_refused_soon_and_told_who_writes(tmp_path: Path) -> None:
    write(tmp_path, 1)
    journal = Journal(tmp_path)

    def second(say: Callable[[object], None]) -> None:
        for refused in (Journal, Journal.read_history, Journal.salvage):
            began = time.monotonic()
            try:
                refused(tmp_path)
            except RuntimeError as error:
                say([time.monotonic() - began, str(error)])

    child, reading = forked(second)
    said = lines(reading)
    os.waitpid(child, 0)
    assert len(said) == 3
    assert max(seconds for seconds, _ in said) < 4.5  # SQLite's own patience is 5
    for _, words in said:
        assert f"Another process is writing to the run folder {tmp_path}" in words
        assert f"process {os.getpid()} on {socket.gethostname()}. Wait until it ends, or choose another" in words
    journal.append(ROUNDS[1], {})
    journal.close()
    assert list(Journal.read_history(tmp_path)) == ROUNDS[:2]


def test_a_holder_that_was_killed_does_not_block(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def hold(say: Callable[[object], None]) -> None:
        journal = Journal(tmp_path)
        journal.append(ROUNDS[1], {})
        say("held")
        signal.pause()

    child, reading = forked(hold)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.readline()) == "held"
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    began = time.monotonic()
    journal = Journal(tmp_path)
    assert time.monotonic() - began < 1
    assert list(journal.history) == ROUNDS[:2]
    assert json.loads((tmp_path / "writer.json").read_text()) == {"host": socket.gethostname(), "process": os.getpid()}
    journal.close()
    assert not (tmp_path / "writer.json").exists()


@pytest.mark.parametrize("each", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_sixteen_writers_at_once_lose_and_double_nothing(tmp_path: Path, each: int) -> None:
    folder = tmp_path / "run"

    def writer(place: int) -> Callable[[Callable[[object], None]], None]:
        def append_rounds(say: Callable[[object], None]) -> None:
            written = 0
            while written < each:
                try:
                    journal = Journal(folder)
                except RuntimeError as error:
                    if "Another process is writing to the run folder" not in str(error):
                        say(str(error))
                        return
                    continue
                if journal.header is None:
                    journal.begin(HEADER)
                number = len(journal.history)
                journal.append(Round(number, number, [number], [0.5], steps=place), {})
                say(number)
                journal.close()
                written += 1

        return append_rounds

    children = [forked(writer(place)) for place in range(16)]
    said = [lines(reading) for _, reading in children]
    for child, _ in children:
        os.waitpid(child, 0)
    history = Journal.read_history(folder)
    for place, numbers in enumerate(said):
        assert numbers == [round.number for round in history if round.steps == place]
        assert len(numbers) == each
    assert len(history) == 16 * each
