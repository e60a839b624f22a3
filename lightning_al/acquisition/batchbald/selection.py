"""BatchBALD: query the batch of points whose labels together would tell most about the weights.

Axes: N points, K posterior samples, C classes, M configurations of the labels chosen so far, b batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, at_most, checked_log_probs
from lightning_al.acquisition.batchbald.batch_report import BatchReport
from lightning_al.acquisition.batchbald.configurations import HIDDEN, Configurations
from lightning_al.acquisition.batchbald.gains import exact
from lightning_al.acquisition.batchbald.search import GainSearch
from lightning_al.acquisition.batchbald.shortlist import Shortlist, num_bytes
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.ties import EQUAL_GAINS, in_order, tie_keys
from lightning_al.information import mutual_information
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import plain, whole_number


def batchbald(
    log_probs_N_K_C: Tensor,
    b: int,
    *,
    num_configurations: int = 10_000,
    min_gain: float | Literal["noise"] = 0.0,
    generator: torch.Generator | None = None,
) -> BatchSelection:
    """Select b points greedily, each for what its label adds to the labels of the points before it.

    Andreas Kirsch, Joost van Amersfoort, Yarin Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep
    Bayesian Active Learning", NeurIPS 2019.

    While the chosen points have at most `num_configurations` joint labels, all of them are enumerated, and the result
    is the exact greedy one. After that, joint labels are drawn. No point is selected twice, but two equal points may
    be: the second label is still informative while the first leaves the posterior samples in doubt.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero. Sample k must be
            the same weights for every point.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        num_configurations: The most joint labels to hold; at least one per posterior sample is drawn. With few per
            sample, the scores are a little too low: for 9 points of 3 classes and 50 samples, on average by .03 of
            1.7 nats with 200, by .005 to .008 (of .9 to 1.7) with 500, and by less than .004 with 1,000. This bias
            comes on top of the standard error of the draws. With 10,000, both are negligible.
        min_gain: The fewest nats that a pick has to add, or "noise" for the standard error of the information before
            it. From the first pick that would add less, points are selected by their BALD scores.
        generator: A CPU generator for the draws; its initial seed also breaks ties. By default a new one with seed 0,
            so calls agree.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are the joint mutual information in nats of all labels so
        far with the weights, at most log K; a `BatchReport` says how certain they are. Of points that add equally much,
        to within 1e-12 nats, the one with the highest BALD score is selected; of equal ones, one at random.

    Raises:
        ValueError: If there are fewer than 2 posterior samples, if log-probabilities are NaN or above 0, if b or
            `num_configurations` is below 1, or if `min_gain` is neither "noise" nor a number of at least 0.

    With four samples, the second point asks the same as the first, less clearly. The third asks another question, as
    informative as the first:

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.9, 0.9, 0.1, 0.1], [1.0, 0.0, 1.0, 0.0]])
    >>> selection = batchbald(torch.stack([p, 1 - p], dim=-1).log(), 2)
    >>> sorted(selection.positions.tolist())
    [0, 2]
    >>> [round(score, 4) for score in selection.scores.tolist()]
    [0.6931, 1.3863]
    """
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="batchbald", min_samples=2)
    num_configurations = whole_number("BatchBALD", "num_configurations", num_configurations)
    min_gain = _checked_min_gain(min_gain)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return _Greedy(log_probs_N_K_C, num_configurations, generator, min_gain=min_gain).select(b)


@register("batchbald")
@final
@dataclass(frozen=True)
class BatchBALD(Acquisition):
    """Select the candidates whose labels together would tell most about the weights.

    Args:
        num_configurations: The most joint labels to hold; see `batchbald`.
        max_memory: The most bytes for the candidates of a stream, as a number or as text such as "2GB". One pass keeps
            those with the highest BALD scores, which bound what a candidate can add. By default, all are kept. The
            points selected so far take about 50 K `num_configurations` more bytes.
        exact: Whether to pass over the stream again for each pick that a candidate left out could have won. If False,
            the report's `shortfall` bounds the loss.
        min_gain: The fewest nats that a pick has to add, or "noise"; see `batchbald`.
        check_samples: Whether to report the `overlap` of the batches selected by two disjoint halves of the samples.

    Raises:
        ValueError: If `num_configurations`, `max_memory` or `min_gain` is out of range.

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.9, 0.9, 0.1, 0.1], [1.0, 0.0, 1.0, 0.0]])
    >>> candidates = Candidates(3, torch.stack([p, 1 - p], dim=-1).log())
    >>> sorted(BatchBALD().select(candidates, 2, torch.Generator()).positions.tolist())
    [0, 2]
    """

    min_samples: ClassVar[int] = 2
    num_configurations: int = 10_000
    max_memory: int | str | None = None
    exact: bool = False
    min_gain: float | Literal["noise"] = 0.0
    check_samples: bool = False

    def __post_init__(self) -> None:
        num_configurations = whole_number("BatchBALD", "num_configurations", self.num_configurations)
        object.__setattr__(self, "num_configurations", num_configurations)
        object.__setattr__(self, "min_gain", _checked_min_gain(self.min_gain))
        object.__setattr__(self, "max_memory", plain(self.max_memory))
        if self.max_memory is not None:
            num_bytes(self.max_memory)

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the joint mutual information in nats of all labels so far.

        Raises:
            ValueError: If `max_memory` holds fewer than b candidates.
        """
        shortlist = None
        if self.max_memory is None or not candidates.is_stream:
            log_probs_n_K_C = checked_log_probs(candidates.log_probs_N_K_C, who="batchbald", min_samples=2)
        else:
            keys_N = tie_keys(len(candidates), generator)
            shortlist = Shortlist.gather(candidates, b, num_bytes(self.max_memory), keys_N)
            log_probs_n_K_C = shortlist.log_probs_n_K_C
        greedy = _Greedy(
            log_probs_n_K_C, self.num_configurations, generator, shortlist, exact=self.exact, min_gain=self.min_gain
        )
        selection = greedy.select(b)
        if self.check_samples and len(selection.positions) > 0:
            overlap = half_overlap(log_probs_n_K_C, b, num_configurations=self.num_configurations)
            report = replace(selection.report, overlap=overlap)
            selection = BatchSelection.of(selection.positions, selection.scores, report)
        return selection


