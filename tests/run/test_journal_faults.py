"""Whatever call of the system fails, and wherever the process is killed, nothing is lost and nothing is half there.

The normal suite takes some of the cases, evenly spaced; `pytest -n 0 -m slow` takes all.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_al.run.journal import Journal
from tests.support import programs
from tests.support.rounds import HEADER, LABELS, ROUNDS, write

OPERATIONS = {
    "open a new folder",
    "open",
    "open a folder of schema 1",
    "ask",
    "answer",
    "begin",
    "append",
    "take_back",
    "save_weights",
    "remove_weights",
    "close",
    "salvage",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("Calls of the system can be made to fail on Linux with a C compiler only.")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = programs.ROOT / "tests" / "support" / "faults.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may reach, in memory where there is one, since each case copies it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.long
@pytest.mark.parametrize("step", [251, pytest.param(1, marks=pytest.mark.slow)])
def test_a_call_that_fails_or_a_kill_leaves_the_state_before_or_after(library: Path, folder: Path, step: int) -> None:
    preload = {"LD_PRELOAD": str(library)}
    command = ["-m", "tests.support.faults", library, folder, 0, step]
    found = programs.run(*command, environment=preload, timeout=4 * 3600, fork=False)
    reports = [json.loads(line) for line in found.stdout.splitlines()]
    assert {report["operation"] for report in reports} == OPERATIONS
    ends: Counter[str] = Counter()
    for report in reports:
        print(report)
        assert report["broken"] == []
        assert report["calls"] > 0
        ends.update(report["ends"])
    assert min(ends["refused"], ends["killed"], ends["returned"]) > 0


def as_a_reader(act: Callable[[], object]) -> str:
    """Return what an act says that is refused to a user who may read only."""
    reading, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            act()
            os.write(answer, b"nothing")
        except RuntimeError as error:
            os.write(answer, str(error).encode())
        except BaseException as error:
            os.write(answer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def allow_reading_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    folder.chmod(0o555)


def test_a_folder_that_may_only_be_read_is_refused_and_unchanged(folder: Path) -> None:
    run = folder / "run"
    write(run, 3)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    allow_reading_only(run)
    try:
        said = as_a_reader(lambda: Journal(run))
        assert f"The run folder {run} could not be written: " in said
        assert "Make room there, or make it writable, and start the run again on the folder" in said
        assert as_a_reader(lambda: len(Journal.read_history(run)) == 3 or 1 / 0) == "nothing"
        said = as_a_reader(lambda: Journal(run / "new"))
        assert f"The run folder {run / 'new'} could not be written: " in said
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    finally:
        run.chmod(0o755)


def test_a_folder_that_becomes_unwritable_keeps_its_rounds(folder: Path) -> None:
    run = folder / "run"
    journal = Journal(run)
    journal.begin(HEADER)
    journal.append(ROUNDS[0], LABELS[0])
    journal.close()
    for path in [run, *run.iterdir()]:
        path.chmod(0o777)

    def goes_on() -> None:
        journal = Journal(run)
        run.chmod(0o555)
        journal.append(ROUNDS[1], LABELS[1])

    if os.geteuid() == 0:
        os.chown(run, 65534, 65534)
    said = as_a_reader(goes_on)
    run.chmod(0o755)
    assert "could not be written" in said
    journal = Journal(run)
    assert list(journal.history) in (ROUNDS[:1], ROUNDS[:2])
    journal.close()
