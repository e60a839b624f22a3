"""Seeds derived from (seed, round, purpose): each use of randomness has its own."""

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
"""The environment variable that Lightning's `seed_everything` sets."""

_ATTRIBUTE = "_seed"


class Seed:
    """The seed of an object: the one that was passed, or by default the program's.

    The program's seed is that of Lightning's `seed_everything`, or 0 without it. It is read when the seed is first
    used, so the program may call `seed_everything` before or after it makes the object. It does not change later.

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
        """Return the seed, which stays the same from now on."""
        if owner is None:
            return self
        given: int | None = vars(owner).get(_ATTRIBUTE)
        if given is None:
            given = vars(owner)[_ATTRIBUTE] = _of_program()
        return given

    def __set__(self, owner: Any, seed: Any) -> None:
        """Set another seed, or None for the program's."""
        vars(owner)[_ATTRIBUTE] = None if seed is None else whole_number(type(owner).__name__, "seed", seed, least=None)


def _of_program() -> int:
    told = os.environ.get(OF_PROGRAM, "0")
    try:
        return int(told)
    except ValueError:
        raise ValueError(
            f"The environment variable {OF_PROGRAM} should hold a seed, as Lightning's `seed_everything` writes it, "
            f"but holds {told!r:.60}. Pass `seed=`, or unset it."
        ) from None


def derive(seed: int, *purpose: int | str) -> int:
    """Derive a seed of 63 bits from a run's seed and its purpose.

    Not every generator uses all bits. torch's generator on the CPU and NumPy's global one use the lowest 32; Python's
    and torch's on CUDA use all. So on the CPU two purposes draw the same numbers with a probability of 2^-32. Among n
    purposes, some two do with at most n^2 / 2^33: 3e-7 for the 50 posterior samples of a round, and 1 % for the 10,000
    purposes of a long run, most of which draw different things.

    >>> derive(0, 3, "fit") == derive(0, 3, "fit"), derive(0, 3, "fit") == derive(0, 4, "fit")
    (True, False)
    """
    # The `repr` of a number of NumPy or torch differs from that of a plain one.
    parts = (int(seed), *(part if isinstance(part, str) else int(part) for part in purpose))
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Make a generator on the CPU with a derived seed. It uses the lowest 32 bits: see `derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


class GlobalStates:
    """The states of the global generators of torch, NumPy and Python."""

    def __init__(self) -> None:
        self._states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def put_back(self) -> None:
        """Put the global generators back to these states."""
        random.setstate(self._states[0])
        np.random.set_state(self._states[1])
        torch.set_rng_state(self._states[2])
        if self._cuda_states:
            torch.cuda.set_rng_state_all(self._cuda_states)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore their states afterwards.

    >>> with seeded(1):
    ...     first = torch.rand(1)
    >>> with seeded(1):
    ...     bool(first == torch.rand(1))
    True
    """
    before = GlobalStates()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    _seed_torch(seed)
    try:
        yield
    finally:
        before.put_back()


def _seed_torch(seed: int) -> None:
    """Seed torch's global generators on all devices."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        # `torch.manual_seed` would format the stack for each kind of device that there is none of, which takes 2 ms.
        torch.default_generator.manual_seed(seed)
