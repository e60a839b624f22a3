"""Which methods come first, and which of them a picture emphasises."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lightning_al.report.comparison import BASELINE, Method, baseline_of
from lightning_al.report.metric import Mode

MOST_EMPHASISED = 3


def ranked(rows: Sequence[Method], mode: Mode | None) -> list[Method]:
    """Return the complete methods by the area under their curves, the best first; nothing if `mode` is None.

    The area is the mean over the seeds that all of them have, since a seed may be easy for every method. Methods that
    cannot be compared with random choice, though others are, come last.
    """
    if mode is None:
        return []
    complete = [row for row in rows if row.is_complete]
    paired = paired_methods(rows) or complete
    others = [row for row in complete if not any(row is one for one in paired)]
    return [row for part in (paired, others) for row in _by_area(part, mode)]


def paired_methods(rows: Sequence[Method]) -> list[Method]:
    """Return random choice and the methods that are compared with it; nothing if none is."""
    compared = [row for row in rows if row.difference is not None]
    baseline = baseline_of(rows)
    return [baseline, *compared] if compared and baseline is not None else compared


def common_seeds(rows: Sequence[Method]) -> list[int]:
    """Return the seeds that all of the methods have.

    >>> common_seeds([])
    []
    """
    return sorted(set.intersection(*({run.seed for run in row.runs} for row in rows))) if rows else []


def emphasised(names: Collection[str], rows: Sequence[Method], mode: Mode | None) -> list[str]:
    """Return which methods a picture emphasises, three at most: the two best, and random choice.

    Args:
        names: All methods of the picture; up to three are all emphasised.
        rows: Those that are compared, the baseline first.
        mode: Whether less or more of the metric is better. If that is not known, no method is the best.
    """
    if len(names) <= MOST_EMPHASISED:
        return list(names)
    random = [rows[0].name] if rows and rows[0].acquisition == BASELINE else []
    best = [row.name for row in ranked(rows, mode) if row.name not in random]
    return [*random, *best[: MOST_EMPHASISED - 1]]


def _by_area(rows: Sequence[Method], mode: Mode) -> list[Method]:
    seeds = common_seeds(rows)
    return sorted(rows, key=lambda row: (row.over(seeds) if seeds else row).mean_area, reverse=mode == "max")
