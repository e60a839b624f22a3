"""A process that writes the journal is killed, at a random moment or at a named point, again and again.

What it was told is written is there afterwards, nothing is there twice, and nothing is left over.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al.run import journal_folder
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.weights_file import load_weights

METHODS = ("__init__", "begin", "save_weights", "append", "take_back", "remove_weights", "close")

POINTS = [
    *(f"{when} {name}" for name in METHODS for when in ("before", "after")),
    "before the commit",
    "after the commit",
    "before the replacement",
    "within the replacement",
    "after the replacement",
]
"""The replacement is that of history.jsonl."""

MOST_ROUNDS = 8

LONGEST_SECONDS = 0.03


def kill_at(point: str, nth: int) -> None:
    """Make this process kill itself when it comes to a point for the nth time."""
    times = itertools.count(1)

    def reach(name: str) -> None:
        if name == point and next(times) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            reach(f"before {name}")
            result = method(*arguments)
            reach(f"after {name}")
            return result

        return call

    for name in METHODS:
        setattr(Journal, name, around(name, getattr(Journal, name)))

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:
            if statement != "COMMIT":
                return super().execute(statement, *rest)
            reach("before the commit")
            cursor = super().execute(statement)
            reach("after the commit")
            return cursor

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Connection)
    replacing = journal_folder.replacing

    @contextmanager
    def replacing_until_killed(path: Path) -> Iterator[Path]:
        if path.name != "history.jsonl":
            with replacing(path) as temporary:
                yield temporary
            return
        reach("before the replacement")
        with replacing(path) as temporary:
            yield temporary
            reach("within the replacement")
        reach("after the replacement")

    journal_folder.replacing = replacing_until_killed


def write_until_killed(folder: Path, say: Callable[[str], object], tokens: Iterator[int]) -> None:
    """Write rounds, and now and then take one back, saying before and after each what is done."""
    for _ in range(100):
        journal = Journal(folder)
        if journal.header is None:
            journal.save_weights("initial", {"weight": torch.zeros(3)})
            journal.begin({"seed": 0})
        for _ in range(3):
            number, token = len(journal.history), next(tokens)
            # A run takes back one round at a time, of which the weights before are kept.
            may_take_back = (folder / f"warm-{number - 2}.pt").exists()
            if number == MOST_ROUNDS and not may_take_back:
                break
            if may_take_back and (number == MOST_ROUNDS or token % 5 == 0):
                say("take_back")
                journal.take_back()
            else:
                journal.save_weights(f"warm-{number}", {"weight": torch.full((3,), float(token % 1000))})
                say(f"append {token}")
                journal.append(Round(number, number + 1, [number], [0.5], steps=token), {number: token})
                journal.remove_weights(f"warm-{number - 2}")
            say("done")
        journal.close()


def after(model: list[int], operation: str) -> list[int]:
    return model[:-1] if operation == "take_back" else [*model, int(operation.removeprefix("append "))]


class Run:
    """A folder that one process after the other is killed over, and what it must hold."""

    def __init__(self, folder: Path, source: random.Random) -> None:
        self.folder, self.source = folder, source
        self.model: list[int] = []
        self.found: Counter[str] = Counter()

    def kill(self, point: str | None) -> None:
        """Let a child write until it is killed, at a point or at a random moment, and check what is there."""
        reading, answer = os.pipe()
        seed, nth = self.source.getrandbits(32), self.source.randint(1, 3)
        if point is not None and point.endswith("begin"):
            self.folder, self.model, nth = self.folder.with_name(f"{self.folder.name}-again"), [], 1
        child = os.fork()
        if child == 0:
            try:
                if point is not None:
                    kill_at(point, nth)
                tokens = random.Random(seed)
                os.write(answer, b"ready\n")
                write_until_killed(
                    self.folder,
                    lambda words: os.write(answer, f"{words}\n".encode()),
                    iter(lambda: tokens.getrandbits(30), None),
                )
            finally:
                os._exit(1)
        os.close(answer)
        with os.fdopen(reading) as pipe:
            assert pipe.readline() == "ready\n"
            if point is None:
                time.sleep(self.source.uniform(0, LONGEST_SECONDS))
                os.kill(child, signal.SIGKILL)
            said = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the child ended by itself"
        self.check(said)

    def check(self, said: list[str]) -> None:
        under_way = None
        for words in said:
            if words == "done":
                assert under_way is not None
                self.model, under_way = after(self.model, under_way), None
            else:
                under_way = words
        journal = Journal(self.folder)
        found = [round.steps for round in journal.history]
        labels = journal.labels
        journal.close()
        if under_way is not None and found == after(self.model, under_way):
            self.found[f"{under_way.split()[0]} not acknowledged, but there"] += 1
            self.model = found
        elif under_way is not None:
            self.found[f"{under_way.split()[0]} not acknowledged, and not there"] += 1
        else:
            self.found["nothing under way"] += 1
        assert found == self.model
        assert labels == [{number: token} for number, token in enumerate(found)]
        assert not [path.name for path in self.folder.iterdir() if ".part" in path.name]
        if found:
            load_weights(self.folder, "initial")
            # Written before the round that needs them, or again by a child that was killed before it wrote the round.
            load_weights(self.folder, f"warm-{len(found) - 1}")


@pytest.mark.long
@pytest.mark.parametrize("kills", [20, pytest.param(10_000, marks=pytest.mark.slow)])
def test_what_was_acknowledged_outlives_kills(kills: int) -> None:
    memory = Path("/dev/shm")
    source = random.Random(kills)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        for first in range(0, kills, 50):
            run = Run(Path(name) / str(first), source)
            for number in range(first, min(first + 50, kills)):
                run.kill(POINTS[number // 2 % len(POINTS)] if number % 2 else None)
            found.update(run.found)
    print(dict(found))
    assert len(found) > 2
