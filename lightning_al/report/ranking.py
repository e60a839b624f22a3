"""Which methods come first, and which of them a picture emphasises."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lightning_al.report.comparison import BASELINE, Method
from lightning_al.report.metric import Mode

MOST_EMPHASISED = 3


def ranked(rows: Sequence[Method], mode: Mode | None) -> list[Method]:
    """Return the complete methods by the area under their curves, the best first; nothing if `mode` is None."""
    if mode is None:
        return []
    return sorted((row for row in rows if row.is_complete), key=lambda row: row.mean_area, reverse=mode == "max")


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
