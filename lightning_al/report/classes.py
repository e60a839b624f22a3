"""How evenly the classes are spread over what a run asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import mean

from lightning_al.report.recorded import RecordedRun


@dataclass(frozen=True)
class Asked:
    """What a method had asked for by class, mean over its runs that recorded so many labels.

    Attributes:
        labels: Training labels at each round; those of the start are not counted as asked for.
        counts: Mean number of labels asked for of each class, at each round.
        num_runs: Number of runs that it is the mean of.
    """

    labels: list[int]
    counts: list[dict[int, float]]
    num_runs: int

    @property
    def evenness(self) -> list[float]:
        """Entropy of the classes' shares at each round by that of even shares: 1 is even, 0 is one class alone."""
        return [_evenness(counts) for counts in self.counts]


def asked_by_class(runs: Sequence[RecordedRun], classes: Sequence[int], up_to: int) -> Asked | None:
    """Count what runs asked for by class, up to some number of training labels, or as far as all of them go.

    Returns:
        The counts, or None where labels are not class numbers, or nothing was asked for.
    """
    known = [run for run in runs if all(round.class_counts is not None for round in run.history)]
    by_run = [{round.spent: round.class_counts or {} for round in run.history} for run in known]
    if not by_run:
        return None
    common = sorted(set.intersection(*(set(counts) for counts in by_run)))
    labels = [count for count in common[1:] if count <= up_to] or common[1:]
    if not labels:
        return None
    starts = [counts[common[0]] for counts in by_run]
    return Asked(
        labels=labels,
        counts=[
            {
                label: mean(
                    counts[count].get(label, 0) - start.get(label, 0)
                    for counts, start in zip(by_run, starts, strict=True)
                )
                for label in classes
            }
            for count in labels
        ],
        num_runs=len(by_run),
    )


def classes_of(runs: Sequence[RecordedRun]) -> list[int]:
    """Return all classes that some runs have labels of."""
    return sorted({label for run in runs for round in run.history for label in round.class_counts or {}})


def _evenness(counts: dict[int, float]) -> float:
    total = sum(counts.values())
    shares = [count / total for count in counts.values() if count > 0]
    return -sum(share * log(share) for share in shares) / log(len(counts)) if len(counts) > 1 else 1.0
