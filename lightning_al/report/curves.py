"""Numbers that sum up learning curves: the area under one, and the labels it takes to reach a value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import inf, isclose, isfinite, isnan, nan
from typing import TypeVar

import numpy as np

from lightning_al.report.metric import Mode

N = TypeVar("N", int, float)

ROUNDING = 1e-6
"""Values that differ by a smaller share count as equal: more than float32 rounds, less than a table shows."""


def area_under_curve(
    labels: Sequence[float], values: Sequence[float], *, between: tuple[float, float] | None = None
) -> float:
    """Return the normalised area under a learning curve: by trapezoids, divided by the range of labels.

    Args:
        labels: Number of labels at each recorded round, increasing.
        values: The metric at each.
        between: Fewest and most labels to integrate over, within those recorded; by default all. The curve is linear
            between two rounds.

    Returns:
        The mean height of the curve over its labels, in the metric's own unit. A single point has its own height.

    Raises:
        ValueError: If labels and values differ in length, if labels do not increase, if `between` is not within the
            recorded labels, or if a value there is NaN or infinite.

    >>> area_under_curve([10, 20, 40], [0.5, 0.7, 0.9])
    0.7333333333333333
    """
    labels, values = _numbers(labels), _numbers(values)
    if len(labels) != len(values) or not labels or not all(a < b for a, b in pairwise(labels)):
        raise ValueError(
            "`area_under_curve` expects one value for each of one or more increasing numbers of labels, but got labels "
            f"{labels} and {len(values)} values. Pass the two lists of `History.curve`."
        )
    low, high = (labels[0], labels[-1]) if between is None else between
    if not labels[0] <= low <= high <= labels[-1]:
        raise ValueError(
            f"`area_under_curve` expects a range within the recorded {labels[0]} to {labels[-1]} labels, but got "
            f"{low} to {high}. Leave `between` out for all of it."
        )
    unfit = _unfit(labels, values, (low, high))
    if unfit is not None:
        raise ValueError(
            f"`area_under_curve` expects finite values, but got {values[unfit]} at {labels[unfit]} labels: the run "
            "diverged. Leave it out and say so, or count it at chance level."
        )
    ends = sorted({low, high, *(count for count in labels if low < count < high)})
    heights = np.interp(ends, labels, values)
    if low == high:
        return float(heights[0])
    trapezoids = np.diff(ends) * (heights[1:] + heights[:-1]) / 2
    return float(trapezoids.sum() / (high - low))


def area_or_nan(
    labels: Sequence[float], values: Sequence[float], *, between: tuple[float, float] | None = None
) -> float:
    """Return the normalised area under a curve, or NaN if a value is NaN or infinite, since the run diverged.

    >>> area_or_nan([10, 20], [0.5, float("inf")]), area_or_nan([10, 20], [0.5, 0.7])
    (nan, 0.6)
    """
    labels, values = _numbers(labels), _numbers(values)
    low, high = between or (labels[0], labels[-1]) if labels else (0, 0)
    return nan if _unfit(labels, values, (low, high)) is not None else area_under_curve(labels, values, between=between)


def _numbers(sequence: Sequence[N]) -> list[N]:
    """Return Python's own numbers, from a list, an array, a tensor or a column of a table."""
    return [number.item() if hasattr(number, "item") else number for number in sequence]


def _unfit(labels: Sequence[float], values: Sequence[float], between: tuple[float, float]) -> int | None:
    """Return the place of the first non-finite value among those that a part of the curve depends on."""
    needed = range(max(0, bisect_right(labels, between[0]) - 1), min(len(values), bisect_left(labels, between[1]) + 1))
    return next((place for place in needed if not isfinite(values[place])), None)


