"""Seeds derived from (seed, round, purpose), so that each use of randomness has its own."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, overload

import numpy as np
import torch

from lightning_al.values.whole_numbers import whole_number

OF_PROGRAM = "PL_GLOBAL_SEED"
"""The variable by which Lightning's `seed_everything` tells of its seed."""

_ATTRIBUTE = "_seed"


class Seed:
    """An object's seed: the one that it was given, or by default that of the program.

    That is the one of Lightning's `seed_everything`, or 0 where the program did not call it. It is taken when the seed
    is first read, so that the program may call that before or after it makes the object, and stays from then on.

    >>> class Drawing:
    ...     seed = Seed()
    >>> drawing = Drawing()
    >>> drawing.seed = 7
    >>> drawing.seed
    7
    """

    @overload
    def __get__(self, owner: None, kind: type) -> Seed: ...

    @overload
    def __get__(self, owner: object, kind: type | None = None) -> int: ...

    def __get__(self, owner: object | None, kind: type | None = None) -> Seed | int:
        """Return the seed, which is known from now on."""
        if owner is None:
            return self
        given: int | None = vars(owner).get(_ATTRIBUTE)
        if given is None:
            given = vars(owner)[_ATTRIBUTE] = _of_program()
        return given

    def __set__(self, owner: Any, seed: Any) -> None:
        """Take another seed, or None for that of the program."""
        vars(owner)[_ATTRIBUTE] = None if seed is None else whole_number(type(owner).__name__, "seed", seed, least=None)


def _of_program() -> int:
    told = os.environ.get(OF_PROGRAM, "0")
    try:
        return int(told)
    except ValueError:
        raise ValueError(
            f"The variable {OF_PROGRAM} is to hold a seed, as Lightning's `seed_everything` writes it, but holds "
            f"{told!r:.60}. Pass `seed=`, or unset it."
        ) from None


def derive(seed: int, *purpose: int | str) -> int:
    """Derive a seed of 63 bits from a run's seed and what it is for.

    Not every generator reads all of them: torch's on the CPU and NumPy's global one take the lowest 32, Python's and
    torch's on CUDA take all. So two given purposes draw the same numbers on the CPU with a probability of 2^-32, and
    some two of n purposes with n^2 / 2^33 at most: 3e-7 for the 50 posterior samples of a round, 1 % for 10,000
    purposes of a long run, of which most draw for different things.

    >>> derive(0, 3, "fit") == derive(0, 3, "fit"), derive(0, 3, "fit") == derive(0, 4, "fit")
    (True, False)
    """
    # A number of NumPy's or torch's is written otherwise than the same plain one.
    parts = (int(seed), *(part if isinstance(part, str) else int(part) for part in purpose))
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Make a CPU generator with a derived seed, of which it reads the lowest 32 bits (`derive` says what follows)."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


class GlobalStates:
    """Remember the states of the global generators of torch, numpy and random."""

    def __init__(self) -> None:
        self._states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def put_back(self) -> None:
        """Let the global generators go on from these states."""
        random.setstate(self._states[0])
        np.random.set_state(self._states[1])
        torch.set_rng_state(self._states[2])
        if self._cuda_states:
            torch.cuda.set_rng_state_all(self._cuda_states)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and random, and put them back to their states afterwards.

    >>> with seeded(1):
    ...     first = torch.rand(1)
    >>> with seeded(1):
    ...     bool(first == torch.rand(1))
    True
    """
    before = GlobalStates()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        before.put_back()
