"""How much a batch tells, and how sure that is, as BatchBALD reports it.

Two uncertainties are told apart. The Monte Carlo error is that of the joint labels that were drawn, given the posterior
samples: every batch has a figure for it. The sampling noise is that of having K posterior samples and no others: it is
larger, it is in none of these figures, and only `BatchBALD(check_samples=True)` measures it, by two halves of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import mean

from lightning_al.report.recorded import RecordedRun
from lightning_al.run.history import Round


@dataclass(frozen=True)
class BatchNoise:
    """What was reported of the batch of one round.

    Attributes:
        seed: Seed of the run.
        round: Number of the round.
        labels: Training labels before the batch.
        num_picks: Points in the batch.
        information: What all of them tell together, in nats.
        standard_error: Monte Carlo error of that, in nats.
        log_num_samples: The most that posterior samples can tell, log K, in nats.
        share_used: Which share of it the batch tells.
        picks_below_noise: How many picks add no more than the Monte Carlo error.
        shortfall: By how many nats at most a batch from all points could have been better.
        overlap: Share of the picks that two halves of the posterior samples have in common, or None where it was not
            measured.
    """

    seed: int
    round: int
    labels: int
    num_picks: int
    information: float
    standard_error: float
    log_num_samples: float
    share_used: float
    picks_below_noise: int
    shortfall: float
    overlap: float | None = None


def noise_of(runs: Sequence[RecordedRun]) -> list[BatchNoise]:
    """Return what was reported of each batch of some runs; nothing where their method does not report it."""
    return [batch for run in runs for round in run.history if (batch := _batch(run.seed, round)) is not None]


def _batch(seed: int, round: Round) -> BatchNoise | None:
    figures, lists = {}, {}
    for name, value in round.details.items():
        if isinstance(value, list):
            lists[name] = value
        else:
            figures[name] = value
    try:
        return BatchNoise(
            seed=seed,
            round=round.number,
            labels=round.spent,
            num_picks=len(round.indices),
            information=lists["information"][-1],
            standard_error=lists["standard_error"][-1],
            log_num_samples=figures["log_num_samples"],
            share_used=figures["share_used"],
            picks_below_noise=int(figures["picks_below_noise"]),
            shortfall=figures["shortfall"],
            overlap=figures.get("overlap_of_half_samples"),
        )
    except (KeyError, IndexError):
        return None


@dataclass(frozen=True)
class MethodNoise:
    """The batches of a method, over its runs and rounds.

    Attributes:
        method: Name of the method.
        batches: Its batches.
    """

    method: str
    batches: list[BatchNoise]

    @property
    def num_samples(self) -> str:
        """The number of posterior samples K, or several."""
        return ", ".join(str(count) for count in sorted({round(exp(batch.log_num_samples)) for batch in self.batches}))

    @property
    def num_picks(self) -> int:
        """All picks."""
        return sum(batch.num_picks for batch in self.batches)

    @property
    def picks_below_noise(self) -> int:
        """Those that add no more than the Monte Carlo error."""
        return sum(batch.picks_below_noise for batch in self.batches)

    @property
    def mean_share(self) -> float:
        """Mean share of log K that a batch tells."""
        return mean(batch.share_used for batch in self.batches)

    @property
    def largest_share(self) -> float:
        """Largest of these shares."""
        return max(batch.share_used for batch in self.batches)

    @property
    def largest_error(self) -> float:
        """Largest Monte Carlo error, in nats."""
        return max(batch.standard_error for batch in self.batches)

    @property
    def largest_shortfall(self) -> float:
        """Largest shortfall, in nats."""
        return max(batch.shortfall for batch in self.batches)

    @property
    def mean_overlap(self) -> float | None:
        """Mean share of picks that two halves of the samples have in common, over the batches where it was measured."""
        measured = [batch.overlap for batch in self.batches if batch.overlap is not None]
        return mean(measured) if measured else None

    def by_labels(self) -> tuple[list[int], list[float], list[float]]:
        """Return the numbers of labels, with the mean share of log K used up and the mean of picks below error."""
        labels = sorted({batch.labels for batch in self.batches})
        at = [[batch for batch in self.batches if batch.labels == count] for count in labels]
        return (
            labels,
            [mean(batch.share_used for batch in same) for same in at],
            [mean(batch.picks_below_noise for batch in same) for same in at],
        )
