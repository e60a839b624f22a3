"""Programs in processes of their own, without the seconds that each would spend on importing torch and Lightning.

A server imports them once and forks for each program (`forkserver` of Python's multiprocessing). Its hashes are others
than those of the process that tests. A test of imports, or of a variable that is read at import, starts an interpreter
instead: `run(..., fork=False)`.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only

ROOT = Path(__file__).parents[2]
IMPORTED = [
    "tests.support.entry_points",
    "tests.support.programs",
    "lightning_al.callback",
    "lightning_al.cli.run",
    "lightning_al.demos.digits",
    "lightning_al.report.curve_pictures",
    "lightning_al.report.console",
]


class Program:
    """A Python program that runs, given by what follows `python`; with `ranks`, as torchrun starts it.

    What all ranks print goes to the files `stdout` and `stderr`. A rank that fails ends the others.
    """

    def __init__(
        self,
        *command: Any,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        ranks: int = 1,
        own_session: bool = False,
    ) -> None:
        self.command = [str(part) for part in command]
        self.out = Path(tempfile.mkdtemp(prefix="program-"))
        weakref.finalize(self, shutil.rmtree, self.out, ignore_errors=True)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.processes = []
        port = free_port() if ranks > 1 else 0
        for rank in range(ranks):
            of_rank = ranked(rank, port) if ranks > 1 else {}
            arguments = (
                self.command,
                str(cwd),
                {**variables, **of_rank, **(environment or {})},
                str(self.out),
                own_session,
            )
            self.processes.append(server().Process(target=be, args=arguments))
            self.processes[-1].start()

    @property
    def pid(self) -> int:
        return self.processes[0].pid

    @property
    def returncode(self) -> int | None:
        """The first code that is not 0, once all have ended; less than 0 for a signal."""
        codes = [process.exitcode for process in self.processes]
        return None if None in codes else next((code for code in codes if code), 0)

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    def _read(self, name: str) -> str:
        path = self.out / name
        return path.read_text() if path.exists() else ""

    def wait(self, timeout: float) -> int:
        """Wait for the end, and return the exit code; what takes longer is killed."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            for process in self.processes:
                process.join(0.02)
            if any(process.exitcode for process in self.processes):
                self.send_signal(signal.SIGTERM)
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                raise TimeoutError(f"{self.command} took more than {timeout} s: {self.stdout}{self.stderr}")
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        return self.stdout, self.stderr

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        for process in self.processes:
            if process.exitcode is None:
                os.kill(process.pid, number)


def run(
    *command: Any,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    ranks: int = 1,
    timeout: float = 300,
    check: bool = True,
    fork: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which has to be a good one unless `check` is false."""
    if fork:
        program = Program(*command, cwd=cwd, environment=environment, ranks=ranks)
        code = program.wait(timeout)
        done = subprocess.CompletedProcess(program.command, code, program.stdout, program.stderr)
    else:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@cache
def server() -> Any:
    """Start the server, with one thread, since threads do not outlive a fork, and with other hashes than here."""
    before = dict(os.environ)
    hashes = "1" if before.get("PYTHONHASHSEED") != "1" else "2"
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), PYTHONHASHSEED=hashes)
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def be(command: list[str], cwd: str, environment: dict[str, str], out: str, own_session: bool) -> None:
    """Be the interpreter that runs a program."""
    if own_session:
        os.setsid()
    multiprocessing.set_start_method(None, force=True)  # the platform's own, for the workers of loaders
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what runs in the background
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(out) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if "RANK" in environment:
        rank_zero_only.rank = int(environment["RANK"])  # which was read when Lightning was imported
    first, *rest = command
    name = rest.pop(0) if first in ("-m", "-c") else first
    own = str(Path(first).parent) if name is first else cwd
    sys.path[:0] = [own, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [name if first != "-c" else "-c", *rest]
    status: Any = 0
    try:
        if first == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(name, "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            runpy.run_path(name, run_name="__main__")
    except SystemExit as ended:
        status = ended.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.exit(status)


def ranked(rank: int, port: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_PORT": str(port)}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
