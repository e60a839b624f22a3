"""What ranks do alone and tell each other. If one of them fails, all raise its error."""

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
    """Return whether there is only one process, or the processes are not connected yet."""
    return trainer.world_size == 1 or not torch.distributed.is_initialized()


def from_first_rank(trainer: pl.Trainer, find: Callable[[], Found]) -> Found:
    """Call a function on the first rank, and return its result on every rank.

    This may take days while people label. In a collective call, the other ranks would fail after the timeout of the
    process group (10 minutes for NCCL, 30 for gloo). So they poll the store of the process group instead.

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
            pickle.dumps(found)  # if this fails, the broadcast would, and the others would wait for it forever
    else:
        outcomes.wait_for(0)
    return trainer.strategy.broadcast(found)  # type: ignore[return-value]


def from_all_ranks(trainer: pl.Trainer, value: Found) -> list[Found]:
    """Return the values of all ranks, in order, on every rank."""
    if is_alone(trainer):
        return [value]
    found: list[Found] = [value] * trainer.world_size
    torch.distributed.all_gather_object(found, value)
    return found


def on_any_rank(trainer: pl.Trainer, value: bool) -> bool:
    """Return on every rank whether a value is true on any rank."""
    return value if is_alone(trainer) else trainer.strategy.reduce_boolean_decision(value, all=False)


def meet(trainer: pl.Trainer, failed: Exception | None = None, value: bool = False) -> bool:
    """Return on every rank whether a value is true on any rank, and raise on every rank if one has failed.

    Every rank calls it after each did something by itself, even a rank that failed.

    Args:
        trainer: The Trainer.
        failed: The error of this rank, if it failed.
        value: The value of this rank.

    Raises:
        Exception: `failed` if this rank failed, otherwise the error of the first rank that did.
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
    """Call a function on every rank, then `meet`. The function may call `meet` too, but no other collective.

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
    """Call a function on the first rank alone, while the others wait.

    Raises:
        Exception: What it raises, on every rank.
    """

    def find() -> None:
        act()

    from_first_rank(trainer, find)


def on_each_rank(trainer: pl.Trainer, act: Callable[[], Found]) -> Found:
    """Call a function on every rank like `in_step`, but let one rank take far longer than another.

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
            except Exception as error:  # `in_step` tells the others
                failed = error
        if failed is not None:
            raise failed
        for rank in range(trainer.world_size):
            outcomes.wait_for(rank)
        return found

    return in_step(trainer, act_and_wait)


class _Outcomes:
    """How each rank ended something, told through the store of the process group.

    Each object has a key of its own, so a second try does not read the outcomes of the first.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._name: str = trainer.strategy.broadcast(uuid4().hex)
        self._store: Any = DEFAULT_STORE.of(torch.distributed)()

    @contextmanager
    def told(self, rank: int) -> Iterator[None]:
        """Tell the other ranks how the block ended."""
        key = f"{self._name}/{rank}"
        try:
            yield
        except BaseException as error:
            self._store.set(key, _packed(error))
            _known(error)
            raise
        self._store.set(key, SUCCESS)

    def wait_for(self, rank: int) -> None:
        """Wait until a rank has told its outcome, and raise its error."""
        key, seconds = f"{self._name}/{rank}", 0.001
        while not self._store.check([key]):
            time.sleep(seconds)
            seconds = min(2 * seconds, POLL_SECONDS)
        outcome = self._store.get(key)
        if outcome != SUCCESS:
            raise _known(_unpacked(outcome, rank))


def _packed(error: BaseException) -> bytes:
    """Pickle an error for other processes, or another error with its text if it cannot be pickled."""
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # an error may hold anything
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return packed


def _unpacked(packed: bytes, rank: int) -> BaseException:
    error: BaseException = pickle.loads(packed)
    error.add_note(f"Raised by rank {rank}, whose output has the traceback.")
    return error


def _known(error: BaseException) -> BaseException:
    """Mark an error that all ranks raise."""
    vars(error)[KNOWN] = True
    return error


def _is_known(error: BaseException | None, handled: BaseException | None) -> bool:
    """Return whether all ranks raise an error, or its cause, up to one that was being handled before."""
    while error is not None and error is not handled:
        if KNOWN in vars(error):
            return True
        error = error.__cause__ or error.__context__
    return False
