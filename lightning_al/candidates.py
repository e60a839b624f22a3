"""The pool as an acquisition function sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor


class Candidates:
    """Offer what is known of the N unlabelled points, each thing computed only when a method reads it.

    Points are known here by their position, 0 to N - 1. What stands at a position, an acquisition function need not
    know. A pool that does not fit into memory is offered as a stream, by `Candidates.stream`.

    Args:
        size: Number of points N.
        log_probs: Log-probabilities ``[N, K, C]``, or a function that computes them.

    >>> candidates = Candidates(2, lambda: torch.log(torch.full((2, 5, 3), 1 / 3)))
    >>> len(candidates), candidates.log_probs_N_K_C.shape
    (2, torch.Size([2, 5, 3]))
    """

    def __init__(self, size: int, log_probs: Tensor | Callable[[], Tensor]) -> None:
        self._size = size
        self._log_probs = log_probs
        self._chunks: Callable[[], Iterable[Tensor]] | None = None

    @classmethod
    def stream(cls, size: int, chunks: Callable[[], Iterable[Tensor]]) -> Candidates:
        """Offer points a chunk at a time, so that a method need not hold the log-probabilities of all of them.

        Args:
            size: Number of points N.
            chunks: A function that starts a new pass over the points: it returns log-probabilities ``[n, K, C]`` of
                the first n, then of those after them, and so on, the same numbers in each pass.

        >>> pool_N_K_C = torch.log(torch.full((5, 2, 3), 1 / 3))
        >>> candidates = Candidates.stream(5, lambda: pool_N_K_C.split(2))
        >>> [len(chunk) for chunk in candidates.chunks()], len(candidates.log_probs_N_K_C)
        ([2, 2, 1], 5)
        """
        candidates = cls(size, torch.empty(0))
        candidates._chunks = chunks
        candidates._log_probs = candidates._join_chunks
        return candidates

    def __len__(self) -> int:
        return self._size

    @property
    def is_stream(self) -> bool:
        """Whether log-probabilities come in chunks, and are nowhere held for all points."""
        return self._chunks is not None and "log_probs_N_K_C" not in self.__dict__

    @cached_property
    def log_probs_N_K_C(self) -> Tensor:
        """Log-probabilities ``[N, K, C]`` of each class under each posterior sample, in nats."""
        log_probs = self._log_probs() if callable(self._log_probs) else self._log_probs
        if log_probs.dim() != 3 or log_probs.shape[0] != self._size:
            raise ValueError(
                f"`Candidates` expected log-probabilities of shape [{self._size}, K, C], "
                f"but got {list(log_probs.shape)}."
            )
        return log_probs

    def chunks(self) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, K, C]`` of consecutive points; all at once where the pool is no stream.

        Raises:
            ValueError: If the stream has chunks of another shape, or ends early or late.
        """
        if self._chunks is None or not self.is_stream:
            yield self.log_probs_N_K_C
            return
        num_points = 0
        for chunk in self._chunks():
            num_points += len(chunk)
            if chunk.dim() != 3 or num_points > self._size:
                raise ValueError(
                    f"`Candidates.stream` expected chunks of shape [n, K, C] with {self._size} points in all, but got "
                    f"one of {list(chunk.shape)} that ends at {num_points} points."
                )
            yield chunk
        if num_points < self._size:
            raise ValueError(
                f"`Candidates.stream` expected {self._size} points in all, but the pass ended after {num_points}. "
                "Pass a function that starts a new pass each time it is called, not an iterator."
            )

    def _join_chunks(self) -> Tensor:
        """Fill one table, so that chunks and table are never held side by side."""
        log_probs_N_K_C, first = torch.empty(0, 0, 0), 0
        for chunk in self.chunks():
            if first == 0:
                log_probs_N_K_C = chunk.new_empty(self._size, *chunk.shape[1:])
            log_probs_N_K_C[first : first + len(chunk)] = chunk
            first += len(chunk)
        return log_probs_N_K_C
