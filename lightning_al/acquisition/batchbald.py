"""Ask for the batch of points whose labels together would tell most about the weights.

Axes: N points, K posterior samples, C classes, M configurations of the labels chosen so far, b batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, at_most, checked_log_probs
from lightning_al.acquisition.configurations import NEGLIGIBLE, Configurations
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.report import BatchReport
from lightning_al.acquisition.shortlist import Shortlist, num_bytes
from lightning_al.candidates import Candidates
from lightning_al.information import mutual_information

MERGERS: tuple[Sequence[float], ...] = (tuple(2.0**-i for i in range(7, 0, -1)), ())
"""How configurations are merged for upper bounds: to few for many points, to more for those left."""

EQUAL_GAINS = 1e-12
"""Gains that differ by less, in nats, count as equal: float64 cannot tell them apart."""

NO_ENTROPY = 1e-15
"""Entropy in nats that is no more than what float64 makes of none."""

FAINT = 0.05
"""Share of the entropy left at which what rounding hides calls for float64 throughout."""

MOST = 0.9
"""Share of the points from which on an expression is computed for all of them."""

NUM_PROBES = 2
"""How many likely points are computed in full to know what gain the others have to reach."""

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""How large an intermediate table may be: about a core's cache, or enough to keep a GPU busy."""


