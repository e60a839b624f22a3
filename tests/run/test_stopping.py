"""SIGTERM and Ctrl-C, sent to real processes: each ends at once, says how to go on, and leaves a run that can."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import re
import signal
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.oracle import Oracle
from lightning_al.run.stopping import StoppedError, Stopping, held_back
from tests.support import programs
from tests.support.programs import Program
from tests.support.stopped import run
from tests.support.tasks import LitMLP, points, trainer

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
DEFAULT = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
PLACES = ["fit", "score", "test", "last", "label"]


def stop(
    process: Program,
    at: str,
    number: signal.Signals,
    *,
    group: bool = False,
    wait_for: Path | None = None,
) -> str:
    """Send a signal once a line, and a file, say where the process is, and return all that it said."""
    while process.poll() is None and (at not in process.stdout or (wait_for is not None and not wait_for.exists())):
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    return "".join(process.communicate(timeout=240))


def assert_stopped(process: Program, output: str, number: signal.Signals, folder: Path) -> None:
    assert process.returncode == CODES[number], output
    assert "Traceback" not in output
    assert "after the run" not in output
    left = {path.name for path in folder.iterdir() if not path.name.startswith("fit-")}  # where it was asking
    assert left <= {"journal.sqlite", "history.jsonl", "initial.pt", "labels.csv"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    return run(tmp_path_factory.mktemp("whole"))


def assert_stops(folder: Path, place: str, number: signal.Signals, *, workers: int = 0, group: bool = False) -> None:
    process = Program("-m", "tests.support.stopped", folder, place, workers, own_session=True)
    output = stop(process, f"waiting at {place}", number, group=group)
    assert_stopped(process, output, number, folder / "run")
    assert len(re.findall(f"Stopped by {NAMES[number]} in round [12]", output)) == 1, output
    assert f"Start it again to resume from {folder / 'run'}." in output


@pytest.mark.long
def test_a_program_stopped_twice_goes_on_to_the_same_end(tmp_path: Path, undisturbed: list[list[int]]) -> None:
    assert_stops(tmp_path, "score", signal.SIGTERM)
    assert_stops(tmp_path, "label", signal.SIGINT)
    assert run(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("place", PLACES)
def test_a_program_stops_anywhere_and_goes_on(tmp_path: Path, place: str, number: signal.Signals, workers: int) -> None:
    """A terminal sends Ctrl-C to the workers of the loaders too."""
    assert_stops(tmp_path / "cut", place, number, workers=workers, group=number == signal.SIGINT)
    assert run(tmp_path / "cut", workers=workers) == run(tmp_path / "whole", workers=workers)


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("at", ["Run folder", "steps"])
def test_the_command_line_stops_in_a_line(tmp_path: Path, number: signal.Signals, at: str) -> None:
    folder = tmp_path / "run"
    tiny = ["trainer.max_steps=100000", "trainer.max_epochs=100000", "active.budget=30", "logger=none"]
    process = Program("-m", "lightning_al.cli", f"folder={folder}", *tiny, "callbacks=none", own_session=True)
    output = stop(process, "Run folder", number, wait_for=folder / "initial.pt" if at == "steps" else None)
    assert process.returncode == CODES[number], output
    assert "Traceback" not in output
    assert f"Stopped by {NAMES[number]}. Resume with: lightning-al folder={folder}" in output
    assert not {"writer.json", "journal.sqlite-journal"} & {path.name for path in folder.iterdir()}


def test_handlers_are_put_back(tmp_path: Path) -> None:
    # A fit of another test that ended by an exception may have left a handler of ours, which only hands on.
    found = [signal.signal(number, handler) for number, handler in DEFAULT.items()]
    try:
        run(tmp_path)
        assert {number: signal.getsignal(number) for number in DEFAULT} == DEFAULT
    finally:
        for number, handler in zip(DEFAULT, found, strict=True):
            signal.signal(number, handler)


def test_handlers_of_the_user_are_kept() -> None:
    heard: list[int] = []
    before = [signal.signal(number, lambda number, frame: heard.append(number)) for number in CODES]
    stopping = Stopping()
    try:
        stopping.begin()
        os.kill(os.getpid(), signal.SIGINT)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except StoppedError:
            os.kill(os.getpid(), signal.SIGTERM)  # while the run is being left
            stopping.end()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in zip(CODES, before, strict=True):
            signal.signal(number, handler)
    assert heard == [signal.SIGINT, signal.SIGTERM]


def test_a_handler_put_back_by_another_hands_on() -> None:
    """As Lightning does where a fit ends by an exception."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    stopping = Stopping()
    try:
        stopping.begin()
        stopping.end()
        signal.signal(signal.SIGTERM, stopping)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "not ended"])
