"""Two gloo processes of which one dies: the other ends too, and a restart goes on to the end of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lightning_al.run.journal import Journal
from tests.host.test_ranks import found_by_rank
from tests.support import programs
from tests.support.programs import ROOT
from tests.support.ranks import PLACES

SECONDS = 60
"""How long after the death of one process the last may end."""

STARTS = 120
"""How long two processes may take to import and to get to the place."""

HOW = ("exception", "SIGTERM", "SIGKILL")


def die(out: Path, *, rank: int, place: str, how: str) -> tuple[float, str]:
    """Run until a rank dies, and return how many seconds later the last process ended, and what all said."""
    (out / "run-0").mkdir(parents=True)
    death = {"rank": rank, "place": place, "how": how}
    runs = [{"acquisition": "bald", "folder": str(out / "folder"), "die": death}]
    command = [sys.executable, "-m", "tests.support.ranks", str(out), "2", json.dumps(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Each process holds the pipe open, so that this returns when the last has ended.
        said, _ = process.communicate(timeout=STARTS + SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    ended = time.time()
    return ended - float((out / "run-0" / "died").read_text()), said


def die_in_forks(out: Path, *, rank: int, place: str, how: str) -> tuple[float, str]:
    """The same of two processes of which neither started the other, as those of torchrun's."""
    (out / "run-0").mkdir(parents=True)
    death = {"rank": rank, "place": place, "how": how}
    runs = [{"acquisition": "bald", "epochs": 1, "folder": str(out / "folder"), "die": death}]
    both = programs.Program("-m", "tests.support.ranks", out, 2, json.dumps(runs), ranks=2)
    latest = time.monotonic() + STARTS + SECONDS
    while both.poll() is None and time.monotonic() < latest:
        time.sleep(0.05)
    ended = time.time()
    both.send_signal(signal.SIGKILL)
    return ended - float((out / "run-0" / "died").read_text()), both.stdout + both.stderr


def check_dead(out: Path, *, rank: int, place: str, how: str, die: Callable[..., tuple[float, str]] = die) -> None:
    seconds, said = die(out, rank=rank, place=place, how=how)
    assert seconds < SECONDS, said
    recorded = [round.number for round in Journal.read_history(out / "folder")]
    # The first rank records before it appends; the other may be ahead of it or behind.
    possible = {"record": [[0, 1]] if rank == 0 else [[0], [0, 1]]}.get(place, [[0]])
    assert recorded in possible, said


def ends(out: Path, folders: list[Path]) -> list[dict[str, Any]]:
    """Start again on each folder, and return what the run is in the end, the same on both ranks."""
    one, other = found_by_rank(out, 2, *({"acquisition": "bald", "folder": str(folder)} for folder in folders))
    assert one == other
    return one


@pytest.mark.long
def test_a_rank_that_gets_a_sigterm_between_fits_ends_the_other(tmp_path: Path) -> None:
    check_dead(tmp_path, rank=1, place="gather", how="SIGTERM", die=die_in_forks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "rank", "place"), [("exception", 0, "answer"), ("SIGKILL", 0, "answer"), ("SIGTERM", 1, "label")]
)
def test_a_rank_that_dies_while_labels_are_asked_for_ends_the_other(
    tmp_path: Path, how: str, rank: int, place: str
) -> None:
    check_dead(tmp_path, rank=rank, place=place, how=how)


@pytest.mark.slow
def test_a_rank_that_dies_anywhere_ends_the_other_and_the_run_goes_on(tmp_path: Path) -> None:
    cases = [case for case in product(HOW, (0, 1), PLACES) if case[1:] != (1, "answer")]
    folders = []
    for how, rank, place in cases:
        out = tmp_path / f"{how}-{rank}-{place}"
        check_dead(out, rank=rank, place=place, how=how)
        folders.append(out / "folder")
    # A few at a time, each in processes with a time limit of their own.
    starts = range(0, len(folders), 9)
    again = [end for start in starts for end in ends(tmp_path / f"again-{start}", folders[start : start + 9])]
    [whole] = ends(tmp_path / "undisturbed", [tmp_path / "whole"])
    assert [case for case, end in zip(cases, again, strict=True) if end != whole] == []


RETRIED: dict[str, dict[str, Any]] = {
    "answer": {"place": "answer"},
    "answer odd": {"place": "answer", "how": "odd exception"},
    "journal": {"place": "journal"},
    "weights": {"place": "weights"},
    "loggers": {"place": "loggers"},
    "selected": {"place": "selected"},
    "selected on the second": {"place": "selected", "rank": 1},
    "claim": {"place": "claim"},
    "remove": {"place": "remove", "round": 2},
    "round": {"place": "round"},
    "name on the second": {"place": "name", "rank": 1},
    "dry pass on the second": {"place": "dry pass", "rank": 1, "round": 0},
    "start of the round on the second": {"place": "start of the round", "rank": 1},
    "best weights on the second": {"place": "best weights", "rank": 1},
    "score": {"place": "score"},
    "score on the second": {"place": "score", "rank": 1},
    "select on the second": {"place": "select", "rank": 1},
    "between chunks": {"place": "between chunks"},
    "between chunks on the second": {"place": "between chunks", "rank": 1},
    "odd between chunks on the second": {"place": "between chunks", "rank": 1, "how": "odd exception"},
}
"""What one rank fails by alone, and how."""

EVERY_DAY = ["answer odd", "journal", "claim", "between chunks on the second"]
"""One each of what the first rank asks, records and writes alone, and what the second fails by in the pool's pass."""


@pytest.mark.long
@pytest.mark.parametrize(
    "names",
    [EVERY_DAY, pytest.param([name for name in RETRIED if name not in EVERY_DAY], marks=pytest.mark.slow)],
)
def test_what_fails_on_one_rank_fails_on_all_and_the_program_may_try_again(tmp_path: Path, names: list[str]) -> None:
    """As a program does that catches the error of a labelling service, on every rank."""
    common = {"acquisition": "bald", "reset": "warm", "epochs": 1, "budget": 18}
    runs = [
        {
            **common,
            "folder": str(tmp_path / f"folder-{number}"),
            "tries": 2,
            "die": {"rank": 0, "how": "exception", **death},
        }
        for number, death in enumerate(map(RETRIED.__getitem__, names))
    ]
    [*retried, (whole, _)] = zip(*found_by_rank(tmp_path, 2, *runs, common), strict=True)
    assert whole.pop("errors") == []
    for name, ranks in zip(names, retried, strict=True):
        for rank, found in enumerate(ranks):
            dead = RETRIED[name].get("rank", 0)
            odd = RETRIED[name].get("how") == "odd exception"
            expected = ["RuntimeError", "boom"] if not odd else ["OddError", "boom"]
            if odd and rank != dead:
                expected = ["RuntimeError", "OddError: boom"]
            assert found.pop("errors") == [expected], name
            assert found == whole, name
