"""What the first rank does alone, what each does by itself (where one fails, all do), and what all tell each other."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import torch.distributed

from lightning_al.host.namespace import pl
from lightning_al.values.torch_names import DEFAULT_STORE

Found = TypeVar("Found")

POLL_SECONDS = 0.2

SUCCESS = b"-"

KNOWN = "_lightning_al_known_to_all_ranks"


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


def meet(trainer: pl.Trainer, failed: Exception | None = None, value: bool = False) -> bool:
    """Return on every rank whether something holds on any, or fail on all where one has failed.

    Every rank calls it where the ranks' ways part and join, also one that failed on its way there.

    Args:
        trainer: The Trainer.
        failed: What this rank failed by.
        value: What holds on this rank.

    Raises:
        Exception: `failed`, where this rank failed, or else what the first rank failed by that did.
    """
    if is_alone(trainer):
        if failed is not None:
            raise failed
        return value
    if not on_any_rank(trainer, value or failed is not None):
        return False
    told = from_all_ranks(trainer, None if failed is None else _packed(failed))
    for rank, packed in enumerate(told):
        if packed is not None:
            raise _known(_unpacked(packed, rank) if failed is None else failed)
    return True


def in_step(trainer: pl.Trainer, act: Callable[[], Found]) -> Found:
    """Do something on every rank, and `meet`. Ranks may meet within it too, but in no other way.

    Raises:
        Exception: What it raises on any rank, on every rank.
    """
    handled = sys.exception()
    try:
        found = act()
    except Exception as error:
        if not _is_known(error, handled):
            meet(trainer, error)
        raise
    meet(trainer)
    return found


def on_first_rank(trainer: pl.Trainer, act: Callable[[], object]) -> None:
    """Do something on the first rank alone, while the others wait.

    Raises:
        Exception: What it raises, on every rank.
    """

    def find() -> None:
        act()

    from_first_rank(trainer, find)


def on_each_rank(trainer: pl.Trainer, act: Callable[[], Found]) -> Found:
    """Do something on every rank, as `in_step`, where one may take far longer than another.

    Raises:
        Exception: What it raises on any rank, on every rank.
    """
    if is_alone(trainer):
        return act()
    outcomes = _Outcomes(trainer)

    def act_and_wait() -> Found:
        failed: Exception | None = None
        with outcomes.told(trainer.global_rank):
            try:
                found = act()
            except Exception as error:  # which the others are told of where all meet
                failed = error
        if failed is not None:
            raise failed
        for rank in range(trainer.world_size):
            outcomes.wait_for(rank)
        return found

    return in_step(trainer, act_and_wait)


class _Outcomes:
    """How something went on the ranks, told by the store that the processes met at.

    Each has a name of its own, so that nothing is left there that a second try could take for its own.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._name: str = trainer.strategy.broadcast(uuid4().hex)
        self._store: Any = DEFAULT_STORE.of(torch.distributed)()

    @contextmanager
    def told(self, rank: int) -> Iterator[None]:
        """Tell the others how the block ended."""
        key = f"{self._name}/{rank}"
        try:
            yield
        except BaseException as error:
            self._store.set(key, _packed(error))
            _known(error)
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
            raise _known(_unpacked(outcome, rank))


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


def _known(error: BaseException) -> BaseException:
    """Mark an error as one that all ranks raise."""
    vars(error)[KNOWN] = True
    return error


def _is_known(error: BaseException | None, handled: BaseException | None) -> bool:
    """Return whether an error, or one that it came of since another was handled, is one that all ranks raise."""
    while error is not None and error is not handled:
        if KNOWN in vars(error):
            return True
        error = error.__cause__ or error.__context__
    return False
