"""Tests of whether one method is better than another, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05
"""Two-sided level of every test and interval here."""

MOST_PAIRS = 40

LEAST_SEEDS = 8
"""Fewest seeds for a claim; smaller studies are called descriptive."""


@dataclass(frozen=True)
class PairedDifference:
    """How much higher one method is than another, over the seeds that both have.

    Attributes:
        n: Number of pairs.
        mean: Mean difference.
        low: Lower end of its 95 % t interval, minus infinity for a single pair.
        high: Upper end.
        p_sign_flip: Two-sided p of the exact sign-flip test.
        p_t: Two-sided p of the paired t test, 1 for a single pair.
        num_above: Number of differences above zero.
        num_below: Number of differences below zero.
    """

    n: int
    mean: float
    low: float
    high: float
    p_sign_flip: float
    p_t: float
    num_above: int
    num_below: int

    @property
    def smallest_p(self) -> float:
        """Smallest p that the sign-flip test can give with this number of pairs."""
        return float(2.0 ** (1 - self.n))

    @property
    def is_constant(self) -> bool:
        """Whether all pairs differ by the same amount, as they do where the seed has no effect."""
        return self.n > 1 and self.mean != 0 and self.high - self.low <= 1e-9 * abs(self.mean)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> PairedDifference:
    """Compare two methods pair by pair, with a 95 % interval, a sign-flip test and a t test.

    Args:
        values: The endpoint of each run of one method.
        baseline: The endpoint of the run with the same seed of the other method.

    Raises:
        ValueError: If the two differ in length, if there are no pairs or more than 40, or if a value is NaN or
            infinite.

    >>> difference = paired_difference([0.9, 0.8, 0.9], [0.7, 0.7, 0.8])
    >>> round(difference.mean, 3), difference.p_sign_flip
    (0.133, 0.25)
    """
    if len(values) != len(baseline):
        raise ValueError(
            "`paired_difference` expects as many values of one method as of the other, seed by seed, but "
            f"got {len(values)} and {len(baseline)}. Leave out runs whose seed the other method lacks."
        )
    _check_finite("paired_difference", [*values, *baseline])
    differences = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    n, mean = len(differences), float(differences.mean())
    p_sign_flip = sign_flip_p(differences)
    signs = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    if n == 1:
        return PairedDifference(n, mean, -inf, inf, p_sign_flip, 1.0, *signs)
    error = float(differences.std(ddof=1)) / sqrt(n)
    reach = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * error
    p_t = 2 * float(stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return PairedDifference(n, mean, mean - reach, mean + reach, p_sign_flip, p_t, *signs)


def sign_flip_p(differences: ArrayLike) -> float:
    """Return the exact two-sided p of the sign-flip test: the share of all 2^n sign choices at least as far from zero.

    The choices are counted by combining two halves of 2^(n/2) sums each.

    Args:
        differences: Paired differences ``[n]``, with n from 1 to 40.

    Raises:
        ValueError: If n is out of range, or if a difference is NaN or infinite.

    >>> sign_flip_p([1.0, 1.0, 1.0]), sign_flip_p([1.0, -1.0])
    (0.25, 1.0)
    """
    sizes = np.abs(np.asarray(differences, dtype=float))
    n = len(sizes)
    if not 1 <= n <= MOST_PAIRS:
        raise ValueError(f"`sign_flip_p` expects 1 to {MOST_PAIRS} paired differences, but got {n}. Pass that many.")
    _check_finite("sign_flip_p", sizes.tolist())
    # Sums that differ by rounding alone count as equal.
    observed = abs(float(np.sum(differences))) - 1e-12 * float(sizes.sum())
    if observed <= 0:
        return 1.0
    first, second = _signed_sums(sizes[: n // 2]), np.sort(_signed_sums(sizes[n // 2 :]))
    # The two tails are mirror images: count one and double it.
    at_least = int(np.sum(len(second) - np.searchsorted(second, observed - first, side="left")))
    return float(2 * at_least / 2**n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-corrected p values, in the order given.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics, 1979.

    Raises:
        ValueError: If one is NaN or not between 0 and 1.

    >>> holm([0.04, 0.01])
    [0.04, 0.02]
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(
            f"`holm` expects p values between 0 and 1, but got {list(p_values)}. Leave out what was not tested."
        )
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.minimum(scaled, 1.0))
    return [float(p) for p in corrected]


def _check_finite(who: str, values: Sequence[float]) -> None:
    unfit = [value for value in values if not isfinite(value)]
    if unfit:
        raise ValueError(
            f"`{who}` expects finite numbers, but got {unfit[0]} among {len(values)}: a run that diverged has no area "
            "under its curve. Leave it out and say so, or count it at chance level."
        )


def _signed_sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums
