"""A run that is labelled in a real Label Studio, killed by SIGKILL before or after each step of it.

Usage: python -m tests.label_studio.kills FOLDER --kills 40
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sqlite3
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lightning_al import ActiveDataModule, ActiveLearning, LabelStudio
from lightning_al.oracle.label_studio.client import TOKEN, Client
from lightning_al.oracle.label_studio.project import Project
from lightning_al.oracle.label_studio.remembered import Remembered
from lightning_al.run.folder import JOURNAL
from lightning_al.run.journal import Journal
from tests.label_studio.server import Person, Server
from tests.support.tasks import CLASSES, LitMLP, points, trainer

X, Y = points(40).tensors
NAMES = [f"class {number}" for number in range(CLASSES)]
STEPS = [
    (Client, "post"),
    (Client, "patch"),
    (Remembered, "write"),
    (Project, "find"),
    (Project, "take"),
    (Project, "take_correction"),
    (Journal, "ask"),
    (Journal, "answer"),
    (Journal, "append"),
]
"""What a process may die before or after: requests that change the server, and what is written of them."""

STEPS_OF_A_START = 14
"""Among so many steps of a start, it records an answer."""


@dataclass(frozen=True)
class Count:
    """What came of a run that was killed again and again."""

    kills: dict[str, int]
    answers: int
    lost: list[int]
    twice: list[int]
    imported_twice: list[int]
    wrong: list[int]


def run(folder: Path, url: str) -> None:
    """Run until the budget is spent."""
    active = ActiveLearning(
        "random", query_size=4, max_rounds=4, folder=folder, oracle=LabelStudio(url, wait=0.05), seed=0
    )
    data = ActiveDataModule(X, initial_size=4, classes=NAMES, batch_size=8, seed=0)
    trainer(folder.parent, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)


def die_at(step: int, note: Path) -> None:
    """Let this process die before the half of a step that is an even number, or after that of an odd one."""
    left = step

    def wrap(name: str, function: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            def count(when: str) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    path = f" {args[1].rpartition('/')[2]}" if isinstance(args[0], Client) else ""
                    note.write_text(f"{when} {name}{path}")
                    os.kill(os.getpid(), signal.SIGKILL)

            count("before")
            result = function(*args, **kwargs)
            count("after")
            return result

        return watched

    for owner, name in STEPS:
        setattr(owner, name, wrap(f"{owner.__name__}.{name}", getattr(owner, name)))


def run_in_fork(folder: Path, url: str, step: int) -> str | None:
    """Run in another process that dies at a step, and return at which, or None if it ended by itself."""
    note = folder.with_suffix(".note")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            die_at(step, note)
            run(folder, url)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return note.read_text() if status else None


def label_all(folder: Path, person: Person) -> None:
    remembered = Remembered.read(folder) if folder.exists() else None
    if remembered is not None and remembered.project is not None:
        for index, task in person.tasks(remembered.project).items():
            if not task["annotations"]:
                person.label(task, NAMES[int(Y[index])], about="table")


@contextmanager
def labelling(folder: Path, server: Server, token: str) -> Iterator[None]:
    """Let a process label each task that has no annotation."""
    child = os.fork()
    if child == 0:
        try:
            with closing(Person(server, token)) as person:
                while True:
                    time.sleep(0.1)
                    # A server on SQLite that is busy fails at times, and is asked again.
                    with suppress(AssertionError, httpx.HTTPError):
                        label_all(folder, person)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def kill(folder: Path, server: Server, tokens: Mapping[str, str], most: int) -> Count:
    """Start the run again and again, to die at one of its first steps, and let it end after so many kills."""
    kills: Counter[str] = Counter()
    with labelling(folder, server, tokens["anna"]):
        for step in itertools.islice(itertools.cycle(range(STEPS_OF_A_START)), most):
            died = run_in_fork(folder, server.url, step)
            if died is None:
                break
            kills[died] += 1
        else:
            assert run_in_fork(folder, server.url, 10**9) is None
    return count(folder, server, tokens["anna"], kills)


def count(folder: Path, server: Server, token: str, kills: Mapping[str, int]) -> Count:
    records, remembered = Journal.read(folder), Remembered.read(folder)
    assert remembered is not None
    labels = dict(records.initial) | {index: label for round in records.labels for index, label in round.items()}
    with closing(Person(server, token)) as person:
        path = f"/api/projects/{remembered.project}/export?exportType=JSON&download_all_tasks=true"
        tasks = person.ask("GET", path)
    at = [(int(task["data"]["lightning_al"].split(":")[2]), task) for task in tasks]
    with closing(sqlite3.connect(folder / JOURNAL)) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]
    recorded = Counter(int(index) for body in bodies for index in body.get("answers", ()))
    return Count(
        dict(sorted(kills.items())),
        answers=len(labels),
        lost=sorted({index for index, task in at if task["annotations"]} - set(labels)),
        twice=sorted(index for index, times in recorded.items() if times > 1),
        imported_twice=sorted(index for index, times in Counter(index for index, _ in at).items() if times > 1),
        wrong=sorted(index for index, label in labels.items() if label != int(Y[index])),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10**6)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    server = Server(given.folder)
    try:
        server.start()
        tokens = server.tokens("anna")
        os.environ[TOKEN] = tokens["anna"]
        print(kill(given.folder / "run", server, tokens, given.kills))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
