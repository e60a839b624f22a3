"""Stop a run at once and cleanly when its process gets SIGTERM or Ctrl-C.

The handler of the signal raises an error. Python loses an error that is raised in a `__del__` or in the callback of a
weak reference: it prints the error and continues. Any `except BaseException: pass` loses it too. So the handler notes
the signal, and a thread sends the signal again until the run has ended. No error is raised where it would be lost or do
harm: in a `__del__`, around a fork, or in a write of ours. If an error is lost all the same, another one is raised a
moment later or at the next hook.
"""

from __future__ import annotations

import _thread
import atexit
import multiprocessing.util
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import CodeType, FrameType, FunctionType
from typing import Any

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}

AGAIN_SECONDS = 0.05
"""How often the signal is sent again until the run has ended."""

_OF_FINALISERS = {weakref.__file__, weakref.WeakSet.__init__.__code__.co_filename, multiprocessing.util.__file__}

_finishing: set[CodeType] = set()
"""Functions that no error of ours may leave."""

_raised: weakref.ref[StoppedError] | None = None
"""The error that was raised last. As long as it exists, it is on its way out."""

_stopping: Stopping | None = None
"""The object that got a signal and sends it again."""

_held_back = 0


class StoppedError(SystemExit):
    """Leave the run, and the process with the exit code that shells expect: 128 plus the signal's number.

    Lightning itself only notes SIGTERM for the end of the next batch, which a nested fit forgets, and exits with code
    0, or 1 after Ctrl-C.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.name = NAMES[signal.Signals(number)]

    def __reduce__(self) -> tuple[type[StoppedError], tuple[int]]:
        return type(self), (self.number,)

    def __str__(self) -> str:
        return f"stopped by {self.name}"


@contextmanager
def held_back() -> Iterator[None]:
    """Do something that no signal may interrupt. The error is raised afterwards."""
    global _held_back
    _held_back += 1
    try:
        yield
    finally:
        _held_back -= 1
    if _stopping is not None:
        _stopping.check()


def let_finish(function: FunctionType) -> None:
    """Raise no error while a function runs, such as one by which Lightning already leaves the run."""
    _finishing.add(function.__code__)


def is_insisting() -> bool:
    """Return whether a signal came and the run has not ended yet."""
    return _stopping is not None


class Stopping:
    """Turn the first SIGTERM or Ctrl-C into a `StoppedError`, from `begin` to `end`, in the main thread of one process.

    Lightning calls this handler of SIGTERM after its own, and restores it after each fit. After `end`, the handler only
    calls the previous one.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._process: int | None = None
        self._tell_others: Callable[[int], None] = _tell_nobody
        self._number: int | None = None
        self._insisting = threading.Lock()
        self._print_lost: Callable[[Any], object] | None = None

    def __reduce__(self) -> tuple[type[Stopping], tuple[()]]:
        # The handlers, and the processes to tell, belong to this process.
        return type(self), ()

    @property
    def error(self) -> StoppedError | None:
        """The error by which to leave the run, or None if no signal came."""
        return None if self._number is None or os.getpid() != self._process else StoppedError(self._number)

    def begin(self, tell_others: Callable[[int], None] | None = None) -> None:
        """Set the handlers.

        Args:
            tell_others: Called with the signal's number, to send it to processes that this one started.
        """
        global _raised
        if threading.current_thread() is not threading.main_thread():
            return
        _hold_back_around_forks()
        for number in NAMES:
            before = signal.getsignal(number)
            while isinstance(before, Stopping) and (before is self or before._process is None):
                # Lightning restored it after a fit that ended by an exception.
                before = before._before[number]
            # A user's own handler of Ctrl-C stays, and so does SIG_IGN.
            if number == signal.SIGINT and before is not signal.default_int_handler:
                continue
            # submitit ends the job and requeues it.
            if getattr(before, "__module__", "") == "submitit.core.job_environment":
                continue
            if before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self)
        self._process, self._tell_others = os.getpid(), tell_others or _tell_nobody
        self._number, _raised = None, None

    def check(self) -> None:
        """Leave the run if a signal came before, even if its error was lost. Call it wherever a run continues.

        Raises:
            StoppedError: If a signal came since `begin`.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not _held_back and self.error is not None:
            raise self._new_error()

    def end(self) -> StoppedError | None:
        """Restore the previous handlers, unless others were set since.

        Returns:
            The error by which to leave the run, or None if no signal came until now.
        """
        global _stopping
        with self._insisting:
            if _stopping is self:
                _stopping = None
        # Signals that were sent again until now are handled before this returns, and none comes later.
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)
        if self._print_lost is not None and sys.unraisablehook == self._print_others:
            sys.unraisablehook = self._print_lost
        error = self.error
        self._process = self._number = self._print_lost = None
        self._tell_others = _tell_nobody
        atexit.unregister(self.end)
        return error

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Leave the run. A worker process of a loader, which inherits the handler, calls the previous one instead."""
        if os.getpid() != self._process:
            self._call_previous(number, frame)
            return
        if self._number is None:
            self._number = number
            self._insist(number)
            _let_workers_end()
            self._tell_others(number)
        is_leaving = _stopping is not self or (_raised is not None and _raised() is not None)
        if not is_leaving and not _held_back and not _would_be_lost(frame):
            raise self._new_error()

    def _new_error(self) -> StoppedError:
        """Return an error to which only the caller holds a reference."""
        global _raised
        assert self._number is not None
        error = StoppedError(self._number)
        _raised = weakref.ref(error)
        return error

    def _insist(self, number: int) -> None:
        """Send the signal again and again, from a thread, until `end`. Each one interrupts a blocking call."""
        global _stopping
        _stopping = self
        main = threading.main_thread().ident
        assert main is not None

        def insist() -> None:
            while True:
                time.sleep(AGAIN_SECONDS)
                with self._insisting:
                    if _stopping is not self:
                        return
                    try:
                        signal.pthread_kill(main, number)
                    except OSError:  # the main thread has ended
                        return

        self._print_lost, sys.unraisablehook = sys.unraisablehook, self._print_others
        atexit.register(self.end)
        # A `Thread` takes locks, and the main thread may hold one of them now.
        _thread.start_new_thread(insist, ())

    def _print_others(self, lost: Any) -> None:
        """Print lost errors but our own, which are raised again."""
        if self._print_lost is not None and not isinstance(lost.exc_value, StoppedError):
            self._print_lost(lost)

    def _call_previous(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            os.kill(os.getpid(), number)


def _tell_nobody(number: int) -> None:
    """Tell no other process of a signal."""


@cache
def _hold_back_around_forks() -> None:
    """Raise nothing while a process is forked, since functions that are called around a fork must not fail.

    The last function registered runs first before a fork, and last after it.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_add(1), after_in_parent=_add(-1), after_in_child=_add(-1))


def _add(number: int) -> Callable[[], None]:
    def add() -> None:
        global _held_back
        _held_back += number

    return add


def _let_workers_end() -> None:
    """Keep torch's handler of SIGCHLD from raising an error when a loader's workers end by the same signal.

    The error would come from anywhere in the program. A loader also notices missing workers by itself, seconds later.
    """
    of_children: Any = getattr(signal, "SIGCHLD", None)
    handler: Any = None if of_children is None else signal.getsignal(of_children)
    if not callable(handler):
        return

    def ignore_errors(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):
            handler(number, frame)

    for _ in range(1000):  # each worker that has ended already may raise it here
        with suppress(RuntimeError):
            signal.signal(of_children, ignore_errors)
            return


def _would_be_lost(frame: FrameType | None) -> bool:
    """Return whether an error raised in this frame would be lost or do harm, as far as the frames tell."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename in _OF_FINALISERS or code in _finishing:
            return True
        frame = frame.f_back
    return False
