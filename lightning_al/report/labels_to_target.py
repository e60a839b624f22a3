"""How many labels a method needs to reach a value of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isnan

import numpy as np

from lightning_al.report.comparison import Method
from lightning_al.report.curves import labels_to_reach
from lightning_al.report.direction import Mode, needed_mode

SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class LabelsToTarget:
    """Labels with which the runs of a method reach a value of the metric.

    Attributes:
        method: Name of the method.
        target: Value of the metric to reach.
        labels: Number of labels at the first round of each run that reaches it, in the order of their seeds; None for a
            run that does not.
        within: Fewest labels that a run of the method ends with; a round with more labels does not count.
        resolution: Most labels between two recorded rounds.
    """

    method: str
    target: float
    labels: list[int | None]
    within: int
    resolution: int

    @property
    def num_reached(self) -> int:
        """Number of runs that reach the target."""
        return sum(count is not None for count in self.labels)

    @property
    def quartiles(self) -> list[float | None]:
        """Quartiles over the runs; None for one that falls among runs that do not reach the target."""
        return [quartile(self.labels, share) for share in SHARES]

    @property
    def shown(self) -> list[str]:
        """The quartiles as text."""
        return [f"over {self.within}" if number is None else f"{number:g}" for number in self.quartiles]


def labels_to_target(method: Method, target: float, *, mode: Mode | None = None) -> LabelsToTarget:
    """Return the labels with which the runs of a method reach a target, including runs that diverged.

    All runs are looked at up to the same number of labels, so a shorter run does not count as one that failed.

    Args:
        method: The method.
        target: Value of the metric to reach.
        mode: Whether less or more of the metric is better; by default as its name says.

    Raises:
        ValueError: If the mode is not known.
    """
    runs = method.all_runs
    mode = needed_mode(runs[0].metric, mode, who="`labels_to_target`")
    within = min(run.labels[-1] for run in runs)
    reached = [labels_to_reach(run.labels, run.values, target, mode=mode) for run in runs]
    return LabelsToTarget(
        method=method.name,
        target=target,
        labels=[count if count is not None and count <= within else None for count in reached],
        within=within,
        resolution=max(_step(run.labels) for run in runs),
    )


def _step(labels: Sequence[int]) -> int:
    return max((after - before for before, after in pairwise(labels)), default=0)


def quartile(numbers: Sequence[float | None], share: float) -> float | None:
    """Return a quantile of numbers of labels, where None stands for more labels than were recorded.

    It interpolates linearly between the two numbers beside it; if the upper one is None, so is the quantile.

    Raises:
        ValueError: If there are no numbers, or one of them is NaN.

    >>> quartile([10, 20, None], 0.5), quartile([10, 20, None], 0.75), quartile([10, 20], 0.5)
    (20.0, None, 15.0)
    """
    if not numbers or any(number is not None and isnan(number) for number in numbers):
        raise ValueError(
            f"`quartile` expects one number or more, with None for more than were recorded, but got {numbers}. Leave "
            "out NaN."
        )
    known = np.array([inf if number is None else number for number in numbers], dtype=float)
    above = np.quantile(known, share, method="higher")
    # Beyond the number above the quantile, any number does.
    return None if above == inf else float(np.quantile(np.minimum(known, above), share))
