"""What a learning curve comes to in one number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor, inf

import numpy as np

LOW_IS_GOOD = {"loss", "nll", "ece", "error", "err", "brier", "perplexity", "mse", "mae", "rmse"}


def area_under_curve(
    labels: Sequence[float], values: Sequence[float], *, between: tuple[float, float] | None = None
) -> float:
    """Return the mean height of a learning curve: the area under it by trapezoids, divided by its range of labels.

    Args:
        labels: Number of labels at each recorded round, increasing.
        values: The metric at each.
        between: Fewest and most labels to look at, within those recorded; all of them where it is None. The curve is
            taken as straight between two rounds.

    Returns:
        The mean height, in the metric's own unit. A single point is its own height.

    Raises:
        ValueError: If labels and values do not match, do not increase, or do not reach as far as `between`.

    >>> area_under_curve([10, 20, 40], [0.5, 0.7, 0.9])
    0.7333333333333333
    """
    if len(labels) != len(values) or not labels or any(a >= b for a, b in pairwise(labels)):
        raise ValueError(
            "`area_under_curve` expects one value for each of one or more increasing numbers of labels, but got labels "
            f"{list(labels)} and {len(values)} values. Pass the two lists of `History.curve`."
        )
    low, high = between or (labels[0], labels[-1])
    if not labels[0] <= low <= high <= labels[-1]:
        raise ValueError(
            f"`area_under_curve` expects a range within the recorded {labels[0]} to {labels[-1]} labels, but got "
            f"{low} to {high}. Leave `between` out for all of it."
        )
    ends = sorted({low, high, *(count for count in labels if low < count < high)})
    heights = np.interp(ends, labels, values)
    if low == high:
        return float(heights[0])
    trapezoids = np.diff(ends) * (heights[1:] + heights[:-1]) / 2
    return float(trapezoids.sum() / (high - low))


def labels_to_reach(labels: Sequence[int], values: Sequence[float], target: float) -> int | None:
    """Return the number of labels at the first recorded round at or above a target, or None where no round is.

    Nothing is smoothed or interpolated, so that it is exact to the query size only.

    >>> labels_to_reach([10, 20, 30], [0.5, 0.9, 0.8], target=0.8), labels_to_reach([10], [0.5], target=0.8)
    (20, None)
    """
    return next((count for count, value in zip(labels, values, strict=True) if value >= target), None)


def is_better_low(metric: str) -> bool:
    """Return whether less of a metric is better, as its name says.

    >>> is_better_low("test_acc"), is_better_low("posterior_nll")
    (False, True)
    """
    return not LOW_IS_GOOD.isdisjoint(re.split(r"[^a-z]+", metric.lower()))


def quartile(numbers: Sequence[float | None], share: float) -> float | None:
    """Return a quantile of numbers of labels, where None stands for more than were recorded.

    It lies between the two numbers beside it, in proportion; where the upper one is None, so is the quantile.

    >>> quartile([10, 20, None], 0.5), quartile([10, 20, None], 0.75), quartile([10, 20], 0.5)
    (20.0, None, 15.0)
    """
    ranked = sorted(inf if number is None else number for number in numbers)
    place = share * (len(ranked) - 1)
    below, above = ranked[floor(place)], ranked[ceil(place)]
    if above == inf:
        return None
    return float(below + (above - below) * (place - floor(place)))