def half_overlap(log_probs_N_K_C: Tensor, b: int, *, num_configurations: int = 10_000) -> float:
    """Measure how far a batch depends on which posterior samples were drawn: choose it by two disjoint halves of them.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``, as for `batchbald`.
        b: How many points to choose.
        num_configurations: As for `batchbald`.

    Returns:
        Share of the picks that the two batches have in common, each of them chosen by K/2 samples.

    Raises:
        ValueError: If there are fewer than 4 posterior samples.

    Two halves that ask the same question choose the same point:

    >>> p = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    >>> half_overlap(torch.stack([p, 1 - p], dim=-1).log(), 1)
    1.0
    """
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="half_overlap", min_samples=4)
    half = log_probs_N_K_C.shape[1] // 2
    b = at_most(b, len(log_probs_N_K_C))
    batches = [
        set(batchbald(samples_N_k_C, b, num_configurations=num_configurations).positions.tolist())
        for samples_N_k_C in (log_probs_N_K_C[:, :half], log_probs_N_K_C[:, half : 2 * half])
    ]
    return len(batches[0] & batches[1]) / b


NOTHING_YET = BatchReport([], [], num_samples=1)


@dataclass(frozen=True)
class BatchSelection(Selection):
    """A selection with the report of its batch.

    Attributes:
        report: How informative the batch is, and how certain that is.
    """

    report: BatchReport = NOTHING_YET

    @classmethod
    def of(cls, positions: Tensor, scores: Tensor, report: BatchReport) -> BatchSelection:
        """Return a selection with the metrics and the warning of a report."""
        return cls(positions, scores, report.to_dict(), report.warning, report)