def test_one_that_another_put_back_may_begin_again(ends: bool) -> None:
    """As where a program fits again after a fit that ended by an exception."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    stopping = Stopping()
    try:
        for _ in range(2):
            stopping.begin()
            if ends:
                stopping.end()
                signal.signal(signal.SIGTERM, stopping)
        stopping.end()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    before = signal.getsignal(signal.SIGTERM)
    stopping = Stopping()
    stopping.begin()
    try:
        yield stopping
    finally:
        stopping.end()
        signal.signal(signal.SIGTERM, before)


def be_stopped() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def go_on(done: list[str]) -> None:
    """Do what takes long, and does not end by itself within the time that a signal takes."""
    done.append("begun")
    time.sleep(30)
    done.append("ended")


class Finalised:
    def __init__(self, done: list[str]) -> None:
        self.done = done

    def __del__(self) -> None:
        be_stopped()
        self.done.append("finalised")


def in_a_finaliser(done: list[str]) -> None:
    Finalised(done)
    go_on(done)


def in_a_finaliser_of_garbage(done: list[str]) -> None:
    garbage = Finalised(done)
    garbage.itself = garbage  # type: ignore[attr-defined]
    del garbage
    gc.collect()
    go_on(done)


def in_a_callback_of_a_weak_reference(done: list[str]) -> None:
    thing = LitMLP()
    reference = weakref.ref(thing, lambda _: be_stopped())
    del thing
    gc.collect()
    assert reference() is None
    go_on(done)


def in_a_finaliser_by_weakref(done: list[str]) -> None:
    thing = LitMLP()
    weakref.finalize(thing, be_stopped)
    del thing
    gc.collect()
    go_on(done)


def in_a_generator_that_is_closed(done: list[str]) -> None:
    def numbers() -> Iterator[int]:
        try:
            yield 1
        finally:
            be_stopped()

    next(numbers())
    go_on(done)


def where_every_error_is_passed_over(done: list[str]) -> None:
    with suppress(BaseException):
        be_stopped()
    for _ in range(3):
        with suppress(BaseException):
            time.sleep(30)
    go_on(done)


@pytest.mark.parametrize(
    "act",
    [
        in_a_finaliser,
        in_a_finaliser_of_garbage,
        in_a_callback_of_a_weak_reference,
        in_a_finaliser_by_weakref,
        in_a_generator_that_is_closed,
        where_every_error_is_passed_over,
    ],
)
def test_a_signal_is_not_lost(stopping: Stopping, act: Callable[[list[str]], None]) -> None:
    done: list[str] = []
    began = time.monotonic()
    with pytest.raises(StoppedError, match="stopped by SIGTERM") as kept:
        act(done)
    stopping.end()
    assert kept.value.code == 143
    assert time.monotonic() - began < 10
    assert [word for word in done if word != "finalised"] == ["begun"]
    # A finaliser in which it comes is not cut in two.
    assert ("finalised" in done) == ("Finalised" in act.__code__.co_names)


def test_an_error_that_somebody_keeps_is_raised_at_the_next_hook(stopping: Stopping) -> None:
    kept: list[BaseException] = []
    try:
        be_stopped()
    except StoppedError as error:
        kept.append(error)
    time.sleep(0.2)
    with pytest.raises(StoppedError, match="stopped by SIGTERM") as raised:
        stopping.check()
    stopping.end()
    assert raised.value is not kept[0]


def test_a_signal_waits_for_what_may_not_be_cut(stopping: Stopping) -> None:
    done = []
    with pytest.raises(StoppedError, match="stopped by SIGTERM") as kept:  # noqa: PT012, since both are tested
        with held_back():
            with held_back():
                be_stopped()
                done.append("inner")
            time.sleep(0.2)
            done.append("outer")
        done.append("after")
    stopping.end()
    assert kept.value.code == 143
    assert done == ["inner", "outer"]


def test_nothing_is_raised_after_the_end(stopping: Stopping) -> None:
    try:
        be_stopped()
    except StoppedError:
        stopping.end()
    time.sleep(0.2)
    stopping.check()
    assert stopping.error is None


def test_an_error_travels_between_processes() -> None:
    for copied in (pickle.loads(pickle.dumps(StoppedError(15))), copy.copy(StoppedError(15))):
        assert (copied.code, copied.number, str(copied)) == (143, 15, "stopped by SIGTERM")


class Stopped(pl.Callback):
    """Be stopped in a hook, and make another error of it, as a loader may whose workers got the signal too."""

    def __init__(self, hook: str, fit: int) -> None:
        self.fits = 0
        self.torn_down = 0

        def act(*_: Any) -> None:
            self.fits += 1
            if self.fits == fit:
                try:
                    be_stopped()
                except StoppedError as error:
                    raise RuntimeError("DataLoader worker is killed by signal: Terminated.") from error

        setattr(self, hook, act)


class OnException(pl.Callback):
    """Be stopped while another error leaves the run."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise ConnectionError("the service is down")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        be_stopped()
        time.sleep(0.2)


