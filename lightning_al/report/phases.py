"""Where the time of a method's rounds goes, and how much memory they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_al.report.recorded import RecordedRun

ORDER = ("fit", "score", "select", "test", "label")


@dataclass(frozen=True)
class Phases:
    """Wall time and peak memory by the parts of a round, over all recorded rounds of a method's runs.

    Attributes:
        method: Name of the method.
        num_rounds: Number of rounds.
        seconds: Sum over them of each part.
        peak_bytes: Greatest of them at the end of each part; empty where it was not recorded.
    """

    method: str
    num_rounds: int
    seconds: dict[str, float]
    peak_bytes: dict[str, int]

    @property
    def total(self) -> float:
        """Seconds over all parts."""
        return sum(self.seconds.values())

    def share(self, part: str) -> float:
        """Return a part's share of the time."""
        return self.seconds.get(part, 0.0) / self.total if self.total else 0.0


def phases(method: str, runs: Sequence[RecordedRun]) -> Phases:
    """Add up the rounds of a method's runs."""
    rounds = [round for run in runs for round in run.history]
    parts = in_order({part for round in rounds for part in round.seconds})
    peaks = in_order({part for round in rounds for part in round.peak_bytes})
    return Phases(
        method=method,
        num_rounds=len(rounds),
        seconds={part: sum(round.seconds.get(part, 0.0) for round in rounds) for part in parts},
        peak_bytes={part: max(round.peak_bytes.get(part, 0) for round in rounds) for part in peaks},
    )


def in_order(parts: set[str]) -> list[str]:
    """Return parts in the order of a round, and others after them.

    >>> in_order({"test", "fit", "fit_cuda", "other"})
    ['fit', 'fit_cuda', 'test', 'other']
    """
    places = {part: place for place, part in enumerate(ORDER)}
    return sorted(parts, key=lambda part: (places.get(part.removesuffix("_cuda"), len(ORDER)), part))