class _Greedy:
    """Select points one after the other, from the shortlist and, if needed, from the points left out of it."""

    def __init__(
        self,
        log_probs_n_K_C: Tensor,
        num_configurations: int,
        generator: torch.Generator,
        shortlist: Shortlist | None = None,
        *,
        exact: bool = False,
        min_gain: float | Literal["noise"] = 0.0,
    ) -> None:
        self.log_probs_n_K_C = log_probs_n_K_C
        self.num_configurations = num_configurations
        self.generator = generator
        self.shortlist = shortlist
        self.exact = exact
        self.min_gain = min_gain
        if shortlist is None:
            self.keys_n = tie_keys(len(log_probs_n_K_C), generator)
        else:
            self.keys_n = shortlist.keys_N[shortlist.positions_n]
        self.search = GainSearch(log_probs_n_K_C, log_probs_n_K_C.dtype, self.keys_n)
        self.shortfall = 0.0

    def select(self, b: int) -> BatchSelection:
        n, K, _ = self.log_probs_n_K_C.shape
        configurations = Configurations.before_any_label(K, exact(self.log_probs_n_K_C[:0]).device)
        positions: list[int] = []
        information: list[Tensor] = []
        standard_errors: list[Tensor] = []
        adds_enough = True
        for _ in range(at_most(b, n)):
            if adds_enough:
                position, log_probs_K_C = self._best(configurations, positions)
                adds_enough = self._adds_enough(log_probs_K_C, configurations)
            if not adds_enough:
                position, log_probs_K_C = self._best_alone(positions)
            probs_K_C = exact(log_probs_K_C).exp()
            configurations = configurations.observe(probs_K_C, limit=self.num_configurations, generator=self.generator)
            positions.append(position)
            information.append(configurations.information)
            standard_errors.append(configurations.standard_error)
        device, dtype = self.log_probs_n_K_C.device, self.log_probs_n_K_C.dtype
        # Read at the end, so a GPU does not synchronise after each point.
        report = BatchReport(_numbers(information), _numbers(standard_errors), K, self.shortfall)
        return BatchSelection.of(
            torch.tensor(positions, dtype=torch.int64, device=device),
            torch.tensor(report.information, dtype=dtype, device=device),
            report,
        )

    def _adds_enough(self, log_probs_K_C: Tensor, configurations: Configurations) -> bool:
        if self.min_gain == 0.0:
            return True
        least = float(configurations.standard_error) if self.min_gain == "noise" else self.min_gain
        return GainSearch(log_probs_K_C[None], torch.float64).exact_gain(0, configurations) >= least

    def _best(self, configurations: Configurations, taken: list[int]) -> tuple[int, Tensor]:
        """Return position and log-probabilities of the point with the highest gain."""
        place = self.search.best(configurations, self._places(taken))
        assert place is not None
        position, log_probs_K_C = self._position(place), self.log_probs_n_K_C[place]
        if self.shortlist is None:
            return position, log_probs_K_C
        highest_bald = self.shortlist.highest_left_out(taken)
        if highest_bald == -math.inf:
            return position, log_probs_K_C

        gain = self.search.exact_gain(place, configurations)
        margin = float(self.search.margin(configurations))
        gain_per_bald, rounding = configurations.gain_per_bald, self.shortlist.rounding
        # A label cannot tell more than what is left to know, either.
        most = (1 + HIDDEN) * float(configurations.entropy_left)
        ceiling = min(gain_per_bald * (highest_bald + rounding), most) + margin
        if not self.exact or ceiling < gain:
            self.shortfall += max(0.0, ceiling - gain)
            return position, log_probs_K_C
        return self._best_of_all(configurations, taken, (gain - margin) / gain_per_bald - rounding)

    def _best_of_all(self, configurations: Configurations, taken: list[int], least_score: float) -> tuple[int, Tensor]:
        """Choose among the shortlist and the points left out whose BALD score is high enough, in another pass."""
        assert self.shortlist is not None
        levels = self.search.levels(configurations)
        tied = self.search.tied(configurations, self._places(taken))
        assert tied is not None
        rows = {self._position(tied.first): self.log_probs_n_K_C[tied.first]}
        tied = tied.at(self.shortlist.positions_n)
        for positions_m, log_probs_m_K_C in self.shortlist.left_out(taken, least_score):
            rivals = GainSearch(log_probs_m_K_C, self.search.dtype, self.shortlist.keys_N[positions_m])
            found = rivals.tied(configurations, to_reach=tied.gain - EQUAL_GAINS, levels=levels)
            if found is None:
                continue
            tied = tied.joined(found.at(positions_m))
            for place in (positions_m == tied.first).nonzero().flatten().tolist():
                rows[tied.first] = log_probs_m_K_C[place].clone()
        # The point that is first in the end was first when it was seen, except for gains within the tolerance.
        position = tied.first
        return position, rows[position] if position in rows else self.shortlist.log_probs_of(position)

    def _best_alone(self, taken: list[int]) -> tuple[int, Tensor]:
        """Return position and log-probabilities of the point with the highest BALD score."""
        scores_n = mutual_information(self.log_probs_n_K_C)
        scores_n[self._places(taken)] = -math.inf
        place = int(in_order(scores_n, self.keys_n)[0])
        return self._position(place), self.log_probs_n_K_C[place]

    def _position(self, place: int) -> int:
        return place if self.shortlist is None else int(self.shortlist.positions_n[place])

    def _places(self, taken: list[int]) -> list[int]:
        """Return the places of the points taken within the shortlist."""
        if self.shortlist is None:
            return taken
        kept_n = self.shortlist.positions_n
        return torch.isin(kept_n, kept_n.new_tensor(taken)).nonzero().flatten().tolist()


def _numbers(scalars: list[Tensor]) -> list[float]:
    numbers: list[float] = torch.stack(scalars).tolist() if scalars else []
    return numbers


def _checked_min_gain(min_gain: float | Literal["noise"]) -> float | Literal["noise"]:
    min_gain = plain(min_gain)
    is_number = isinstance(min_gain, int | float) and not isinstance(min_gain, bool) and min_gain >= 0
    if min_gain != "noise" and not is_number:
        raise ValueError(
            f"`BatchBALD` expected `min_gain` of at least 0 nats or 'noise', but got {min_gain!r}. Leave it at 0 to "
            "accept every pick."
        )
    return min_gain
