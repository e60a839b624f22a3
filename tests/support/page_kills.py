"""A run that people answer by page, killed at each step of taking their answers.

Usage: python -m tests.support.page_kills FOLDER
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle, Page, Query
from lightning_al.oracle.progress import Progress
from lightning_al.page.place import Place
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


def check_recorded(folder: Path) -> None:
    """Each answer of the store is in the journal once, and no other is."""
    records, ledger = Journal.read(folder), Ledger.of(read_events(Place(folder).store))
    found = [*records.initial.items(), *(pair for labels in records.labels for pair in labels.items())]
    assert len(found) == len(dict(found))
    given = {index: (event.answer or {})["class"] for index, event in ledger.answers.items() if index in dict(found)}
    assert dict(found) == given == {index: label_of(index) for index in given}


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


if __name__ == "__main__":
    print(kill_at(Path(sys.argv[1]), itertools.cycle([0, 1])))
