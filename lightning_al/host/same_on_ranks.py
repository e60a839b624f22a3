"""Check that all ranks have the same data and arguments. Otherwise they would train on different points, unnoticed."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_all_ranks
from lightning_al.run.seeds import generator, seeded
from lightning_al.values.content_hash import content_hash, spread
from lightning_al.values.errors import said_shortly

SECONDS = 1.0
"""About how long the first rank reads items for a comparison. It reads at least `FEWEST`."""

FEWEST = 32

ERROR = "an error"


def check_same_on_ranks(trainer: pl.Trainer, what: str, find: Callable[[], Mapping[str, Any]], remedy: str) -> None:
    """Raise on every rank if something differs between ranks.

    Args:
        trainer: The Trainer.
        what: What is compared, in the plural, for the error.
        find: Returns plain data by name, without a collective call.
        remedy: What to do, for the error.

    Raises:
        ValueError: If ranks differ. The message names the ranks and what differs.
        Exception: What `find` raised on this rank.
    """
    if trainer.world_size == 1:
        return
    raised: Exception | None = None
    try:
        facts = dict(find())
    except Exception as error:  # a dataset may raise anything, and the other ranks wait to be told
        raised, facts = error, {ERROR: said_shortly(error)}
    said = said_of_ranks(from_all_ranks(trainer, facts))
    if raised is not None:
        raise raised
    if said is not None:
        raise ValueError(
            f"{what} are not the same on every rank, so ranks would label different points or wait for each other "
            f"forever: {said}. Make them the same. {remedy}"
        )


def said_of_ranks(facts: Sequence[Mapping[str, Any]]) -> str | None:
    """Say which ranks differ from most others, and in what. It is None if none does.

    >>> said_of_ranks([{"length": 9}, {"length": 9}, {"length": 8}])
    'rank 2 has another `length` (8) than rank 0 (9)'
    """
    shown = [repr(sorted(found.items())) for found in facts]
    usual = shown.index(Counter(shown).most_common(1)[0][0])
    said = []
    for rank, found in enumerate(facts):
        for name in dict.fromkeys([*found, *facts[usual]]):
            if repr(found.get(name)) != repr(facts[usual].get(name)) and (name == ERROR or ERROR not in found):
                values = [_short(found.get(name)), _short(facts[usual].get(name))]
                said.append(f"rank {rank} has another `{name}` ({values[0]}) than rank {usual} ({values[1]})")
                break
    return "; ".join(said) or None


def hash_of_items(trainer: pl.Trainer, size: int, read: Callable[[int], Any], seed: int) -> str | None:
    """Return a hash of items in order, the same on ranks that have the same items.

    It covers all items if the first rank reads them in about a second, otherwise items at random places. It is None if
    an item differs when it is read twice from the same states of the global generators.

    Args:
        trainer: The Trainer.
        size: The number of items.
        read: Reads an item.
        seed: Seeds the global generators, from which an item may draw.
    """
    number = trainer.strategy.broadcast(_affordable(size, read, seed) if trainer.is_global_zero else 0)
    order = list(range(size))
    if number < size:
        order = sorted(torch.randperm(size, generator=generator(seed, "places"))[:number].tolist())
    few = [order[place] for place in spread(len(order), 4)]
    hashes = []
    for _ in range(2):
        with seeded(seed):
            hashes.append([content_hash(read(place)) for place in few])
    if hashes[0] != hashes[1]:
        return None
    digest = hashlib.sha256()
    with seeded(seed):
        for place in order:
            digest.update(content_hash(read(place)).encode())
    return digest.hexdigest()


def _affordable(size: int, read: Callable[[int], Any], seed: int) -> int:
    """Return how many items can be read in about `SECONDS`."""
    places = spread(size, 8)
    began = time.perf_counter()
    try:
        with seeded(seed):
            for place in places:
                content_hash(read(place))
    except Exception:  # it is raised again where all ranks are told
        return FEWEST
    each = (time.perf_counter() - began) / max(1, len(places))
    return min(size, max(FEWEST, int(SECONDS / max(each, 1e-9))))


def _short(value: Any, most: int = 40) -> str:
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
