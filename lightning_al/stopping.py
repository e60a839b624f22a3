"""End a run at once and in order when its process is told to stop, by SIGTERM or by Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class StoppedError(SystemExit):
    """Leave the run, and then the process with the exit code that shells expect: 128 and the signal's number.

    Lightning notes SIGTERM for the end of the next batch, which a nested fit forgets again, and leaves with code 0 or,
    after Ctrl-C, with 1.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = NAMES[signal.Signals(number)]

    def __str__(self) -> str:
        return f"stopped by {self.name}"


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
        self._is_leaving = False

    def __reduce__(self) -> tuple[type[Stopping], tuple[()]]:
        # The handlers, and the processes to tell, are those of this process.
        return type(self), ()

    def begin(self, tell_others: Callable[[int], None] = _tell_nobody) -> None:
        """Take over the signals.

        Args:
            tell_others: Called with the signal's number, to hand it on to processes that this one started.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._process, self._tell_others, self._is_leaving = os.getpid(), tell_others, False
        for number in NAMES:
            before = signal.getsignal(number)
            # What the user has for Ctrl-C is left alone, and so is that it is ignored.
            if number == signal.SIGINT and before is not signal.default_int_handler:
                continue
            # A job on a cluster is ended, and queued again, as submitit has it.
            if getattr(before, "__module__", "") == "submitit.core.job_environment":
                continue
            if before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self)

    def end(self) -> None:
        """Put the handlers from before back, as far as they were not replaced since."""
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)
        self._process = None
        self._tell_others = _tell_nobody

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Leave the run; the processes of its loaders, which inherit the handler, do as they would without it."""
        if os.getpid() != self._process:
            self._hand_on(number, frame)
        elif not self._is_leaving:
            self._is_leaving = True
            self._tell_others(number)
            raise StoppedError(number)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            os.kill(os.getpid(), number)
