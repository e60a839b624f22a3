"""Processes that run the cells of a sweep for another process on the same machine."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
import time
from collections.abc import Sequence
from functools import cache


def number_by_joblib() -> int | None:
    """Return the number of this process among the workers of joblib's, counted from 1, or None where it is none."""
    name = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    return None if name is None else int(name[1])


def start_processes_as_usual() -> None:
    """Let a worker of joblib's start the processes of DataLoaders as any program does.

    In its workers, joblib makes the default a way of its own, which fails with a `Process` of anyone else's.
    """
    multiprocessing.set_start_method(None, force=True)


@cache
def end_with(process: int) -> None:
    """End this process as soon as the one that started it has ended, be it killed, so that no cell runs on unseen.

    It would hold the journal of its folder while the sweep, started again, comes to the same cell. It is ended like
    one that is killed, which a run's folder stands at any moment.
    """

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="end with the sweep", daemon=True).start()


def share_of_gpus(gpus: Sequence[str], worker: int, size: int) -> list[str]:
    """Return which GPUs a worker takes, so that as many workers as can have GPUs of their own.

    Args:
        gpus: All GPUs of the machine.
        worker: Number of the worker, counted from 1.
        size: How many GPUs it needs.

    >>> [share_of_gpus(["0", "1", "2", "3"], worker, 1) for worker in (1, 2, 3, 4, 5)]
    [['0'], ['1'], ['2'], ['3'], ['0']]
    >>> [share_of_gpus(["0", "1", "2", "3"], worker, 2) for worker in (1, 2, 3)]
    [['0', '1'], ['2', '3'], ['0', '1']]
    """
    shares = max(1, len(gpus) // size)
    first = (worker - 1) % shares * size
    return list(gpus[first : first + size])
