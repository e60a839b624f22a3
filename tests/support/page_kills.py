"""A run that people answer by page, killed at each step of taking their answers.

Usage: python -m tests.support.page_kills FOLDER, or with a number of kills of the page's process in one run:
python -m tests.support.page_kills FOLDER 30
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle, Page, Query
from lightning_al.oracle.progress import Progress
from lightning_al.page.place import Place
from lightning_al.page.starting import start
from lightning_al.page.store import Ledger, read_events
from lightning_al.run.journal import Journal
from tests.support.page import Remote, person
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(48).tensors
NAMES = ["ant", "bee", "cat", "dog"]


def run(folder: Path, oracle: Any, **given: Any) -> tuple[ActiveLearning, ActiveDataModule]:
    options = {"budget": 26, "query_size": 6, "posterior": MCDropout(2), "seed": 0, **given}
    active = ActiveLearning("bald", oracle=oracle, folder=folder, **options)
    data = ActiveDataModule(X, initial_size=8, audit=6, classes=NAMES, batch_size=8, seed=0)
    trainer(folder.parent, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    return active, data


def label_of(point: int) -> int:
    return int(Y[point])


def check_recorded(folder: Path) -> tuple[int, int]:
    """Each answer of the store is in the journal once, and no other is. Return how many are in both."""
    records, ledger = Journal.read(folder), Ledger.of(read_events(Place(folder).store))
    found = [*records.initial.items(), *(pair for labels in records.labels for pair in labels.items())]
    assert len(found) == len(dict(found))
    given = {index: (event.answer or {})["class"] for index, event in ledger.answers.items()}
    assert dict(found) == given == {index: label_of(index) for index in given}
    return len(given), len(found)


class Around(Oracle):
    """A page, of which a test changes single steps."""

    leaves_open = True
    wait = 0.01

    def __init__(self) -> None:
        self.page = Page(open_browser=False)

    def follow(self, progress: Progress) -> None:
        self.page.follow(progress)

    def answered_ahead(self, points: Any, folder: Path | None) -> Any:
        return self.page.answered_ahead(points, folder)

    def corrections(self, answered: Any, folder: Path | None) -> Any:
        return self.page.corrections(answered, folder)

    def label(self, query: Query) -> Any:
        return self.page.label(query)


class Dying(Around):
    """A page whose fit ends its own process at a step: before it yields, or after that was recorded."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def count(self) -> None:
        self.step -= 1
        if self.step < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def label(self, query: Query) -> Any:
        for some in self.page.label(query):
            self.count()
            yield some
            self.count()


def run_in_fork(folder: Path, step: int) -> bool:
    """Run in another process that is killed at a step, and return whether it ended by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(folder, Dying(step))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def kill_at(folder: Path, steps: Iterable[int]) -> int:
    """Run in one process after the other, each killed at a step, while somebody answers who is not disturbed by it."""
    answering = os.fork()
    if answering == 0:
        code = 1
        try:
            Remote(folder).answer_all(label_of)
            code = 0
        finally:
            os._exit(code)
    kills = 0
    with person(folder) as anna:
        for step in steps:
            if run_in_fork(folder, step):
                break
            kills += 1
        assert os.waitpid(answering, 0)[1] == 0
        assert anna.wait_for("next")["state"]["phase"] == "done"
    check_recorded(folder)
    return kills


def killing(anna: Remote, kills: int) -> int:
    """Answer all, and kill the page's process at any moment so many times, in the middle of answers too."""
    stops = random.Random(0)
    done = 0

    def kill() -> None:
        nonlocal done
        while done < kills and not ended.is_set():
            time.sleep(stops.uniform(0.0, 0.4))
            with suppress(ProcessLookupError, KeyError):
                os.kill(anna.place.served_by()["pid"], signal.SIGKILL)
                done += 1
                while not anna.place.is_served() and not ended.is_set():
                    time.sleep(0.02)

    ended = threading.Event()
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        anna.answer_all(label_of)
    finally:
        ended.set()
        thread.join()
    return done


def kill_page(folder: Path, kills: int) -> int:
    """Run once, while somebody answers on a page whose process is killed so many times."""
    with person(folder) as anna, ThreadPoolExecutor() as pool:
        answering = pool.submit(killing, anna, kills)
        run(folder, Page(open_browser=False))
        while not answering.done():  # it may be killed after the run has ended, which nothing starts again
            if not anna.place.is_served():
                start(anna.place)
            time.sleep(0.1)
        done = answering.result()
    check_recorded(folder)
    return done


if __name__ == "__main__":
    place = Path(sys.argv[1])
    count = kill_at(place, itertools.cycle([0, 1])) if len(sys.argv) == 2 else kill_page(place, int(sys.argv[2]))
    given, recorded = check_recorded(place)
    print(f"{given} answers given, {recorded} recorded once, 0 lost, 0 recorded twice; kills: {count}")
