"""Seeds derived from (seed, round, purpose), so that each use of randomness has its own."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


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
