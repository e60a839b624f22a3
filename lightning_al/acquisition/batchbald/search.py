"""Find the point whose label would add most, without computing every point's gain.

Axes: N points, n of them, K posterior samples, C classes, M configurations of the labels chosen so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from lightning_al.acquisition.batchbald.configurations import HIDDEN, Configurations, can_be_asked
from lightning_al.acquisition.batchbald.gains import entropy_rounding, exact, gains, num_per_block, probs_and_entropies
from lightning_al.acquisition.batchbald.levels import Level, Levels
from lightning_al.acquisition.ties import EQUAL_GAINS, Tied, first_of

NO_ENTROPY = 1e-15
"""The largest entropy in nats that may be a rounding error of float64."""

FAINT = 0.05
"""The search switches to float64 once rounding hides more than this share of the entropy left."""

MOST = 0.9
"""If more than this share of the points is needed, all are computed."""

FEW = 32
"""So many points are computed in full in about the time that bounds for them would take."""

NUM_TRIALS = 12
"""The number of points whose bounds a level lowers first."""

HOPEFUL = 0.1
"""A level is asked of the points that are no trials if it would exclude them by lowering their bounds in proportion as
it did those of the tenth of the trials that it lowered most: it costs a fraction of the next level."""

NUM_PROBES = 2
"""The number of likely points that are computed in full, to find the gain that others have to reach. By the bounds of
the first level, two are enough: their excess over the gains is about the same for all points."""

NUM_FINALISTS = 16
"""The number of points that a GPU always computes in float64, to avoid a synchronisation."""


@final
class GainSearch:
    """Find the point with the highest gain without computing every gain in full.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]`` of the points.
        dtype: float32 or float64. Once rounding in float32 hides which point is best, the search switches to float64.
        keys_N: Of points with equal gains and equal BALD scores, the one with the lowest key comes first. By default
            keys are positions.

    Attributes:
        probs_N_C_K: Probabilities, laid out for a product with posteriors over samples. They are at least NEGLIGIBLE,
            so that no joint probability is zero and every logarithm is finite.
        entropies_N_K: The entropy of each point's label under each posterior sample, in nats.
        balds_N: The BALD score of each point in nats: its gain before any point is chosen.
        latest_N: The last upper bound of each point's gain in nats. If all configurations are enumerated, gains only
            shrink as points are chosen, so it bounds later gains too. If they are drawn, it only says where to look
            first.

    Two samples that flatly disagree about the second point, and not about the first:

    >>> p = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> search = GainSearch(torch.stack([p, 1 - p], dim=-1).log(), torch.float32)
    >>> configurations = Configurations.before_any_label(2)
    >>> search.best(configurations, taken=[]), round(search.exact_gain(1, configurations), 4)
    (1, 0.6931)
    """

    def __init__(self, log_probs_N_K_C: Tensor, dtype: torch.dtype, keys_N: Tensor | None = None) -> None:
        is_on_mps = log_probs_N_K_C.device.type == "mps"
        self.log_probs_N_K_C = exact(log_probs_N_K_C) if is_on_mps else log_probs_N_K_C
        keys_N = torch.arange(len(log_probs_N_K_C)) if keys_N is None else keys_N
        self.keys_N = keys_N.to(self.log_probs_N_K_C.device)
        self._tabulate(dtype)

    def _tabulate(self, dtype: torch.dtype) -> None:
        N, K, C = self.log_probs_N_K_C.shape
        self.probs_N_C_K = self.log_probs_N_K_C.new_empty(N, C, K, dtype=dtype)
        self.entropies_N_K = self.log_probs_N_K_C.new_empty(N, K, dtype=dtype)
        # In blocks, so only the given and the kept table have the pool's size.
        num_points = num_per_block(K * C, self.probs_N_C_K)
        for start in range(0, N, num_points):
            block = slice(start, start + num_points)
            log_probs_n_K_C = self.log_probs_N_K_C[block].to(dtype)
            self.probs_N_C_K[block], self.entropies_N_K[block] = probs_and_entropies(log_probs_n_K_C)
        self.balds_N = self._gains(None, self._nothing_known.to(dtype))
        self.latest_N = self.balds_N.clone()
        self._mean_of_latest_K = self._nothing_known.mean_K

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the gains."""
        return self.entropies_N_K.dtype

    def best(
        self,
        configurations: Configurations,
        taken: Sequence[int] = (),
        *,
        to_reach: float = -math.inf,
        levels: Levels | None = None,
    ) -> int | None:
        """Return the position of the highest gain; of equal gains, of the highest BALD score, then of the lowest key.

        Upper bounds exclude most points. Gains that rounding cannot distinguish are computed again in float64.

        Args:
            configurations: The configurations of the points chosen so far.
            taken: Positions to exclude, not all.
            to_reach: The gain in nats that a point must have.
            levels: The result of `levels` for these configurations, if it was called already.

        Returns:
            The position, or None if certainly no point reaches the gain.
        """
        # Each bound needs the number of points it leaves. A GPU computes all points faster than it synchronises.
        if not can_be_asked(self.entropies_N_K):
            position = self._best_of_all(configurations, self._is_open_N(taken))
            if position is not None:
                return position
        finalists_n = self._finalists(configurations, taken, to_reach, levels)
        if len(finalists_n) <= 1:
            return int(finalists_n) if len(finalists_n) else None
        return self._tied(finalists_n, configurations).first

    def tied(
        self,
        configurations: Configurations,
        taken: Sequence[int] = (),
        *,
        to_reach: float = -math.inf,
        levels: Levels | None = None,
    ) -> Tied | None:
        """Return all points with the highest gain, among which `best` chooses. The arguments are the same."""
        finalists_n = self._finalists(configurations, taken, to_reach, levels)
        return self._tied(finalists_n, configurations) if len(finalists_n) else None

    def levels(self, configurations: Configurations) -> Levels:
        """Return the configurations for the gains and for their bounds, in the precision of the search."""
        return Levels(configurations.undecided(self._least_entropy(configurations)), self.dtype)

    def exact_gain(self, position: int, configurations: Configurations) -> float:
        """Return the gain in nats of one point, computed in float64."""
        position_1 = torch.tensor([position], device=self.entropies_N_K.device)
        return float(self._exact_gains(position_1, configurations.undecided(NO_ENTROPY)))

    def margin(self, configurations: Configurations) -> Tensor:
        """Return how far apart two computed gains must be, in nats, for their order to be certain."""
        least_entropy = self._least_entropy(configurations)
        is_kept_M = configurations.is_undecided_M(least_entropy)
        rounding = least_entropy * (configurations.weights_M @ is_kept_M.double())
        neglected = configurations.weights_M @ configurations.entropies_M.masked_fill(is_kept_M, 0.0)
        return rounding + (1 + HIDDEN) * neglected + EQUAL_GAINS

    @property
    def _nothing_known(self) -> Configurations:
        return Configurations.before_any_label(self.entropies_N_K.shape[1], self.entropies_N_K.device)

    def _is_open_N(self, taken: Sequence[int]) -> Tensor:
        is_open_N = torch.ones(len(self.entropies_N_K), dtype=torch.bool, device=self.entropies_N_K.device)
        is_open_N[list(taken)] = False
        return is_open_N

    def _least_entropy(self, configurations: Configurations) -> float:
        """Return twice the rounding error of a gain's entropies in nats; smaller entropies can be left out."""
        _, C, K = self.probs_N_C_K.shape
        return 2 * entropy_rounding(self.dtype, K=K, C=C, M=len(configurations))

    def _is_too_coarse(self, configurations: Configurations) -> Tensor:
        """Return whether so little is left to learn that rounding would hide the best point."""
        entropy_left = configurations.entropy_left
        hides = self.margin(configurations) > FAINT * entropy_left
        return hides & (entropy_left > EQUAL_GAINS) & (self.dtype != torch.float64)

    def _finalists(
        self,
        configurations: Configurations,
        taken: Sequence[int],
        to_reach: float,
        levels: Levels | None,
    ) -> Tensor:
        """Return the positions of all gains within a margin of the highest, in ascending order.

        Only points whose bound reaches the best gain so far are computed, with bounds from merged configurations. If
        nothing is left to learn, all gains are equal, and the positions are those of the highest BALD scores.
        """
        if self._is_too_coarse(configurations):
            self._tabulate(torch.float64)
            levels = None
        open_n = self._is_open_N(taken).nonzero().flatten()
        if configurations.entropy_left < EQUAL_GAINS:
            balds_n = self.balds_N[open_n]
            return open_n[balds_n >= balds_n.max() - self.margin(self._nothing_known)]
        margin = self.margin(configurations)
        ceilings_n = configurations.gain_per_bald * self.balds_N[open_n] + margin
        if not configurations.sampled:
            # 1, but where the probabilities of a point that was chosen do not sum to 1.
            growth = (configurations.mean_K / self._mean_of_latest_K).max()
            ceilings_n = torch.minimum(ceilings_n, growth * self.latest_N[open_n])
        levels = self.levels(configurations) if levels is None else levels
        self._mean_of_latest_K = configurations.mean_K
        return self._search(open_n, ceilings_n, levels, margin, to_reach)

    def _best_of_all(self, configurations: Configurations, is_open_N: Tensor) -> int | None:
        """Compute all points, so a GPU synchronises only once.

        Returns:
            The position, or None if float32 is too coarse.
        """
        margin = self.margin(configurations)
        undecided = configurations.undecided(self._least_entropy(configurations), drop=False)
        gains_N = self._gains(None, undecided.to(self.dtype)).masked_fill(~is_open_N, -math.inf)
        gains_n, finalists_n = gains_N.topk(min(NUM_FINALISTS, len(gains_N)))
        reaches_n = gains_n >= gains_n[0] - margin
        exact_gains_n = self._exact_gains(finalists_n, configurations.undecided(NO_ENTROPY, drop=False))
        exact_gains_n = exact_gains_n.masked_fill(~reaches_n, -math.inf)
        exact_balds_n = self._exact_gains(finalists_n, self._nothing_known)
        (position,) = finalists_n[first_of(exact_gains_n, exact_balds_n, self.keys_N[finalists_n])]
        answer = torch.stack([position, reaches_n[-1].long(), self._is_too_coarse(configurations).long()])
        best, all_reach, is_too_coarse = answer.tolist()
        if is_too_coarse:
            return None
        if all_reach and len(gains_n) < len(gains_N):
            # More points may reach it.
            return self._tied((gains_N >= gains_n[0] - margin).nonzero().flatten(), configurations).first
        return int(best)

    def _tied(self, finalists_n: Tensor, configurations: Configurations) -> Tied:
        """Return the points with the highest gain among the finalists."""
        if len(finalists_n) > FEW and self.dtype != torch.float64:
            rivals = GainSearch(self.log_probs_N_K_C[finalists_n], torch.float64, self.keys_N[finalists_n])
            tied = rivals.tied(configurations)
            assert tied is not None
            return tied.at(finalists_n)
        gains_n = self._exact_gains(finalists_n, configurations.undecided(NO_ENTROPY))
        is_best_n = gains_n >= gains_n.max() - EQUAL_GAINS
        positions_n = finalists_n[is_best_n]
        balds_n = self._exact_gains(positions_n, self._nothing_known)
        return Tied(positions_n, gains_n[is_best_n], balds_n, self.keys_N[positions_n])

    def _search(
        self,
        open_n: Tensor,
        ceilings_n: Tensor,
        levels: Levels,
        margin: Tensor,
        to_reach: float,
    ) -> Tensor:
        """Compute the gains that bounds do not exclude, and return the positions of those near the highest.

        The bounds of the first level show which gains are high. With two of these computed, the others have a gain to
        reach, and each further level excludes points that do not reach it.
        """
        bounds_n, gains_n = ceilings_n, torch.full_like(ceilings_n, -math.inf)
        # What pairs add to the bounds, and the number of levels whose pairs were added.
        from_pairs_n, num_levels_n = torch.zeros_like(ceilings_n), torch.zeros_like(open_n)
        asked: list[Level] = []

        def evaluate(places: Tensor) -> None:
            gains_n[places] = self._gains(open_n[places], levels.whole)

        def lower(places: Tensor) -> None:
            for number, level in enumerate(asked):
                lacking = places[num_levels_n[places] <= number]
                from_pairs_n[lacking] += self._gains(open_n[lacking], level.pairs)
            num_levels_n[places] = len(asked)
            bounds_n[places] = from_pairs_n[places] + self._gains(open_n[places], asked[-1].rest)

        def least() -> Tensor:
            return gains_n.max().clamp_min(to_reach) - margin

        def left() -> Tensor:
            """Return the places of the points that may reach the least gain and are not computed yet."""
            return ((bounds_n >= least()) & (gains_n == -math.inf)).nonzero().flatten()

        def probe(promise_n: Tensor) -> None:
            places = left()
            evaluate(places[promise_n[places].topk(min(NUM_PROBES, len(places))).indices])

        probe(self.latest_N[open_n])
        first_n = None
        for level in levels:
            places = left()
            if len(places) <= FEW:
                break
            asked.append(level)
            if first_n is None:
                lower(places)
                first_n = bounds_n.clone()
                probe(first_n)
                continue
            is_trial_n = torch.zeros_like(places, dtype=torch.bool)
            is_trial_n[:: max(1, len(places) // NUM_TRIALS)] = True
            trial, others = places[is_trial_n], places[~is_trial_n]
            lower(trial)
            share = (bounds_n[trial] / first_n[trial]).kthvalue(1 + int(HOPEFUL * len(trial))).values
            lower(others[share * first_n[others] <= least()])

        evaluate(left())
        self.latest_N[open_n] = torch.where(gains_n > -math.inf, gains_n, bounds_n) + margin
        return open_n[gains_n >= least()]

    def _gains(self, positions_n: Tensor | None, configurations: Configurations) -> Tensor:
        if positions_n is not None and not (len(positions_n) and len(configurations)):
            return self.entropies_N_K.new_zeros(len(positions_n))
        # If nearly all points are needed, computing all is cheaper than copying the table.
        if positions_n is not None and len(positions_n) > MOST * len(self.entropies_N_K):
            return gains(self.probs_N_C_K, self.entropies_N_K, None, configurations)[positions_n]
        return gains(self.probs_N_C_K, self.entropies_N_K, positions_n, configurations)

    def _exact_gains(self, positions_n: Tensor, configurations: Configurations) -> Tensor:
        """Compute gains in float64, without a second table of the pool's size."""
        configurations = configurations.to(torch.float64)
        gains_n = torch.empty(len(positions_n), dtype=torch.float64, device=self.entropies_N_K.device)
        num_points = num_per_block(self.probs_N_C_K[0].numel(), gains_n)
        for start in range(0, len(positions_n), num_points):
            block = slice(start, start + num_points)
            probs_n_C_K, entropies_n_K = probs_and_entropies(exact(self.log_probs_N_K_C[positions_n[block]]))
            gains_n[block] = gains(probs_n_C_K, entropies_n_K, None, configurations)
        return gains_n
