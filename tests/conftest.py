"""What all tests share: Hypothesis without a clock, since a machine that runs other jobs is slow by chance.

Few examples by default; `pytest -n 0 --hypothesis-profile=thorough` tries twenty times as many, drawn anew.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, settings

from lightning_al import cli
from tests.support import entry_points as entry_points  # which are read once

settings.register_profile(
    "shared machine", deadline=None, max_examples=10, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("shared machine"), max_examples=200, derandomize=False)
settings.load_profile("shared machine")

if not torch.cuda.is_available():
    # Without a GPU, torch would look for the driver's library each time it is asked, some twenty times a fit.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


FORKED_SECONDS = 280
"""After so long a process that a test forked is ended, before the test itself is (pyproject.toml)."""


def end_in_time() -> None:
    """End a forked process that waits forever, which its test would wait for; one of a slow test may take long."""
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:  # pytest-timeout counts the test's seconds
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(FORKED_SECONDS)


os.register_at_fork(after_in_child=end_in_time)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in docstrings, but not of tests, which have none: looking there takes seconds."""
    collectors = yield
    if not file_path.match("test_*.py"):
        return collectors
    return [collector for collector in collectors if type(collector) is pytest.Module]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let slow tests take their time."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Start as many processes as there are cores for this one. One more costs more than it saves: it collects too."""
    asked = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return None if asked else len(os.sched_getaffinity(0))


def pytest_collection_finish() -> None:
    """Leave the collected tests, a million objects, out of each garbage collection from here on.

    Torch's loggers, which pytest listens to one by one six times a test, are heard by the one above them all.
    """
    gc.collect()
    gc.freeze()
    for name, logger in logging.getLogger().manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith("torch.") and not logger.propagate:
            logger.handlers.clear()
            logger.propagate = True


@pytest.fixture(autouse=True)
def open_streams() -> None:
    """Let no logger write to what pytest captured for an earlier test, which is closed."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
                handler.stream = sys.__stderr__


@pytest.fixture(autouse=True)
def workers_of_loaders_end() -> Iterator[None]:
    """End the workers of a loader whose fit failed; once its garbage is collected, torch waits 5 s for each of them."""
    yield
    for process in multiprocessing.active_children():
        if process.daemon:
            process.terminate()


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what a command may leave changed in its own process, which ends with it."""
    # Hydra takes what measures coverage for a debugger, and would then raise instead of ending by an exit code.
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    threads, root = torch.get_num_threads(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)
    root.handlers[:], root.level = handlers, level
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.INFO)  # theirs; a fixture of a module may have changed it before
    for number, handler in signals.items():
        signal.signal(number, handler)
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


Command = Callable[..., str]


@pytest.fixture
def command(as_before: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, and return what it printed."""

    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lightning-al", *map(str, arguments)])
        capfd.readouterr()
        cli.main()
        return capfd.readouterr().out

    return command


@pytest.fixture
def refused(as_before: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line where it is to fail, and return what it said."""

    def refused(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lightning-al", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        said = capfd.readouterr()
        return said.err or said.out

    return refused
