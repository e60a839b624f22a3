"""Kill the command line, run on the digits in forked processes, and compare what a restart makes with a whole run.

Torch, Lightning and the library are imported once, here; each run is a fork of this process, which does no arithmetic
of its own. Run by test_kills.py in a process of its own, and for the full counts by hand; a line of JSON a killed run.

Usage: python -m tests.support.killing OUT --variants initial warm best --random 300 --named all
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.core.global_hydra import GlobalHydra

from lightning_al import cli
from lightning_al.acquisition import BatchBALD
from lightning_al.cli import run as cli_run
from lightning_al.cli.waiting import WAITING
from lightning_al.host.namespace import pl
from lightning_al.host.round_checkpoints import RoundCheckpoints
from lightning_al.oracle import Revealed, telling
from lightning_al.oracle.files.oracle import Sheets
from lightning_al.report import Run
from lightning_al.rounds import run as runs
from lightning_al.run.files import replacing
from lightning_al.run.folder import JOURNAL
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.journal_folder import JournalFolder
from lightning_al.run.weights import copy_weights
from tests.support import sitting
from tests.support.diary import Diary

for module in ("demos.digits", "report.curve_pictures", "report.console"):
    import_module(f"lightning_al.{module}")  # which the command line imports late, and each fork would again

SECONDS = 120
WEIGHTS = "weights.ckpt"

SETTINGS = [
    "data.test_size=1500",
    "pool.pool_batch_size=100",
    "trainer.max_steps=4",
    "pool.samples_per_epoch=64",
    "active.query_size=5",
    "posterior.num_samples=3",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "allow=[tests.support.killing,tests.support.diary]",
    "+callbacks.keep._target_=tests.support.killing.KeepWeights",
    "+callbacks.keep.folder=${hydra:runtime.output_dir}",
]

VARIANTS = {
    "initial": [],
    "warm": ["active.reset=warm"],
    "self-training": ["pool.pseudo_labels=0.3", "active.reset=warm"],
    "best": [
        "active.weights=best",
        "trainer.enable_checkpointing=true",
        "+callbacks.checkpoint._target_=pytorch_lightning.callbacks.ModelCheckpoint",
        "+callbacks.checkpoint.dirpath=${hydra:runtime.output_dir}/checkpoints",
        "+callbacks.checkpoint.monitor=train_loss",
    ],
}
VARIANTS["warm and best"] = [*VARIANTS["warm"], *VARIANTS["best"]]
ASKED = [
    "data._target_=tests.support.diary.Unlabelled",
    "oracle._target_=tests.support.diary.Diary",
    "+oracle.path=${hydra:runtime.output_dir}.diary",
    "+oracle.who=anna",
]
VARIANTS["asked"] = ASKED
VARIANTS["asked and warm and best"] = [*ASKED, *VARIANTS["warm and best"]]
VARIANTS["audited"] = [*ASKED, "pool.audit=4"]
KEYED = [
    "data._target_=tests.support.diary.Keyed",
    "+data.diary=${hydra:runtime.output_dir}.diary",
    "+pool.test._target_=tests.support.diary.tested",
    "+pool.batch_size=32",
]
VARIANTS["keyed"] = [*ASKED, *KEYED]
VARIANTS["keyed and audited and warm"] = [*VARIANTS["keyed"], "pool.audit=4", *VARIANTS["warm"]]
"""In these, a person labels who leaves after each third answer and comes back by another start."""
VARIANTS["told"] = [*KEYED, "oracle=ask", "pool.audit=4"]
"""Here, the person tells the answers between two commands."""
PROGRAMS: dict[str, dict[str, Any]] = {
    "audited program": {"audit": 4},
    "keyed program": {"audit": 4, "keyed": True},
    "told program": {"audit": 4, "keyed": True, "oracle": "ask"},
    "filed program": {"audit": 4, "keyed": True, "oracle": "files"},
}
"""In these, a small program runs in place of the command line, which takes a tenth of the time."""


class KeepWeights(pl.Callback):
    """Keep the weights that a round ends with, which a run that resets them does not keep itself."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / WEIGHTS

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for part in self.path.parent.glob(f".{WEIGHTS}.*.part"):
            part.unlink()  # of a process that was killed here
        with replacing(self.path) as path:
            torch.save(copy_weights(pl_module), path)


