"""What the first rank does alone, however long that takes, and what all ranks tell each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

import torch.distributed

from lightning_al._lightning import pl

Found = TypeVar("Found")

POLL_SECONDS = 0.2


def from_first_rank(trainer: pl.Trainer, find: Callable[[], Found]) -> Found:
    """Find something on the first rank, and return it on every rank.

    People who label may take days. A collective call that the other ranks waited in would end with an error after the
    timeout of the process group, 10 minutes for NCCL and 30 for gloo, so they ask the store that the processes met at.
    """
    if trainer.world_size == 1:
        return find()
    # Some builds of torch have no processes.
    from torch.distributed.distributed_c10d import _get_default_store

    is_found: str = trainer.strategy.broadcast(uuid4().hex)
    store = _get_default_store()
    found: Found | None = None
    if trainer.is_global_zero:
        found = find()
        store.set(is_found, "")
    else:
        while not store.check([is_found]):
            time.sleep(POLL_SECONDS)
    return trainer.strategy.broadcast(found)  # type: ignore[return-value]


def from_all_ranks(trainer: pl.Trainer, value: Found) -> list[Found]:
    """Return what each rank has, by rank, on every rank."""
    if trainer.world_size == 1:
        return [value]
    found: list[Found] = [value] * trainer.world_size
    torch.distributed.all_gather_object(found, value)
    return found


def on_any_rank(trainer: pl.Trainer, value: bool) -> bool:
    """Return on every rank whether something holds on any."""
    return value if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(value, all=False)
