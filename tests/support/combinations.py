"""Combinations of what a test is run with, of which the default suite has some."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest


def one_in(n: int, *axes: Iterable[Any]) -> list[Any]:
    """Return every combination, one in n as it is and the rest slow; with three axes of n values, each pair is once.

    >>> [case.values for case in one_in(2, "ab", "cd") if not case.marks]
    [('a', 'c'), ('b', 'd')]
    """
    return [
        pytest.param(*values, marks=[] if sum(places) % n == 0 else [pytest.mark.slow])
        for places, values in (zip(*numbered, strict=True) for numbered in product(*map(enumerate, axes)))
    ]
