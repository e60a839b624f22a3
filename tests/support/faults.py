"""Run each operation of the journal with a call of the system failing, or the process killed there.

It runs in a process of its own, in which `faults.c` is loaded before the C library, and forks a child for each case:

    LD_PRELOAD=faults.so python -m tests.support.faults faults.so FOLDER FIRST STEP

It prints a line of JSON for each operation: how many calls it makes, how many cases there were of each end, and which
of them broke the law.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_al.run.journal import Journal
from lightning_al.run.journal_database import chained, write_rows
from lightning_al.run.records import OpenQuery
from lightning_al.run.schemas import SCHEMA
from lightning_al.run.weights_file import load_weights
from tests.support.rounds import HEADER, LABELS, ROUNDS, write

FAILURES = [(how, getattr(errno, name)) for name in ("ENOSPC", "EIO", "EROFS") for how in ("once", "on")]
KILLS = [(how, 0) for how in ("before", "after", "half")]
REMEDY = "Make room there, or make it writable, and start the run again on the folder to resume."
SURE = "Start the run again on the folder to resume from there."

State = tuple[float, float | None]
"""How many rows the journal has, and the number that its weights hold; a quarter more where a query is open, and a half
where it is answered.
"""


@dataclass(frozen=True)
class Operation:
    """What is done to a folder, and the state of the run before and after."""

    prepare: Callable[[Path], None]
    run: Callable[[Path, Any], object]
    before: State
    after: State
    opens: bool = True


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3000,), value)}


def nothing(folder: Path) -> None:
    pass


def begun(folder: Path) -> None:
    journal = Journal(folder)
    journal.save_weights("initial", weights(1))
    journal.close()


def three_rounds(folder: Path) -> None:
    write(folder, 3)
    journal = Journal(folder)
    journal.save_weights("initial", weights(1))
    journal.close()


def of_schema_1(folder: Path) -> None:
    three_rounds(folder)
    path = folder / "journal.sqlite"
    path.unlink()
    rounds = [
        {"round": round.to_dict(), "labels": {str(index): label for index, label in labels.items()}}
        for round, labels in zip(ROUNDS[:3], LABELS[:3], strict=True)
    ]
    write_rows(chained([{"schema": 1, **HEADER}, *rounds]), path)


QUERY = OpenQuery(3, [8], [0.125], round=ROUNDS[3].to_dict())


def asked(folder: Path) -> None:
    three_rounds(folder)
    journal = Journal(folder)
    journal.ask(QUERY)
    journal.close()


def left_behind(folder: Path) -> None:
    three_rounds(folder)
    for name in ("initial.pt", "history.jsonl", "writer.json", "journal.sqlite"):
        (folder / f".{name}.part").write_bytes(b"half")
    (folder / ".journal.sqlite.part-journal").write_bytes(b"half")


def damaged(folder: Path) -> None:
    three_rounds(folder)
    path = folder / "journal.sqlite"
    content = path.read_bytes()
    # A bit of a number in the last round's metrics.
    place = content.index(b'"fit": 2.5') + 7
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


OPERATIONS = {
    "open a new folder": Operation(nothing, lambda folder, _: Journal(folder), (0, None), (0, None), opens=False),
    "open": Operation(left_behind, lambda folder, _: Journal(folder), (4, 1), (4, 1), opens=False),
    "open a folder of schema 1": Operation(of_schema_1, lambda folder, _: Journal(folder), (4, 1), (4, 1), opens=False),
    "ask": Operation(three_rounds, lambda _, journal: journal.ask(QUERY), (4, 1), (4.25, 1)),
    "answer": Operation(asked, lambda _, journal: journal.answer({8: 0}), (4.25, 1), (4.75, 1)),
    "begin": Operation(begun, lambda _, journal: journal.begin(HEADER), (0, 1), (1, 1)),
    "append": Operation(three_rounds, lambda _, journal: journal.append(ROUNDS[3], LABELS[3]), (4, 1), (5, 1)),
    "take_back": Operation(three_rounds, lambda _, journal: journal.take_back(), (4, 1), (3, 1)),
    "save_weights": Operation(
        three_rounds, lambda _, journal: journal.save_weights("initial", weights(2)), (4, 1), (4, 2)
    ),
    "remove_weights": Operation(three_rounds, lambda _, journal: journal.remove_weights("initial"), (4, 1), (4, None)),
    "close": Operation(three_rounds, lambda _, journal: journal.close(), (4, 1), (4, 1)),
    "salvage": Operation(damaged, lambda folder, _: Journal.salvage(folder), (2, 1), (2, 1), opens=False),
}


def attempt(operation: Operation, folder: Path, library: ctypes.CDLL, answer: int) -> None:
    """Run an operation with the fault that the environment asks for, and answer how it went."""
    journal = Journal(folder) if operation.opens else None
    os.environ["FAULT_UNDER"] = str(folder)
    said: dict[str, Any] = {"end": "returned"}
    try:
        operation.run(folder, journal)
    except RuntimeError as error:
        said = {"end": "refused", "words": str(error)}
    except BaseException as error:
        said = {"end": f"raised {type(error).__name__}: {error}"}
    del os.environ["FAULT_UNDER"]
    said["calls"] = library.fault_calls()
    if said["end"] == "refused" and journal is not None:
        try:
            operation.run(folder, journal)
            said["end"] = "returned when tried again"
        except RuntimeError as error:
            said["again"] = str(error)
    os.write(answer, json.dumps(said).encode())


def run(operation: Operation, folder: Path, library: ctypes.CDLL, at: int, how: str, number: int) -> dict[str, Any]:
    """Run an operation in a child, and return how it went."""
    reading, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ.update(FAULT_AT=str(at), FAULT_HOW=how, FAULT_ERRNO=str(number))
        try:
            attempt(operation, folder, library, answer)
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return {"end": "killed"} if not said else json.loads(said)
    return json.loads(said)


def state(folder: Path) -> State:
    """Open the run, without faults, and return its state where it is a beginning of the true one."""
    journal = Journal(folder)
    num_rounds = len(journal.history)
    assert list(journal.history) == ROUNDS[:num_rounds]
    assert journal.labels == LABELS[:num_rounds]
    header = journal.header or {"schema": SCHEMA, **HEADER}
    assert {name: value for name, value in header.items() if name != "id"} == {"schema": SCHEMA, **HEADER}
    num_rows: float = 0 if journal.header is None else num_rounds + 1
    query = journal.records.query
    if query is not None:
        assert (query.indices, query.round) == (QUERY.indices, json.loads(json.dumps(QUERY.round)))
        num_rows += 0.75 if query.answers else 0.25
    journal.close()
    left = [path.name for path in folder.iterdir() if ".part" in path.name]
    assert not left, f"{left} left behind"
    if num_rounds:
        lines = (folder / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in lines] == list(range(num_rounds))
    try:
        (value,) = set(load_weights(folder, "initial")["weight"].tolist())
    except RuntimeError as error:
        if "which is not there" not in str(error):
            raise
        return num_rows, None
    return num_rows, value


def broken(name: str, operation: Operation, folder: Path, said: dict[str, Any]) -> str | None:
    """Return what law a case broke, or None."""
    if said["end"].startswith("raised"):
        return said["end"]
    if said["end"] == "refused":
        if REMEDY not in said["words"]:
            return f"refused without a remedy: {said['words']}"
        if not any(words in said.get("again", REMEDY) for words in (REMEDY, SURE)):
            return f"refused the second time without a remedy: {said['again']}"
    if name == "salvage" and not said["end"].startswith("returned"):
        Journal.salvage(folder)
    try:
        found = state(folder)
    except (AssertionError, RuntimeError) as error:
        return f"{said['end']}, and then {error}"
    if said["end"].startswith("returned") and found != operation.after:
        return f"{said['end']}, but the state is {found}, not {operation.after}"
    if found not in (operation.before, operation.after):
        return f"the state is {found}, neither {operation.before} nor {operation.after}"
    return None


@dataclass
class Trial:
    """An operation tried again and again, each time from the same folder."""

    name: str
    root: Path
    library: ctypes.CDLL

    def __post_init__(self) -> None:
        self.operation = OPERATIONS[self.name]
        self.source, self.folder = self.root / "source" / self.name, self.root / "run"
        self.operation.prepare(self.source)
        self.ends: Counter[str] = Counter()
        self.broken: list[str] = []

    def one(self, at: int, how: str, number: int) -> int:
        """Try it with one fault, and return how many calls it made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.source.exists():
            shutil.copytree(self.source, self.folder)
        said = run(self.operation, self.folder, self.library, at, how, number)
        self.ends[said["end"]] += 1
        law = broken(self.name, self.operation, self.folder, said)
        if law is not None:
            self.broken.append(f"call {at}, {how}, {number}: {law}")
        return int(said.get("calls", 0))

    def every(self, first: int, step: int) -> dict[str, Any]:
        """Try it with each fault at each call, or with some of them, and return what was found."""
        calls = self.one(0, "none", 0)
        cases = ((at, *fault) for at in range(1, calls + 1) for fault in [*FAILURES, *KILLS])
        for case in itertools.islice(cases, first, None, step):
            self.one(*case)
        return {"operation": self.name, "calls": calls, "ends": self.ends, "broken": self.broken}


def main() -> None:
    library, root, first, step = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for name in OPERATIONS:
        print(json.dumps(Trial(name, root, library).every(first, step)), flush=True)


if __name__ == "__main__":
    main()
