"""What a user should know of a batch beside its points: how much it tells, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from lightning_al.acquisition.batchbald.agreement import too_few_samples


@final
@dataclass(frozen=True)
class BatchReport:
    """Tell how much the labels of a batch would say about the weights, and how far that can be trusted.

    Two uncertainties are told apart. The Monte Carlo error is that of the joint labels that were drawn, for these
    posterior samples. The sampling noise is that of having these K samples and no others; it is larger, and it is in
    none of the figures but `overlap`.

    Attributes:
        information: Joint mutual information in nats of the labels with the weights, after each pick in order.
        standard_errors: Monte Carlo error in nats of each of these, since joint labels were drawn; 0 where all of them
            were enumerated. Drawn joint labels are taken for independent, which they are better than.
        num_samples: Number of posterior samples K. Nothing can tell more than log K nats about which one is right.
        shortfall: By how many nats at most another batch, of points that a byte budget left out, could have been
            better at the picks where it chose differently; 0 where the choice is the one from all points.
        overlap: Share of the picks that two disjoint halves of the posterior samples, K/2 each, have in common, or
            None where that was not asked for. It shows how far the picks depend on which samples were drawn.

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
        """Most nats that any batch can tell: log K."""
        return math.log(self.num_samples)

    @property
    def share_used(self) -> float:
        """Which share of log K the batch tells."""
        return self.information[-1] / self.capacity if self.information else 0.0

    @property
    def gains(self) -> list[float]:
        """How many nats each pick adds to those before."""
        before = [0.0, *self.information]
        return [after - before[place] for place, after in enumerate(self.information)]

    @property
    def picks_below_noise(self) -> int:
        """How many picks add no more than the Monte Carlo error. By the sampling noise, more may be in doubt."""
        return sum(gain <= error for gain, error in zip(self.gains, self.standard_errors, strict=True))

    @property
    def is_exact(self) -> bool:
        """Whether the picks are those that would have been made from all points."""
        return self.shortfall == 0.0

    @property
    def warning(self) -> str | None:
        """What to do where K is too small for the batch, by what was measured of such batches, or None."""
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