class Stubborn(Oracle):
    """Try again whatever happens."""

    def label(self, indices: Any) -> dict[int, Any]:
        for attempt in range(5):
            with suppress(BaseException):
                if attempt == 0:
                    be_stopped()
                time.sleep(30)
        return dict.fromkeys(indices)


class Converting(Oracle):
    """Make another error of whatever happens."""

    def label(self, indices: Any) -> dict[int, Any]:
        try:
            be_stopped()
            time.sleep(30)
        except BaseException as error:
            raise ConnectionError("the service is down") from error
        return {}


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": Stopped("on_train_start", 1)},
        {"callbacks": Stopped("on_train_start", 2)},
        {"callbacks": Stopped("on_test_start", 2)},
        {"callbacks": OnException()},
        {"oracle": Stubborn()},
        {"oracle": Converting()},
    ],
    ids=["first fit", "second fit", "test", "another error", "oracle", "oracle that makes another error"],
)
def test_a_run_ends_by_the_signal_whatever_became_of_its_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = ActiveDataModule(points(40), initial_size=8, test=points(8, seed=1), batch_size=8)
    active = ActiveLearning("random", query_size=4, budget=20, folder=tmp_path / "run", oracle=changes.get("oracle"))
    callbacks = [active, *([changes["callbacks"]] if "callbacks" in changes else [])]
    before = [signal.getsignal(number) for number in CODES]
    began = time.monotonic()
    try:
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            trainer(tmp_path, callbacks=callbacks, max_epochs=1).fit(LitMLP(), datamodule=data)
    finally:
        for number, handler in zip(CODES, before, strict=True):
            signal.signal(number, handler)
    assert time.monotonic() - began < 25
    assert not (tmp_path / "run" / "writer.json").exists()


@pytest.mark.parametrize("oracle", [Stubborn(), Converting()], ids=["oracle", "oracle that makes another error"])
@pytest.mark.parametrize("lacking", [-1, 0], ids=["initial points", "query"])
def test_a_signal_ends_a_call_that_asks_before_its_fit(tmp_path: Path, oracle: Oracle, lacking: int) -> None:
    dataset = points(40)
    dataset.tensors[1].clamp_(max=lacking) if lacking < 0 else None
    data = ActiveDataModule(dataset, initial_size=8, batch_size=8)
    active = ActiveLearning("random", query_size=4, budget=20, folder=tmp_path / "run", oracle=lambda query: {})
    fitting = trainer(tmp_path, callbacks=[active], max_epochs=1)
    fitting.fit(LitMLP(), datamodule=data)
    assert active.pending is not None
    assert active.pending.round == min(lacking, 0)
    active.oracle = oracle
    before = [signal.getsignal(number) for number in CODES]
    began = time.monotonic()
    try:
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            fitting.fit(LitMLP(), datamodule=data)
    finally:
        for number, handler in zip(CODES, before, strict=True):
            signal.signal(number, handler)
    assert time.monotonic() - began < 25
    assert not (tmp_path / "run" / "writer.json").exists()