def labels_to_reach(labels: Sequence[int], values: Sequence[float], target: float, *, mode: Mode = "max") -> int | None:
    """Return the number of labels at the first round that reaches a target, or None if no round does.

    The curve is neither smoothed nor interpolated, so the number is exact only up to the query size. A round with a NaN
    or infinite value does not reach a target. A value that differs from the target by rounding in float32 does: that is
    what Lightning logs, and its .9 is less than .9.

    Args:
        labels: Number of labels at each recorded round.
        values: The metric at each.
        target: The value to reach.
        mode: Whether to reach it from below ("max") or from above ("min": less is better).

    Raises:
        ValueError: If labels and values differ in length, or if the target is NaN.

    >>> labels_to_reach([10, 20, 30], [0.5, 0.9, 0.8], target=0.8), labels_to_reach([10], [0.5], target=0.8)
    (20, None)
    >>> labels_to_reach([10, 20, 30], [2.1, 0.9, 0.4], target=1.0, mode="min")
    20
    """
    if isnan(target):
        raise ValueError(f"`labels_to_reach` expects a number as `target`, but got {target}. Give one such as 0.9.")
    labels, values = _numbers(labels), _numbers(values)
    if len(labels) != len(values):
        raise ValueError(
            f"`labels_to_reach` expects one value for each number of labels, but got {len(labels)} numbers and "
            f"{len(values)} values. Pass the two lists of `History.curve`."
        )
    sign = -1 if mode == "min" else 1
    points = ((count, value) for count, value in zip(labels, values, strict=True) if isfinite(value))
    return next(
        (count for count, value in points if sign * value >= sign * target or isclose(value, target, rel_tol=ROUNDING)),
        None,
    )


def labels_to_target(
    curves: Sequence[tuple[Sequence[int], Sequence[float]]], target: float, *, mode: Mode, up_to: int | None = None
) -> list[int | None]:
    """Return the number of labels with which each run reaches a target, or None for a run that does not.

    All runs are looked at up to the same number of labels, so a shorter run does not count as one that failed. A run
    that diverged counts.

    Args:
        curves: Labels and values of each run.
        target: Value of the metric to reach.
        mode: Whether less or more of the metric is better.
        up_to: Most labels to look at; by default those of the shortest run.

    Raises:
        ValueError: If there are no curves, if one has no rounds, or as `labels_to_reach` does.

    >>> labels_to_target([([10, 20], [0.5, 0.8]), ([10, 20, 30], [0.5, 0.6, 0.9])], 0.8, mode="max")
    [20, None]
    """
    if not all(len(labels) for labels, _ in curves) or len(curves) == 0:
        raise ValueError(
            f"`labels_to_target` expects one or more curves of one or more rounds each, but got {len(curves)} curves "
            f"of {[len(labels) for labels, _ in curves]} rounds. Leave out runs without a round."
        )
    ends = [_numbers(labels)[-1] for labels, _ in curves]
    within = min(ends) if up_to is None else min(*ends, up_to)
    reached = [labels_to_reach(labels, values, target, mode=mode) for labels, values in curves]
    return [count if count is not None and count <= within else None for count in reached]


def quartile(numbers: Sequence[float | None], share: float) -> float | None:
    """Return a quantile of numbers of labels, where None stands for more labels than were recorded.

    It interpolates linearly between the two numbers beside it; if the upper one is None, so is the quantile.

    Raises:
        ValueError: If there are no numbers, or one of them is NaN.

    >>> quartile([10, 20, None], 0.5), quartile([10, 20, None], 0.75), quartile([10, 20], 0.5)
    (20.0, None, 15.0)
    """
    if len(numbers) == 0 or any(number is not None and isnan(number) for number in numbers):
        raise ValueError(
            f"`quartile` expects one number or more, with None for more than were recorded, but got {numbers}. Leave "
            "out NaN."
        )
    known = np.array([inf if number is None else number for number in numbers], dtype=float)
    above = np.quantile(known, share, method="higher")
    # Beyond the number above the quantile, any number does.
    return None if above == inf else float(np.quantile(np.minimum(known, above), share))
