"""The most promising points of a pool that does not fit into memory.

Axes: N points, n of them kept, K posterior samples, C classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_al.acquisition.base import at_most, checked_chunks
from lightning_al.acquisition.batchbald.gains import entropy_rounding
from lightning_al.acquisition.ties import last
from lightning_al.information import mutual_information
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import LARGEST

UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip

NUM_TABLES = {torch.float32: 4, torch.float64: 3}
"""The most tables of its size that are held of each kept point: log-probabilities, probabilities, float64 ones."""


@final
@dataclass(frozen=True)
class Shortlist:
    """The points with the highest BALD scores, as many as a memory limit holds, and the scores of all.

    Attributes:
        candidates: All N points.
        keys_N: Their keys: of equal scores, those with the lowest keys are kept.
        scores_N: Their BALD scores in nats.
        positions_n: Positions of the kept ones, ascending.
        log_probs_n_K_C: Log-probabilities of the kept ones.
    """

    candidates: Candidates
    keys_N: Tensor
    scores_N: Tensor
    positions_n: Tensor
    log_probs_n_K_C: Tensor

    @classmethod
    def gather(cls, candidates: Candidates, b: int, max_memory: int, keys_N: Tensor) -> Shortlist:
        """Make the shortlist in one pass over the points.

        Args:
            candidates: The points.
            b: The fewest points to keep, if there are so many.
            max_memory: The most bytes for the kept points and the tables that a choice among them needs.
            keys_N: Keys of the points; see `tie_keys`.

        Raises:
            ValueError: If the limit holds fewer than b points.
        """
        N = len(candidates)
        scores: list[Tensor] = []
        kept = None
        for chunk in checked_chunks(candidates, who="batchbald", min_samples=2):
            if kept is None:
                n = min(N, max_memory // _bytes_per_point(chunk))
                keys_N = keys_N.to(chunk.device)
                kept = _Kept(_num_kept(chunk, at_most(b, N), n), chunk, keys_N)
            scores.append(mutual_information(chunk))
            kept.offer(chunk, scores[-1])
        if kept is None:
            return cls(candidates, keys_N, torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, 2, 1))
        positions_n, by_position = kept.positions_n.sort()
        return cls(candidates, keys_N, torch.cat(scores), positions_n, kept.log_probs_n_K_C[by_position])

    def highest_left_out(self, taken: list[int]) -> float:
        """Return the highest BALD score of a point that is neither kept nor taken, or -inf if there is none."""
        scores_N = self._scores_left_out(taken)
        return scores_N.max().item() if len(scores_N) else -math.inf

    @property
    def rounding(self) -> float:
        """How far rounding may put a score below the truth, in nats."""
        _, K, C = self.log_probs_n_K_C.shape
        return 2 * entropy_rounding(self.scores_N.dtype, K=K, C=C)

    def left_out(self, taken: list[int], least_score: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass over the points again.

        Yields:
            Positions and log-probabilities ``[m, K, C]`` of the points that are neither kept nor taken and whose BALD
            score is high enough, chunk by chunk.
        """
        reaches_N = self._scores_left_out(taken) >= least_score
        first = 0
        for chunk in checked_chunks(self.candidates, who="batchbald", min_samples=2):
            places = reaches_N[first : first + len(chunk)].nonzero().flatten()
            if len(places):
                yield first + places, chunk[places]
            first += len(chunk)

    def log_probs_of(self, position: int) -> Tensor:
        """Return the log-probabilities ``[K, C]`` of one point, from another pass over the points."""
        first = 0
        for chunk in checked_chunks(self.candidates, who="batchbald", min_samples=2):
            if position < first + len(chunk):
                break
            first += len(chunk)
        return chunk[position - first]

    def _scores_left_out(self, taken: list[int]) -> Tensor:
        scores_N = self.scores_N.clone()
        scores_N[self.positions_n] = -math.inf
        scores_N[taken] = -math.inf
        return scores_N


class _Kept:
    """The n points with the highest scores so far, in any order."""

    def __init__(self, n: int, like: Tensor, keys_N: Tensor) -> None:
        self.keys_N = keys_N
        self.log_probs_n_K_C = like.new_empty(n, *like.shape[1:])
        self.positions_n = torch.zeros(n, dtype=torch.int64, device=like.device)
        self.scores_n = torch.full((n,), -math.inf, dtype=like.dtype, device=like.device)
        self.num_seen = 0

    def offer(self, log_probs_m_K_C: Tensor, scores_m: Tensor) -> None:
        """Add the next points to free places first, and then in place of the points with the lowest scores."""
        n, num_free = len(self.scores_n), max(0, len(self.scores_n) - self.num_seen)
        entering = torch.arange(len(scores_m), device=scores_m.device)
        self._put(self.num_seen + entering[:num_free], entering[:num_free], log_probs_m_K_C, scores_m)
        better = entering[num_free:][scores_m[num_free:] >= self.scores_n.min()]
        positions = torch.cat([self.positions_n, self.num_seen + better])
        leaves = last(torch.cat([self.scores_n, scores_m[better]]), self.keys_N[positions], len(better))
        self._put(leaves[:n].nonzero().flatten(), better[~leaves[n:]], log_probs_m_K_C, scores_m)
        self.num_seen += len(scores_m)

    def _put(self, places: Tensor, entering: Tensor, log_probs_m_K_C: Tensor, scores_m: Tensor) -> None:
        self.log_probs_n_K_C[places] = log_probs_m_K_C[entering]
        self.positions_n[places] = self.num_seen + entering
        self.scores_n[places] = scores_m[entering]


def num_bytes(size: int | str) -> int:
    """Return a number of bytes, given as a number or as text with a unit.

    Raises:
        ValueError: If it is neither, or not positive.

    >>> num_bytes("2GB"), num_bytes("0.5 MiB"), num_bytes(1000)
    (2000000000, 524288, 1000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    if isinstance(size, bool) or match is None or match[2].upper() not in UNITS:
        raise ValueError(
            f"`max_memory` expected a number of bytes or text such as '500MB' or '2GB', but got {size!r}. Write it "
            "in B, kB, MB, GB, TB (powers of 1,000) and KiB, MiB, GiB, TiB (powers of 1,024)."
        )
    number = int(min(float(match[1]) * UNITS[match[2].upper()], LARGEST))
    if number < 1:
        raise ValueError(f"`max_memory` expected at least 1 byte, but got {size!r}. Give it room for a batch.")
    return number


def _bytes_per_point(chunk: Tensor) -> int:
    _, K, C = chunk.shape
    return NUM_TABLES[chunk.dtype] * K * C * chunk.element_size()


def _num_kept(chunk: Tensor, least: int, n: int) -> int:
    if n < least:
        raise ValueError(
            f"`max_memory` holds {n} points of {_bytes_per_point(chunk):,} bytes each, but a batch of {least} needs at "
            f"least {least * _bytes_per_point(chunk):,} bytes. Raise it, or lower `query_size` or `num_samples`."
        )
    return n