def batchbald(
    log_probs_N_K_C: Tensor,
    b: int,
    *,
    num_configurations: int = 10_000,
    min_gain: float | Literal["noise"] = 0.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Choose b points, one after the other, each for what its label adds to those of the points chosen before.

    Andreas Kirsch, Joost van Amersfoort, Yarin Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep
    Bayesian Active Learning", NeurIPS 2019.

    While the chosen points have at most `num_configurations` joint labels, all of them are enumerated, and the choice
    is exactly greedy. After that, joint labels are drawn. No point is chosen twice, but of two equal points both may
    be: the second label still tells something while the first leaves the posterior samples in doubt.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``; ``-inf`` stands for a probability of zero. Sample k must be
            the same weights for every point.
        b: How many points to choose, at least 1. All N are chosen where there are fewer.
        num_configurations: Most joint labels to hold, but at least one a posterior sample is drawn.
        min_gain: Fewest nats that a pick has to add, or "noise" for the standard error of the information before it.
            From the first pick on that would add less, points are chosen by their BALD scores.
        generator: A CPU generator for the draws. By default a new one with seed 0, so that calls agree.

    Returns:
        Positions ``[b]`` in the order of choice, as scores the joint mutual information in nats of all labels so far
        with the weights, never above log K, and a `BatchReport` of how sure that is. Of equally good points the one at
        the lowest position is chosen.

    Raises:
        ValueError: If there are fewer than 2 posterior samples, if log-probabilities are NaN or above 0, if b or
            `num_configurations` is below 1, or if `min_gain` is neither "noise" nor a number of at least 0.

    Four samples. The second point asks the same as the first, the third another question that tells as much:

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> selection = batchbald(torch.stack([p, 1 - p], dim=-1).log(), 2)
    >>> selection.positions.tolist()
    [0, 2]
    >>> [round(score, 4) for score in selection.scores.tolist()]
    [0.6931, 1.3863]
    """
    log_probs_N_K_C = checked_log_probs(log_probs_N_K_C, who="batchbald", min_samples=2)
    _check_num_configurations(num_configurations)
    _check_min_gain(min_gain)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return _Greedy(log_probs_N_K_C, num_configurations, generator, min_gain=min_gain).select(b)


@register("batchbald")
@final
@dataclass(frozen=True)
class BatchBALD(Acquisition):
    """Select the candidates whose labels together would tell most about the weights.

    Args:
        num_configurations: Most joint labels to hold; `batchbald` says more.
        max_memory: Most bytes for the candidates of a stream, as a number or as text such as "2GB". One pass keeps
            those with the highest BALD scores, which bound what a candidate can add, and the choice is made among
            them. By default all are kept. What is chosen already takes about 50 K `num_configurations` bytes more.
        exact: Whether to pass over the stream again for each pick that a candidate left out could have won. Else the
            report's `shortfall` says by how much at most.
        min_gain: Fewest nats that a pick has to add, or "noise"; `batchbald` says more.
        check_samples: Whether to report the `overlap` of the batches chosen by two disjoint halves of the samples.

    Raises:
        ValueError: If `num_configurations`, `max_memory` or `min_gain` is out of its range.

    >>> p = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> candidates = Candidates(3, torch.stack([p, 1 - p], dim=-1).log())
    >>> BatchBALD().select(candidates, 2, torch.Generator()).positions.tolist()
    [0, 2]
    """

    min_samples: ClassVar[int] = 2
    num_configurations: int = 10_000
    max_memory: int | str | None = None
    exact: bool = False
    min_gain: float | Literal["noise"] = 0.0
    check_samples: bool = False

    def __post_init__(self) -> None:
        _check_num_configurations(self.num_configurations)
        _check_min_gain(self.min_gain)
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
            shortlist = Shortlist.gather(candidates, b, num_bytes(self.max_memory))
            log_probs_n_K_C = shortlist.log_probs_n_K_C
        greedy = _Greedy(
            log_probs_n_K_C, self.num_configurations, generator, shortlist, exact=self.exact, min_gain=self.min_gain
        )
        selection = greedy.select(b)
        if self.check_samples and selection.report is not None and len(selection.positions) > 0:
            overlap = half_overlap(log_probs_n_K_C, b, num_configurations=self.num_configurations)
            selection = replace(selection, report=replace(selection.report, overlap=overlap))
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


class _Greedy:
    """Choose points one after the other, from those at hand and, where it comes to that, from those left out."""

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
        self.pool = _Pool.tabulate(log_probs_n_K_C, log_probs_n_K_C.dtype)
        self.shortfall = 0.0

    def select(self, b: int) -> Selection:
        n, K, _ = self.log_probs_n_K_C.shape
        configurations = Configurations.before_any_label(K, _exact(self.log_probs_n_K_C[:0]).device)
        positions: list[int] = []
        information: list[float] = []
        standard_errors: list[float] = []
        adds_enough = True
        for _ in range(at_most(b, n)):
            if self.pool.is_too_coarse(configurations):
                self.pool = _Pool.tabulate(self.log_probs_n_K_C, torch.float64)
            if adds_enough:
                position, log_probs_K_C = self._best(configurations, positions)
                adds_enough = self._adds_enough(log_probs_K_C, configurations)
            if not adds_enough:
                position, log_probs_K_C = self._best_alone(positions)
            probs_K_C = _exact(log_probs_K_C).exp()
            configurations = configurations.observe(probs_K_C, limit=self.num_configurations, generator=self.generator)
            positions.append(position)
            information.append(float(configurations.information))
            standard_errors.append(float(configurations.standard_error))
        device, dtype = self.log_probs_n_K_C.device, self.log_probs_n_K_C.dtype
        return Selection(
            torch.tensor(positions, dtype=torch.int64, device=device),
            torch.tensor(information, dtype=dtype, device=device),
            BatchReport(information, standard_errors, K, self.shortfall),
        )

    def _adds_enough(self, log_probs_K_C: Tensor, configurations: Configurations) -> bool:
        if self.min_gain == 0.0:
            return True
        least = float(configurations.standard_error) if self.min_gain == "noise" else self.min_gain
        return _Pool.tabulate(log_probs_K_C[None], torch.float64).exact_gain(0, configurations) >= least

    def _best(self, configurations: Configurations, taken: list[int]) -> tuple[int, Tensor]:
        """Return position and log-probabilities of the point with the highest gain."""
        place = self.pool.best(configurations, self._places(taken))
        position, log_probs_K_C = self._position(place), self.log_probs_n_K_C[place]
        if self.shortlist is None:
            return position, log_probs_K_C
        highest_bald = self.shortlist.highest_left_out(taken)
        if highest_bald == -math.inf:
            return position, log_probs_K_C

        gain = self.pool.exact_gain(place, configurations)
        margin = self.pool.margin(configurations)
        gain_per_bald = configurations.gain_per_bald
        # Nor can a label tell more than what is left to know.
        ceiling = min(gain_per_bald * highest_bald, float(configurations.entropy_left)) + margin
        if not self.exact or ceiling < gain:
            self.shortfall += max(0.0, ceiling - gain)
            return position, log_probs_K_C
        for positions_m, log_probs_m_K_C in self.shortlist.left_out(taken, (gain - margin) / gain_per_bald):
            rivals = _Pool.tabulate(log_probs_m_K_C, self.pool.noise_N_K.dtype)
            rival = rivals.best(configurations, [])
            rival_gain = rivals.exact_gain(rival, configurations)
            comes_first = int(positions_m[rival]) < position
            if rival_gain > gain + EQUAL_GAINS or (rival_gain >= gain - EQUAL_GAINS and comes_first):
                position, log_probs_K_C, gain = int(positions_m[rival]), log_probs_m_K_C[rival], rival_gain
        return position, log_probs_K_C

    def _best_alone(self, taken: list[int]) -> tuple[int, Tensor]:
        """Return position and log-probabilities of the point with the highest BALD score."""
        scores_n = mutual_information(self.log_probs_n_K_C)
        scores_n[self._places(taken)] = -math.inf
        place = int(scores_n.argmax())
        return self._position(place), self.log_probs_n_K_C[place]

    def _position(self, place: int) -> int:
        return place if self.shortlist is None else int(self.shortlist.positions_n[place])

    def _places(self, taken: list[int]) -> list[int]:
        """Return where the points taken stand among those at hand."""
        if self.shortlist is None:
            return taken
        kept_n = self.shortlist.positions_n
        return torch.isin(kept_n, kept_n.new_tensor(taken)).nonzero().flatten().tolist()


@dataclass(frozen=True)
class _Pool:
    """Find the point with the highest gain without computing every gain in full.

    Attributes:
        log_probs_N_K_C: The points as they were given.
        probs_N_C_K: Their probabilities, laid out for a product with posteriors over samples. They are at least
            NEGLIGIBLE, so that no joint probability is zero and every logarithm is finite.
        noise_N_K: The entropy of each point's label under each posterior sample, in nats.
        ceilings_N: What no point's gain exceeds as long as all configurations are enumerated, in nats. A gain only
            shrinks as points are chosen, so each bound that is computed serves later choices too.
    """

    log_probs_N_K_C: Tensor
    probs_N_C_K: Tensor
    noise_N_K: Tensor
    balds_N: Tensor
    latest_N: Tensor

    @classmethod
    def tabulate(cls, log_probs_N_K_C: Tensor, dtype: torch.dtype) -> _Pool:
        N, K, C = log_probs_N_K_C.shape
        log_probs_N_K_C = _exact(log_probs_N_K_C) if log_probs_N_K_C.device.type == "mps" else log_probs_N_K_C
        probs_N_C_K = log_probs_N_K_C.new_empty(N, C, K, dtype=dtype)
        noise_N_K = log_probs_N_K_C.new_empty(N, K, dtype=dtype)
        # In blocks, so that the only tables of the pool's size are the one given and the one kept.
        num_points = _num_per_block(K * C, probs_N_C_K)
        for start in range(0, N, num_points):
            block = slice(start, start + num_points)
            probs_N_C_K[block], noise_N_K[block] = _probs_and_noise(log_probs_N_K_C[block].to(dtype))
        nothing_known = Configurations.before_any_label(K, noise_N_K.device).to(dtype, noise_N_K.device)
        balds_N = gains(probs_N_C_K, noise_N_K, None, nothing_known)
        return cls(log_probs_N_K_C, probs_N_C_K, noise_N_K, balds_N, torch.full_like(balds_N, math.inf))

    def is_too_coarse(self, configurations: Configurations) -> bool:
        """Return whether so little is left to learn that rounding would hide which point tells most of it."""
        if self.noise_N_K.dtype == torch.float64:
            return False
        entropy_left = float(configurations.entropy_left)
        return self.margin(configurations) > FAINT * entropy_left > FAINT * EQUAL_GAINS

    def best(self, configurations: Configurations, taken: list[int]) -> int:
        """Return the position of the highest gain, the lowest such position where gains are equal.

        Merged configurations give upper bounds cheaply, and only points whose bound reaches the best gain so far are
        computed in full. What rounding cannot tell apart is computed again in float64.
        """
        is_open_N = torch.ones(len(self.noise_N_K), dtype=torch.bool, device=self.noise_N_K.device)
        is_open_N[taken] = False
        open_n = is_open_N.nonzero().flatten()
        if configurations.entropy_left < EQUAL_GAINS:
            return int(open_n[0])

        undecided, _ = configurations.undecided(self._least_entropy(configurations))
        margin = self.margin(configurations)
        ceilings_n = configurations.gain_per_bald * self.balds_N[open_n] + margin
        if not configurations.sampled:
            ceilings_n = torch.minimum(ceilings_n, self.latest_N[open_n])
        finalists_n = self._search(open_n, ceilings_n, undecided, margin)
        if len(finalists_n) == 1:
            return int(finalists_n)
        gains_n = self._exact_gains(finalists_n, configurations)
        return int(finalists_n[int((gains_n >= gains_n.max() - EQUAL_GAINS).nonzero()[0])])

    def exact_gain(self, position: int, configurations: Configurations) -> float:
        """Return the gain in nats of one point, computed in float64."""
        return float(self._exact_gains(torch.tensor([position]), configurations))

    def margin(self, configurations: Configurations) -> float:
        """How far apart, in nats, two computed gains must be for their order to be certain."""
        least_entropy = self._least_entropy(configurations)
        is_kept_M = configurations.is_undecided_M(least_entropy)
        rounding = least_entropy * float(configurations.weights_M @ is_kept_M.double())
        neglected = float(configurations.weights_M @ configurations.entropies_M.masked_fill(is_kept_M, 0.0))
        return rounding + neglected + EQUAL_GAINS

    def _least_entropy(self, configurations: Configurations) -> float:
        """Twice what rounding does to the entropies that a gain is made of, in nats; less doubt is not worth a term."""
        _, C, K = self.probs_N_C_K.shape
        # Errors of n additions in a row grow with the square root of n; a gain averages over M what averages over K.
        additions = 4 + math.sqrt(K) + math.sqrt(len(configurations))
        return 2 * torch.finfo(self.noise_N_K.dtype).eps * additions * (1 + math.log(C))

    def _search(self, open_n: Tensor, ceilings_n: Tensor, configurations: Configurations, margin: float) -> Tensor:
        """Return all positions with a gain within a margin of the highest, in ascending order."""
        *merged, whole = self._levels(configurations)
        bounds_n, gains_n = ceilings_n, torch.full_like(ceilings_n, -math.inf)

        def evaluate(places: Tensor) -> None:
            gains_n[places] = self._gains(open_n[places], whole)

        places = torch.arange(len(open_n), device=open_n.device)
        promise_n = self.latest_N[open_n]
        for level in merged:
            evaluate(places[promise_n[places].topk(min(NUM_PROBES, len(places))).indices])
            places = places[(bounds_n[places] >= gains_n.max() - margin) & (gains_n[places] == -math.inf)]
            bounds_n[places] = self._gains(open_n[places], level)
            promise_n = bounds_n

        places = places[bounds_n[places].argsort(descending=True)]
        num_points = _num_per_block(len(whole) * self.probs_N_C_K.shape[1], bounds_n)
        for start in range(0, len(places), num_points):
            if bounds_n[places[start]] < gains_n.max() - margin:
                break
            evaluate(places[start : start + num_points])
        self.latest_N[open_n] = torch.where(gains_n > -math.inf, gains_n, bounds_n) + margin
        return open_n[gains_n >= gains_n.max() - margin]

    def _levels(self, configurations: Configurations) -> list[Configurations]:
        """Return the configurations merged to few, to more and not at all, in the precision of the pool."""
        levels = [configurations.to(self.noise_N_K.dtype, self.noise_N_K.device)]
        for doubts in MERGERS:
            merged = levels[-1].merged(doubts)
            if len(merged) <= MOST * len(levels[-1]):
                levels.append(merged)
        return levels[::-1]

    def _gains(self, positions_n: Tensor, configurations: Configurations) -> Tensor:
        # Where nearly all points are asked for, to compute the others too is cheaper than to copy the table.
        if len(positions_n) > MOST * len(self.noise_N_K):
            return gains(self.probs_N_C_K, self.noise_N_K, None, configurations)[positions_n]
        return gains(self.probs_N_C_K, self.noise_N_K, positions_n, configurations)

    def _exact_gains(self, positions_n: Tensor, configurations: Configurations) -> Tensor:
        """Compute gains in float64. A second table of the pool's size is not worth its memory for a few points."""
        configurations, _ = configurations.undecided(NO_ENTROPY)
        configurations = configurations.to(torch.float64, configurations.weights_M.device)
        gains_n = torch.empty(len(positions_n), dtype=torch.float64, device=configurations.weights_M.device)
        num_points = _num_per_block(self.probs_N_C_K[0].numel(), gains_n)
        for start in range(0, len(positions_n), num_points):
            block = slice(start, start + num_points)
            probs_n_C_K, noise_n_K = _probs_and_noise(_exact(self.log_probs_N_K_C[positions_n[block]]))
            gains_n[block] = gains(probs_n_C_K, noise_n_K, None, configurations)
        return gains_n


def gains(probs_N_C_K: Tensor, noise_N_K: Tensor, positions_n: Tensor | None, configurations: Configurations) -> Tensor:
    """Measure what each point's label adds to the labels of the configurations.

    The gain is sum_m w_m [H(sum_k W_mk p_k) - sum_k W_mk H(p_k)] with weights w and posteriors W. Averaging the second
    term over the same configurations as the first cancels noise where they were drawn.

    Args:
        probs_N_C_K: Positive probabilities ``[N, C, K]``.
        noise_N_K: The entropy ``[N, K]`` of each point's label under each posterior sample, in nats.
        positions_n: The points to measure, or None for all of them.
        configurations: The configurations, M of them, of the same type as the probabilities.

    Returns:
        Gains ``[n]`` in nats.
    """
    N, C, K = probs_N_C_K.shape
    M, n = len(configurations), N if positions_n is None else len(positions_n)
    negative_entropies_n_C = probs_N_C_K.new_empty(n, C)
    num_points = max(1, min(n, _num_per_block(C * M, probs_N_C_K)))
    # Fresh memory for each block would cost as much as the arithmetic.
    joint = probs_N_C_K.new_empty(num_points * C * M)
    log_joint = torch.empty_like(joint)
    for start in range(0, n, num_points):
        block = slice(start, start + num_points)
        probs_n_C_K = probs_N_C_K[block] if positions_n is None else probs_N_C_K[positions_n[block]]
        _add_up(
            probs_n_C_K.view(-1, K),
            configurations,
            joint[: len(probs_n_C_K) * C * M],
            log_joint[: len(probs_n_C_K) * C * M],
            out=negative_entropies_n_C[block].view(-1),
        )
    noise_n_K = noise_N_K if positions_n is None else noise_N_K[positions_n]
    return -negative_entropies_n_C.sum(1) - noise_n_K @ configurations.mean_K.to(noise_n_K.dtype)


def _add_up(
    probs_rows_K: Tensor, configurations: Configurations, joint: Tensor, log_joint: Tensor, *, out: Tensor
) -> None:
    """Write sum_m w_m q log q with q = sum_k W_mk p_k for each row, using two tables of memory."""
    rows, M = len(probs_rows_K), len(configurations)
    # A tall product is faster than a wide one.
    if rows >= M:
        joint = torch.mm(probs_rows_K, configurations.posteriors_M_K.T, out=joint.view(rows, M))
        log_joint = torch.log(joint, out=log_joint.view(rows, M))
        torch.mv(log_joint.mul_(joint), configurations.weights_M, out=out)
    else:
        joint = torch.mm(configurations.posteriors_M_K, probs_rows_K.T, out=joint.view(M, rows))
        log_joint = torch.log(joint, out=log_joint.view(M, rows))
        torch.mv(log_joint.mul_(joint).T, configurations.weights_M, out=out)


def _probs_and_noise(log_probs_n_K_C: Tensor) -> tuple[Tensor, Tensor]:
    log_probs_n_C_K = log_probs_n_K_C.transpose(1, 2).contiguous().clamp_min(math.log(NEGLIGIBLE))
    probs_n_C_K = log_probs_n_C_K.exp()
    return probs_n_C_K, -(probs_n_C_K * log_probs_n_C_K).sum(1)


def _num_per_block(num_values: int, table: Tensor) -> int:
    """How many things of so many values each make an intermediate table of the right size, at least one."""
    block_bytes = BLOCK_BYTES.get(table.device.type, BLOCK_BYTES["cuda"])
    return max(1, block_bytes // (num_values * table.element_size()))


def _exact(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device (Apple's MPS) has none."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _check_num_configurations(num_configurations: int) -> None:
    if num_configurations < 1:
        raise ValueError(
            f"`BatchBALD` expected `num_configurations` of at least 1, but got {num_configurations}. "
            "The default, 10,000, suits most pools."
        )


def _check_min_gain(min_gain: float | str) -> None:
    if min_gain != "noise" and not (isinstance(min_gain, int | float) and min_gain >= 0):
        raise ValueError(f"`BatchBALD` expected `min_gain` of at least 0 nats or 'noise', but got {min_gain!r}.")