@pytest.mark.long
@pytest.mark.parametrize(("times", "latest"), [(3, 2), pytest.param(100, 8, marks=pytest.mark.slow)])
def test_one_signal_ends_a_run_with_workers_at_any_moment(tmp_path: Path, times: int, latest: int) -> None:
    done = programs.run("-m", "tests.support.stopping", tmp_path, times, 0, latest, timeout=3600)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == times, done.stderr
    for one in found:
        number = signal.Signals[one["signal"]]
        assert one["code"] == CODES[number], one
        assert one["took"] < 30, one
        assert one["said"].count(f"Stopped by {NAMES[number]} in round ") == 1, one
        assert "StoppedError" not in one["said"], one
        left = {name for name in one["left"] if not name.startswith("fit-")}  # where it was stopped while it asked
        assert left <= {"journal.sqlite", "history.jsonl", "initial.pt", "labels.csv"}, one


class EndingLoader(DataLoader[Any]):
    """Be stopped, once in the process, while its workers are told to end, which takes a while."""

    stops = True

    def __iter__(self) -> Any:
        iterator: Any = super().__iter__()
        end = iterator._shutdown_workers

        def shut_down() -> None:
            if EndingLoader.stops:
                EndingLoader.stops = False
                be_stopped()
                time.sleep(0.2)
            end()

        iterator._shutdown_workers = shut_down
        return iterator


class Persistent(pl.LightningDataModule):
    """Loaders with persistent workers, one of them an `EndingLoader`."""

    def __init__(self, ending: str) -> None:
        super().__init__()
        self.ending = ending

    def loader(self, name: str, seed: int) -> Any:
        kind = EndingLoader if name == self.ending else DataLoader
        return kind(points(8, seed=seed), batch_size=8, num_workers=1, persistent_workers=True)

    def train_dataloader(self) -> Any:
        return DataLoader(points(40), batch_size=8)

    def val_dataloader(self) -> Any:
        return self.loader("val", 1)

    def test_dataloader(self) -> Any:
        return self.loader("test", 2)


class Failing(pl.Callback):
    """Fail when told of an error."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        raise ConnectionError("the callback is down")


class StoppedAndFailing(Failing):
    """Be stopped when told of an error, and fail."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise ConnectionError("the service is down")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, ConnectionError):
            be_stopped()
        super().on_exception(trainer, pl_module, exception)


class FailingLogger(pl.loggers.CSVLogger):
    def finalize(self, status: str) -> None:
        raise ConnectionError("the logger is down")


class FailingData(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(points(40), batch_size=8)

    def test_dataloader(self) -> Any:
        return DataLoader(points(8, seed=1), batch_size=8)

    def on_exception(self, exception: BaseException) -> None:
        raise ConnectionError("the data are down")


@pytest.mark.parametrize(
    ("place", "data", "first"),
    [
        ("", Persistent("val"), None),
        ("", Persistent("test"), None),
        ("on_train_start", FailingData(), Failing()),
        ("on_test_start", FailingData(), Failing()),
        ("", FailingData(), StoppedAndFailing()),
    ],
    ids=["validation workers", "test workers", "fit", "test", "told of another error"],
)
def test_a_run_ends_by_the_signal_whatever_fails_on_its_way_out(
    tmp_path: Path, place: str, data: pl.LightningDataModule, first: pl.Callback | None
) -> None:
    """A program that tries again after an `Exception` is ended too."""
    EndingLoader.stops = True
    active = ActiveLearning("random", query_size=4, budget=20, folder=tmp_path / "run")
    callbacks = [*([] if first is None else [first]), active, *([Stopped(place, 1)] if place else [])]
    before = [signal.getsignal(number) for number in CODES]
    current = trainer(tmp_path, callbacks=callbacks, max_epochs=1, logger=FailingLogger(tmp_path))
    try:
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            current.fit(LitMLP(), datamodule=ActiveDataModule(data, initial=list(range(8))))
    finally:
        for number, handler in zip(CODES, before, strict=True):
            signal.signal(number, handler)
    assert current.callbacks.count(active) == 1  # type: ignore[attr-defined]
    assert current.state.status == "interrupted"