PLACES: dict[str, tuple[Any, str]] = {
    "begin": (Journal, "begin"),
    "ask": (Journal, "ask"),
    "answer": (Journal, "answer"),
    "append": (Journal, "append"),
    "save weights": (Journal, "save_weights"),
    "checkpoint": (pl.Trainer, "save_checkpoint"),
    "fit": (pl.loops.fit_loop._FitLoop, "advance"),
    "score": (sys.modules["lightning_al.prediction.scoring"], "gather"),
    "select": (BatchBALD, "select"),
    "label": (Revealed, "label"),
    "note": (Diary, "note"),
    "record": (runs.Run, "add_round"),
    "remove weights": (Journal, "remove_weights"),
    "remove checkpoints": (RoundCheckpoints, "finish"),
    "open": (JournalFolder, "open"),
    "insert": (JournalFolder, "insert"),
    "history for people": (JournalFolder, "write_for_people"),
    "save keys": (Journal, "save_keys"),
    "save model": (runs, "save_model"),
    "write labels": (runs, "write_labels"),
    "tell": (telling, "tell"),
    "write sheets": (Sheets, "write"),
    "take up": (sys.modules["lightning_al.oracle.files.oracle"], "take_up"),
    "close": (Journal, "close"),
    "configuration": (cli_run, "write_config"),
    "report": (cli_run, "report_run"),
    "summary": (Run, "write"),
    "sync": (os, "fsync"),
    "move": (Path, "replace"),
}
"""What a kill may stand before or after, by the function that does it. Within `tell`, "tell " stands before them."""


@dataclass(frozen=True)
class Place:
    """Before or after the n-th call of something, counted from 1."""

    name: str
    when: Literal["before", "after"]
    call: int

    @classmethod
    def read(cls, text: str) -> Place:
        name, when, call = text.split(":")
        return cls(name, "before" if when == "before" else "after", int(call))


