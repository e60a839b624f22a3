"""End a run at once and in order when its process is told to stop, by SIGTERM or by Ctrl-C.

The handler of the signal raises an error. Python may have nowhere to pass it on to: raised while a `__del__` or the
callback of a weak reference runs, it is printed and forgotten, and any `except BaseException: pass` ends it too. So a
signal is noted, and insisted on until the run is left: the error is not raised where it would be lost or do harm (in a
`__del__`, in what is called around a fork, in a write of ours), and where it was lost all the same it is raised again,
a moment later or at the next hook.
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
from functools import cache, partial
from types import FrameType
from typing import Any, NoReturn

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}

AGAIN_SECONDS = 0.05
"""How long after a signal it is handled again, until the run is left."""

_OF_FINALISERS = {weakref.__file__, weakref.WeakSet.__init__.__code__.co_filename, multiprocessing.util.__file__}

_raised: weakref.ref[StoppedError] | None = None
"""The error that was raised last, which is on its way as long as it exists."""

_stopping: Stopping | None = None
"""Who was told to stop, and insists."""

_held_back = 0


class StoppedError(SystemExit):
    """Leave the run, and then the process with the exit code that shells expect: 128 and the signal's number.

    Lightning notes SIGTERM for the end of the next batch, which a nested fit forgets again, and leaves with code 0 or,
    after Ctrl-C, with 1.
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
    """Do something that no signal cuts in two: the run is left afterwards."""
    global _held_back
    _held_back += 1
    try:
        yield
    finally:
        _held_back -= 1
    if _stopping is not None:
        _stopping.check()


