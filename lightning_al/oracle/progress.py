"""Where a run stands, as oracles are told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning_al.oracle.query import Query

Phase = Literal["fitting", "asking", "done", "stopped"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: What comes next: a fit, a query, or nothing, since the run is done or stopped.
        round: Number of the round; -1 before the first fit.
        folder: The run's folder, if it has one.
        classes: The names of the classes by their numbers.
        counts: How many labels each class has, by its number.
        spent: Labels paid for so far.
        budget: How many may be paid for, or None.
        seconds: How long the answers of all recorded rounds took, as far as they say it.
        budget_seconds: How long answers may take in all, or None.
        metric: The metric of the learning curve, or None.
        curve: Labels paid for, and the metric after the fit, of each round.
        audit: How good the last model is by the audit points, as `Round.audit` says.
        answered: The points that have an answer, which may be corrected.
        ahead: The next audit points, which may be answered before a query asks for them, in their order.
        examples: Some labelled points of each class, by its number.
        given_back: For each point that was given back, the place of the last such change among all changes of labels,
            from 0.
        show: Returns points with their keys and items.

    >>> Progress("fitting", 3).curve
    []
    """

    phase: Phase
    round: int
    folder: Path | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    counts: Mapping[int, int] = field(default_factory=dict)
    spent: int = 0
    budget: int | None = None
    seconds: float = 0.0
    budget_seconds: float | None = None
    metric: str | None = None
    curve: Sequence[tuple[int, float]] = field(default_factory=list)
    audit: Mapping[str, float] = field(default_factory=dict)
    answered: Sequence[int] = ()
    ahead: Sequence[int] = ()
    examples: Mapping[int, Sequence[int]] = field(default_factory=dict)
    given_back: Mapping[int, int] = field(default_factory=dict)
    show: Callable[[Sequence[int]], Query] = lambda points: Query(-1, points)