Kill = float | Place
"""When a process is killed: after some seconds, or at a place."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run that was killed and started again until it ended."""

    variant: str
    kills: list[Any]
    hits: int
    differences: list[str]
    seconds: float


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS, *PROGRAMS], default=list(VARIANTS))
    parser.add_argument("--random", type=int, default=0, help="kills at random moments, over all variants")
    parser.add_argument("--named", nargs="+", default=[], help="`all`, or plans such as begin:after:1,append:before:2")
    parser.add_argument("--places", nargs="+", default=None, help="those of `--named all`; by default all there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for variant in asked.variants:
        whole = WholeRun(asked.out, variant, asked.rounds)
        outcomes = (whole.killed(plan) for plan in whole.named(asked.named, asked.places))
        for outcome in chain(outcomes, whole.killed_at_random(asked.random // len(asked.variants), asked.seed)):
            print(json.dumps(asdict(outcome)), flush=True)


class WholeRun:
    """A run that nothing disturbed, and what killed ones are compared with."""

    def __init__(self, out: Path, variant: str, rounds: int) -> None:
        self.out = out / variant
        self.out.mkdir(parents=True)
        self.variant = variant
        self.rounds = rounds
        self.program = PROGRAMS.get(variant)
        began = time.monotonic()
        status, _ = self._start(self.out / "whole", None)
        if status != 0:
            raise RuntimeError(f"The whole run {self.out} ended with status {status}: {self._said(self.out / 'whole')}")
        self.seconds = time.monotonic() - began
        self.number = 0
        self.calls: dict[str, int] = json.loads((self.out / "whole.calls").read_text())

    def named(self, asked: list[str], places: list[str] | None) -> Iterator[list[Kill]]:
        """Give a plan for each place: all of `tell`, but of the others only the first, middle and last calls."""
        if asked != ["all"]:
            for plan in asked:
                yield [Place.read(text) for text in plan.split(",")]
            return
        for name, calls in self.calls.items():
            if places is not None and name not in places:
                continue
            some = {1, (calls + 1) // 2, calls}
            for call in range(1, calls + 1) if name.startswith("tell ") else sorted(some):
                yield [Place(name, "before", call)]
                yield [Place(name, "after", call)]

    def killed_at_random(self, kills: int, seed: int) -> Iterator[Outcome]:
        """Kill runs one to four times each, until so many kills have hit one."""
        moments = random.Random(f"{seed} {self.variant}")
        while kills > 0:
            # Other work may have slowed the machine since the time of a run was taken.
            latest = 1.2 * self.seconds
            outcome = self.killed([moments.uniform(0, latest) for _ in range(moments.randint(1, min(kills, 4)))])
            kills -= outcome.hits
            yield outcome

    def killed(self, plan: list[Kill]) -> Outcome:
        """Run, kill as planned, start again until the end, and compare."""
        self.number += 1
        folder = self.out / f"killed-{self.number}"
        began = time.monotonic()
        hits = 0
        for attempt, kill in enumerate([*plan, None]):
            status, was_killed = self._start(folder, kill)
            if attempt == 0 and not was_killed:
                self.seconds = time.monotonic() - began
            hits += was_killed
            if not was_killed and status != 0:
                found = [f"ended with status {status}: {self._said(folder)}"]
                break
        else:
            found = list(differences(self.out / "whole", folder))
        shown = [kill if isinstance(kill, float) else asdict(kill) for kill in plan]
        return Outcome(self.variant, shown, hits, found, time.monotonic() - began)

    def _start(self, folder: Path, kill: Kill | None) -> tuple[int, bool]:
        """Run the command line on a folder in a fork, and return its status and whether it was killed."""
        child = os.fork()
        if child == 0:
            self._run(folder, kill)
        if isinstance(kill, float):
            time.sleep(kill)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + SECONDS
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), os.WIFSIGNALED(status)
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return -int(signal.SIGALRM), False
            time.sleep(0.005)

    def _run(self, folder: Path, kill: Kill | None) -> None:
        """Run the command line to its end or that of this process."""
        status = 1
        try:
            log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            (self.out / "temporary").mkdir(exist_ok=True)
            tempfile.tempdir = str(self.out / "temporary")
            calls = watch(kill if isinstance(kill, Place) else None)
            if self.program is None:
                self._run_commands(folder)
            else:
                self._run_programs(folder, **self.program)
            folder.with_suffix(".calls").write_text(json.dumps(calls))
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _run_commands(self, folder: Path) -> None:
        settings = [*SETTINGS, *VARIANTS[self.variant], f"active.max_rounds={self.rounds}"]
        sys.argv = ["lightning-al", *settings, f"folder={folder}"]
        person = Diary(f"{folder}.diary", who="anna") if self.variant == "told" else None
        while True:
            if person is not None:
                person.tell(folder)
            GlobalHydra.instance().clear()
            command()
            if has_finished(folder):  # and nobody left before the last answer
                break

    def _run_programs(self, folder: Path, *, oracle: Any = None, **options: Any) -> None:
        person = Diary(f"{folder}.diary", who="anna", labels=sitting.Y.tolist())
        while True:
            if oracle == "ask":
                person.tell(folder)
            elif oracle == "files":
                person.fill_in(folder, sitting.NAMES)
            sitting.sit(folder, oracle or person, person.path, rounds=self.rounds, **options)
            if has_finished(folder):
                break

    def _said(self, folder: Path) -> str:
        return folder.with_suffix(".log").read_text()[-2000:]


def command() -> None:
    """Run the command line until it ends, or waits for answers."""
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code != WAITING:
            raise


def watch(kill: Place | None) -> Counter[str]:
    """Count the calls of each place, and die at one."""
    calls: Counter[str] = Counter()
    is_telling = False

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal is_telling
            place = f"tell {name}" if is_telling else name
            calls[place] += 1
            call = calls[place]
            if kill == Place(place, "before", call):
                os.kill(os.getpid(), signal.SIGKILL)
            is_telling = is_telling or name == "tell"
            try:
                result = function(*args, **kwargs)
            finally:
                is_telling = is_telling and name != "tell"
            if kill == Place(place, "after", call):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watched

    for name, (owner, attribute) in PLACES.items():
        setattr(owner, attribute, wrap(name, inspect.getattr_static(owner, attribute)))
    return calls


def differences(whole: Path, folder: Path) -> Iterator[str]:
    """Say in what a run's folder differs from that of a whole run."""
    ours, theirs = files(whole), files(folder)
    if any(name.endswith(".part") for name in ours | theirs):
        yield "a temporary file"
    if ours != theirs:
        yield f"files: missing {sorted(ours - theirs)}, left over {sorted(theirs - ours)}"
    if rounds(whole) != rounds(folder):
        yield f"rounds: {rounds(whole)} and {rounds(folder)}"
    if for_people(whole) != for_people(folder):
        yield "history.jsonl"
    if labels(whole) != labels(folder):
        yield f"labels: {labels(whole)} and {labels(folder)}"
    is_of_command = (whole / "summary.json").exists()
    if is_of_command and replace(Run.read(whole), seconds=0.0) != replace(Run.read(folder), seconds=0.0):
        yield "summary.json"
    if lost(folder):
        yield f"lost: {lost(folder)}"
    if asked_in_vain(folder):
        yield f"asked again: {asked_in_vain(folder)}"
    if recorded_twice(folder):
        yield f"twice: {recorded_twice(folder)}"
    for name in ("labels.csv", "keys.jsonl"):
        if name in ours & theirs and (whole / name).read_bytes() != (folder / name).read_bytes():
            yield name
    for name in sorted(ours & theirs):
        if name.endswith((".pt", ".ckpt")) and not same_weights(whole / name, folder / name):
            yield f"weights of {name}"


def has_finished(folder: Path) -> bool:
    history = Journal.read_history(folder)
    return len(history) > 0 and not history[-1].indices


def noted(folder: Path) -> list[tuple[str, int]]:
    """Return what a person wrote down, of which points."""
    diary = folder.with_suffix(".diary")
    lines = diary.read_text().splitlines() if diary.exists() else []
    return [(what, int(index)) for what, index in map(str.split, lines)]


def asked_in_vain(folder: Path) -> list[int]:
    """Return the points that a person was asked for again after the answer was acknowledged."""
    acknowledged: set[int] = set()
    again = []
    for what, index in noted(folder):
        if what == "acknowledged":
            acknowledged.add(index)
        elif index in acknowledged:
            again.append(index)
    return again


def lost(folder: Path) -> list[int]:
    """Return the points whose answer was acknowledged, and which have none in the journal."""
    has = {index for given in labels(folder) for index in given}
    return sorted({index for what, index in noted(folder) if what == "acknowledged"} - has)


def recorded_twice(folder: Path) -> list[int]:
    """Return the points of which the journal has more than one answer."""
    with closing(sqlite3.connect(folder / JOURNAL)) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM rows ORDER BY number")]
    times = Counter(int(index) for body in bodies for index in body.get("answers", ()))
    return [index for index, answers in times.items() if answers > 1]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def rounds(folder: Path) -> list[dict[str, Any]]:
    return [plain(round) for round in Journal.read_history(folder)]


def for_people(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [plain(Round.from_dict(json.loads(line))) for line in lines]


def plain(round: Round) -> dict[str, Any]:
    return {**round.to_dict(), "seconds": None, "peak_bytes": None}


def labels(folder: Path) -> list[dict[int, Any]]:
    journal = Journal(folder)
    found: list[dict[int, Any]] = [journal.records.initial, *journal.labels]
    found += [journal.records.initial_efforts, *journal.records.efforts]
    journal.close()
    return found


def same_weights(one: Path, other: Path) -> bool:
    """Compare files of weights or checkpoints, bit for bit."""
    ours, theirs = (torch.load(path, map_location="cpu", weights_only=True) for path in (one, other))
    ours, theirs = ours.get("state_dict", ours), theirs.get("state_dict", theirs)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


if __name__ == "__main__":
    main(sys.argv[1:])
