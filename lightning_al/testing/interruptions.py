"""How a call ends: by itself, by a signal, or not at all. For checks of code that may wait for a person."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SENT_AFTER_SECONDS = 0.2
"""How long a call runs before it is sent a signal."""

AGAIN_SECONDS = 0.01
"""How long after a call was broken off it is broken off again: it may have handled the error."""


@dataclass(frozen=True)
class Ending(Generic[T]):
    """How a call ended.

    Attributes:
        value: What it returned, or None.
        error: What it raised, or None.
        is_late: Whether it took too long and was broken off.
        left: The signals that are blocked or have another handler afterwards.
    """

    value: T | None
    error: BaseException | None
    is_late: bool
    left: tuple[str, ...]


class _LateError(BaseException):
    """Break off a call. It is not an `Exception`, which a call might handle."""


def ending_of(call: Callable[[], T], *, seconds: float, sent: signal.Signals | None = None) -> Ending[T]:
    """Make a call, break it off if it takes too long, and return how it ended.

    During the call, SIGINT raises KeyboardInterrupt and SIGTERM raises SystemExit, as in a run. Afterwards, all
    handlers are restored.

    Args:
        call: The function to call, in the main thread.
        seconds: How long it may take, counted from the signal if one is sent.
        sent: A signal to send once while it runs.

    Raises:
        RuntimeError: If this is not the main thread.

    >>> ending_of(lambda: 3, seconds=5)
    Ending(value=3, error=None, is_late=False, left=())
    >>> import time
    >>> ending_of(lambda: time.sleep(60), seconds=5, sent=signal.SIGINT).error
    KeyboardInterrupt()
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("`check_oracle` sends signals, which Python handles in its main thread. Call it there.")
    main, done = threading.get_ident(), threading.Event()
    is_running, is_late = True, False

    def tell(number: int, frame: FrameType | None) -> None:
        if is_running:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def break_off(number: int, frame: FrameType | None) -> None:
        if not is_running:
            return
        # Code that handles every error gets the next one at once, at the line where it continues.
        sys.settrace(raise_at_next_line)
        while frame is not None and frame.f_code is not ending_of.__code__:
            frame.f_trace, frame = raise_at_next_line, frame.f_back
        raise _LateError

    def raise_at_next_line(frame: FrameType, event: str, argument: object) -> Any:
        if is_running and event == "line":
            raise _LateError
        return raise_at_next_line

    def insist() -> None:
        nonlocal is_late
        if sent is not None and not done.wait(SENT_AFTER_SECONDS):
            signal.pthread_kill(main, sent)
        pause = seconds
        while not done.wait(pause):
            is_late = True
            signal.pthread_kill(main, signal.SIGUSR2)
            pause = AGAIN_SECONDS

    handlers = {signal.SIGINT: tell, signal.SIGTERM: tell, signal.SIGUSR2: break_off}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    mask, trace = signal.pthread_sigmask(signal.SIG_BLOCK, ()), sys.gettrace()
    insisting = threading.Thread(target=insist, daemon=True)
    insisting.start()
    value, error = None, None
    try:
        try:
            value = call()
        finally:
            is_running = False
    except BaseException as found:
        error = found
    is_running = False  # in case a signal came just before `finally`
    done.set()
    insisting.join()
    if is_late:
        sys.settrace(trace)
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, mask) - mask
    left = [number for number in handlers if number in blocked or signal.getsignal(number) is not handlers[number]]
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    return Ending(value, error, is_late, tuple(number.name for number in left))