@cache
def _hold_back_around_forks() -> None:
    """Hold a signal back while a process is forked, since what is called around that may raise nothing.

    Of what is called around a fork, the last that was registered is called first before it, and last after it.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_add(1), after_in_parent=_add(-1), after_in_child=_add(-1))


def _add(number: int) -> Callable[[], None]:
    def add() -> None:
        global _held_back
        _held_back += number

    return add


def _let_workers_end() -> None:
    """Keep torch from raising an error, wherever the process is, as workers of loaders end that got the signal too.

    Its loaders miss their workers by themselves as well, though some seconds later.
    """
    of_children: Any = getattr(signal, "SIGCHLD", None)
    handler: Any = None if of_children is None else signal.getsignal(of_children)
    if getattr(handler, "__module__", "") != "torch.utils.data._utils.signal_handling":
        return

    def pass_over(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):
            handler(number, frame)

    for _ in range(1000):  # as each that has ended already may raise it here
        with suppress(RuntimeError):
            signal.signal(of_children, pass_over)
            return


def _tell_nobody(number: int) -> None:
    """Tell no other process of a signal."""


class Stopping:
    """Turn the first SIGTERM or Ctrl-C into a `StoppedError`, from `begin` to `end`, in the main thread of one process.

    Lightning calls this handler of SIGTERM after its own, and puts it back after each fit. Once `end` was called, it
    only hands on to the handler before.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._process: int | None = None
        self._tell_others: Callable[[int], None] = _tell_nobody
        self._number: int | None = None
        self._insisting = threading.Lock()
        self._say_lost: Callable[[Any], object] | None = None

    def __reduce__(self) -> tuple[type[Stopping], tuple[()]]:
        # The handlers, and the processes to tell, are those of this process.
        return type(self), ()

    @property
    def error(self) -> StoppedError | None:
        """The error by which to leave the run, or None where no signal came."""
        return None if self._number is None or os.getpid() != self._process else StoppedError(self._number)

    def begin(self, tell_others: Callable[[int], None] = _tell_nobody) -> None:
        """Take over the signals.

        Args:
            tell_others: Called with the signal's number, to hand it on to processes that this one started.
        """
        global _raised
        if threading.current_thread() is not threading.main_thread():
            return
        _hold_back_around_forks()
        for number in NAMES:
            before = signal.getsignal(number)
            while isinstance(before, Stopping) and (before is self or before._process is None):
                # Lightning put it back after a fit that ended by an exception.
                before = before._before[number]
            # What the user has for Ctrl-C is left alone, and so is that it is ignored.
            if number == signal.SIGINT and before is not signal.default_int_handler:
                continue
            # A job on a cluster is ended, and queued again, as submitit has it.
            if getattr(before, "__module__", "") == "submitit.core.job_environment":
                continue
            if before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self)
        self._process, self._tell_others, self._number, _raised = os.getpid(), tell_others, None, None

    def check(self) -> None:
        """Leave the run where a signal came before, whatever became of its error. To be called where a run goes on.

        Raises:
            StoppedError: If a signal came since `begin`.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not _held_back and self.error is not None:
            raise self._new_error()

    def end(self) -> StoppedError | None:
        """Put the handlers from before back, as far as they were not replaced since.

        Returns:
            The error by which to leave the run, or None where no signal came until now.
        """
        global _stopping
        with self._insisting:
            if _stopping is self:
                _stopping = None
        # A signal that was sent again until now is handled before this returns, and then no more.
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)
        if self._say_lost is not None and sys.unraisablehook == self._say_others:
            sys.unraisablehook = self._say_lost
        error = self.error
        self._process = self._number = self._say_lost = None
        self._tell_others = _tell_nobody
        atexit.unregister(self.end)
        return error

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Leave the run; the processes of its loaders, which inherit the handler, do as they would without it."""
        if os.getpid() != self._process:
            self._hand_on(number, frame)
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
        """Return an error that nobody holds but who raises it."""
        global _raised
        assert self._number is not None
        error = StoppedError(self._number)
        _raised = weakref.ref(error)
        return error

    def _insist(self, number: int) -> None:
        """Handle the signal again and again, from a thread, until `end`; blocking calls are interrupted each time."""
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
                    except OSError:  # it has ended
                        return

        self._say_lost, sys.unraisablehook = sys.unraisablehook, self._say_others
        atexit.register(self.end)
        # A `Thread` takes locks, one of which the main thread may hold just now.
        _thread.start_new_thread(insist, ())

    def _say_others(self, lost: Any) -> None:
        """Say nothing of an error of ours that was lost, since it is raised again."""
        if self._say_lost is not None and not isinstance(lost.exc_value, StoppedError):
            self._say_lost(lost)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            os.kill(os.getpid(), number)


def is_insisting() -> bool:
    """Return whether a signal came by which a run has still to be left."""
    return _stopping is not None


def leave_by(trainer: Any, error: StoppedError) -> NoReturn:
    """Leave a fit or a test by this error, whatever is raised on the way out. To be called last in `on_exception`.

    A signal may come to Python as another error: that of a loader whose workers got the signal too, or what Lightning
    itself raises after it has noted the signal. Or it comes while Lightning tears down, which fails where it is done
    a second time. So what Lightning would call from here on is called here.
    """
    datamodule = getattr(trainer, "datamodule", None)
    steps: list[Callable[[], object]] = [
        *([] if datamodule is None else [partial(datamodule.on_exception, error)]),
        partial(trainer.strategy.on_exception, error),
        *(partial(logger.finalize, "failed") for logger in trainer.loggers),
        trainer._teardown,
        trainer._signal_connector.teardown,  # as the step before may not come to it
    ]
    for step in steps:
        with suppress(Exception):
            step()
    trainer.state.stage = None
    raise error from None


def _would_be_lost(frame: FrameType | None) -> bool:
    """Return whether an error that is raised here would be printed and forgotten, or do harm, as far as frames tell.

    In `_interrupt` Lightning tells the callbacks of another error, so that the run is being left.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("__del__", "_interrupt") or code.co_filename in _OF_FINALISERS:
            return True
        frame = frame.f_back
    return False
