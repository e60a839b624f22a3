"""How informative a batch is, and how certain that number is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from lightning_al.acquisition.batchbald.saturation import too_few_samples


@final
@dataclass(frozen=True)
class BatchReport:
    """How much the labels of a batch would tell about the weights, and how far that can be trusted.

    There are two uncertainties. The Monte Carlo error comes from drawing joint labels, given these posterior samples.
    The sampling noise comes from having these K samples and no others. It is larger, and only `overlap` shows it.

    Attributes:
        information: Joint mutual information in nats of the labels with the weights, after each pick in order.
        standard_errors: The Monte Carlo error of each in nats; 0 if all joint labels were enumerated. It is an upper
            estimate, which takes drawn joint labels for independent.
        num_samples: Number of posterior samples K. At most log K nats can be known about which one is right.
        shortfall: An upper bound in nats on how much better the batch could have been with the points that a memory
            limit left out; 0 if the picks are those from all points.
        overlap: The share of the picks that two disjoint halves of the posterior samples, K/2 each, have in common, or
            None if it was not requested. It shows how much the picks depend on which samples were drawn.

    >>> report = BatchReport(information=[1.0, 1.25, 1.26], standard_errors=[0.0, 0.0, 0.02], num_samples=4)
    >>> round(report.share_used, 3), report.picks_below_noise, report.is_exact
    (0.909, 1, True)
    """

    information: list[float]
    standard_errors: list[float]
    num_samples: int
    shortfall: float = 0.0
    overlap: float | None = None

    @property
    def capacity(self) -> float:
        """The most information of any batch: log K nats."""
        return math.log(self.num_samples)

    @property
    def share_used(self) -> float:
        """The share of log K that the batch uses."""
        return self.information[-1] / self.capacity if self.information else 0.0

    @property
    def gains(self) -> list[float]:
        """The nats that each pick adds to those before."""
        before = [0.0, *self.information]
        return [after - before[place] for place, after in enumerate(self.information)]

    @property
    def picks_below_noise(self) -> int:
        """The number of picks that add no more than the Monte Carlo error. Sampling noise may put more in doubt."""
        return sum(gain <= error for gain, error in zip(self.gains, self.standard_errors, strict=True))

    @property
    def is_exact(self) -> bool:
        """Whether the picks are the same as from all points."""
        return self.shortfall == 0.0

    @property
    def warning(self) -> str | None:
        """A warning if K is too small for the batch, or None."""
        return too_few_samples(self.num_samples, self.information)

    def to_dict(self) -> dict[str, float | list[float]]:
        """Return the figures as plain data."""
        figures: dict[str, float | list[float]] = {
            "information": self.information,
            "standard_error": self.standard_errors,
            "log_num_samples": self.capacity,
            "share_used": self.share_used,
            "picks_below_noise": float(self.picks_below_noise),
            "shortfall": self.shortfall,
        }
        if self.overlap is not None:
            figures["overlap_of_half_samples"] = self.overlap
        return figures
