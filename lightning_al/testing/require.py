"""What every check does: name the fault, and see that nothing draws from torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

TOLERANCE = 1e-4
"""How far numbers that should be equal may differ, which are computed in batches of several sizes."""


def require(is_kept: bool, fault: str) -> None:
    """Raise an AssertionError with the fault unless a promise is kept.

    Not by `assert`, which `python -O` leaves out.
    """
    if not is_kept:
        raise AssertionError(fault)


@contextmanager
def global_generator_unused(who: str) -> Iterator[None]:
    """Require that what runs inside draws nothing from torch's global generator.

    Args:
        who: What the error names.
    """
    state = torch.get_rng_state()
    yield
    require(
        torch.equal(state, torch.get_rng_state()),
        f"`{who}` draws from torch's global generator. Any other code that draws from it changes the result. Draw from "
        "the generator or the seed that is passed.",
    )
