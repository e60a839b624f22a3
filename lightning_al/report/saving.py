"""How many labels a method saves against random choice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from lightning_al.report.comparison import Method
from lightning_al.report.curves import labels_to_reach
from lightning_al.report.metric import Mode
from lightning_al.report.runs import Run
from lightning_al.report.statistics import PairedDifference, paired_difference


@dataclass(frozen=True)
class Saving:
    """How many labels a method saves against random choice at a level of the metric, paired by seed.

    Attributes:
        level: The best value that random choice reaches with the seed of every pair.
        num_reached: How many of the method's runs reach it.
        num_seeds: Number of pairs.
        labels: Labels that random choice needs to reach the level minus those that the method needs. None if one of
            the method's runs does not reach it.
        step: Most labels between two rounds. Each number of labels is exact up to this.
    """

    level: float
    num_reached: int
    num_seeds: int
    labels: PairedDifference | None
    step: int


def labels_saved(method: Method, random: Method, mode: Mode, *, up_to: int) -> Saving | None:
    """Return how many labels a method saves against random choice.

    A run reaches the level at the first recorded round that is as good, without smoothing.

    Args:
        method: The method.
        random: Random choice.
        mode: Whether less or more of the metric is better.
        up_to: Most labels to look at.

    Returns:
        The saving, or None if the two have no seed in common, or if a run of random choice has no finite value.
    """
    theirs = {run.seed: run for run in random.runs}
    pairs = [(run, theirs[run.seed]) for run in method.runs if run.seed in theirs]
    best = min if mode == "min" else max
    reached = [best(values, default=None) for values in (_values(run, up_to) for _, run in pairs)]
    known = [value for value in reached if value is not None]
    if not pairs or len(known) < len(pairs):
        return None
    level = max(known) if mode == "min" else min(known)
    needed = [_labels(run, level, mode, up_to) for run, _ in pairs]
    needed_at_random = [_labels(run, level, mode, up_to) for _, run in pairs]
    found = [count for count in needed if count is not None]
    saved = paired_difference([count or 0 for count in needed_at_random], found) if len(found) == len(needed) else None
    step = max((after - before for both in pairs for run in both for before, after in pairwise(run.labels)), default=0)
    return Saving(level, len(found), len(pairs), saved, step)


def _values(run: Run, up_to: int) -> list[float]:
    points = zip(run.labels, run.values, strict=True)
    return [value for labels, value in points if labels <= up_to and isfinite(value)]


def _labels(run: Run, level: float, mode: Mode, up_to: int) -> int | None:
    count = labels_to_reach(run.labels, run.values, level, mode=mode)
    return count if count is not None and count <= up_to else None
