"""What the first rank does alone, what each does by itself (where one fails, all do), and what all tell each other."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import torch.distributed

from lightning_al._lightning import pl

Found = TypeVar("Found")

POLL_SECONDS = 0.2

SUCCESS = b"-"


def is_alone(trainer: pl.Trainer) -> bool:
    """Return whether there is one process, or this one has met no other yet."""
    return trainer.world_size == 1 or not torch.distributed.is_initialized()


def from_first_rank(trainer: pl.Trainer, find: Callable[[], Found]) -> Found:
    """Find something on the first rank, and return it on every rank.

    People who label may take days. A collective call that the other ranks waited in would end with an error after the
    timeout of the process group, 10 minutes for NCCL and 30 for gloo, so they ask the store that the processes met at.

    Raises:
        Exception: What `find` raises, on every rank, so that a program may try again.
    """
    if is_alone(trainer):
        return find()
    outcomes = _Outcomes(trainer)
    found: Found | None = None
    if trainer.is_global_zero:
        with outcomes.told(0):
            found = find()
            pickle.dumps(found)  # which sends it to the others, who would wait for it in vain
    else:
        outcomes.wait_for(0)
    return trainer.strategy.broadcast(found)  # type: ignore[return-value]


def from_all_ranks(trainer: pl.Trainer, value: Found) -> list[Found]:
    """Return what each rank has, by rank, on every rank."""
    if is_alone(trainer):
        return [value]
    found: list[Found] = [value] * trainer.world_size
    torch.distributed.all_gather_object(found, value)
    return found


def on_any_rank(trainer: pl.Trainer, value: bool) -> bool:
    """Return on every rank whether something holds on any."""
    return value if is_alone(trainer) else trainer.strategy.reduce_boolean_decision(value, all=False)


def on_first_rank(trainer: pl.Trainer, act: Callable[[], object]) -> None:
    """Do something on the first rank alone, while the others wait.

    Raises:
        Exception: What it raises, on every rank.
    """

    def find() -> None:
        act()

    from_first_rank(trainer, find)


def on_each_rank(trainer: pl.Trainer, act: Callable[[], Found]) -> Found:
    """Do something on every rank, and return what each found itself.

    Raises:
        Exception: What it raises on any rank, on every rank that comes to its end.
    """
    if is_alone(trainer):
        return act()
    outcomes = _Outcomes(trainer)
    with outcomes.told(trainer.global_rank):
        found = act()
    for rank in range(trainer.world_size):
        outcomes.wait_for(rank)
    return found


class _Outcomes:
    """How something went on the ranks, told by the store that the processes met at.

    Each has a name of its own, so that nothing is left there that a second try could take for its own.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        # Some builds of torch have no processes.
        from torch.distributed.distributed_c10d import _get_default_store

        self._name: str = trainer.strategy.broadcast(uuid4().hex)
        self._store: Any = _get_default_store()

    @contextmanager
    def told(self, rank: int) -> Iterator[None]:
        """Tell the others how the block ended."""
        key = f"{self._name}/{rank}"
        try:
            yield
        except BaseException as error:
            self._store.set(key, _packed(error))
            raise
        self._store.set(key, SUCCESS)

    def wait_for(self, rank: int) -> None:
        """Wait until a rank told how it went, and raise what it raised."""
        key, seconds = f"{self._name}/{rank}", 0.001
        while not self._store.check([key]):
            time.sleep(seconds)
            seconds = min(2 * seconds, POLL_SECONDS)
        outcome = self._store.get(key)
        if outcome != SUCCESS:
            raise _unpacked(outcome, rank)


def _packed(error: BaseException) -> bytes:
    """Return an error in a form that other processes can raise it from, or another error that says what it was."""
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # an error may hold anything, and be made from anything
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return packed


def _unpacked(packed: bytes, rank: int) -> BaseException:
    error: BaseException = pickle.loads(packed)
    error.add_note(f"Raised by rank {rank}, whose output has the traceback.")
    return error
