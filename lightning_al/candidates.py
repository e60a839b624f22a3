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
        last_layer: A function that starts a pass over the points: it returns embeddings ``[n, D]`` and residuals
            ``[n, C]`` of the first n, then of those after them, and so on; `LastLayer` says what they are.

    >>> candidates = Candidates(2, lambda: torch.log(torch.full((2, 5, 3), 1 / 3)))
    >>> len(candidates), candidates.log_probs_N_K_C.shape
    (2, torch.Size([2, 5, 3]))
    """

    def __init__(
        self,
        size: int,
        log_probs: Tensor | Callable[[], Tensor],
        last_layer: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
    ) -> None:
        self._size = size
        self._log_probs = log_probs
        self._last_layer = last_layer
        self._chunks: Callable[[], Iterable[Tensor]] | None = None

    @classmethod
    def stream(
        cls,
        size: int,
        chunks: Callable[[], Iterable[Tensor]],
        last_layer: Callable[[], Iterable[tuple[Tensor, ...]]] | None = None,
    ) -> Candidates:
        """Offer points a chunk at a time, so that a method need not hold the log-probabilities of all of them.

        Args:
            size: Number of points N.
            chunks: A function that starts a new pass over the points: it returns log-probabilities ``[n, K, C]`` of
                the first n, then of those after them, and so on, the same numbers in each pass.
            last_layer: As for `Candidates`.

        >>> pool_N_K_C = torch.log(torch.full((5, 2, 3), 1 / 3))
        >>> candidates = Candidates.stream(5, lambda: pool_N_K_C.split(2))
        >>> [len(chunk) for chunk in candidates.chunks()], len(candidates.log_probs_N_K_C)
        ([2, 2, 1], 5)
        """
        candidates = cls(size, torch.empty(0), last_layer)
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
        if not isinstance(log_probs, Tensor):
            raise TypeError(
                f"`Candidates` expected a tensor of log-probabilities, but got {type(log_probs).__name__}. "
                "Pass `torch.as_tensor(...)` of them."
            )
        if log_probs.dim() != 3 or log_probs.shape[0] != self._size:
            raise ValueError(
                f"`Candidates` expected log-probabilities of shape [{self._size}, K, C], "
                f"but got {list(log_probs.shape)}. Return a row for each point."
            )
        return log_probs

    @property
    def embeddings_N_D(self) -> Tensor:
        """Embeddings ``[N, D]``: what the network's last linear layer, or the one named, is given without noise.

        Raises:
            ValueError: If none were offered.
        """
        return self._embeddings_and_residuals[0]

    @property
    def residuals_N_C(self) -> Tensor:
        """Residuals ``[N, C]``: times the embeddings, the gradients of the last layer's weights; see `LastLayer`.

        Raises:
            ValueError: If none were offered.
        """
        return self._embeddings_and_residuals[1]

    @cached_property
    def _embeddings_and_residuals(self) -> tuple[Tensor, Tensor]:
        """Both tables, since one pass gives both."""
        tables: list[Tensor] = []
        first = 0
        for rows in self.last_layer_chunks():
            tables = tables or [values.new_empty(self._size, *values.shape[1:]) for values in rows]
            for table, values in zip(tables, rows, strict=True):
                if values.shape[1:] != table.shape[1:]:
                    raise ValueError(
                        f"`Candidates` expected embeddings of one size for all points, but got {table.shape[1]} "
                        f"numbers for some and {values.shape[1]} for others. Name a layer that is given the same for "
                        "inputs of any size, by `LastLayer(layer=...)`."
                    )
                table[first : first + len(values)] = values
            first += len(rows[0])
        embeddings_N_D, residuals_N_C = tables or [torch.empty(0, 0)] * 2
        return embeddings_N_D, residuals_N_C

    def last_layer_chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` of consecutive points, in a new pass that keeps nothing.

        Raises:
            ValueError: If none were offered, or if the pass ends early or late.
        """
        if self._last_layer is None:
            raise ValueError(
                "The acquisition function reads embeddings, but these `Candidates` were made without. Pass "
                "`last_layer=`, a function that returns embeddings [n, D] and residuals [n, C] chunk by chunk."
            )
        num_points = 0
        for embeddings_n_D, residuals_n_C in self._last_layer():
            num_points += len(embeddings_n_D)
            if num_points > self._size:
                break
            yield embeddings_n_D, residuals_n_C
        if num_points != self._size:
            raise ValueError(
                f"`Candidates` expected embeddings of {self._size} points, but the pass had "
                f"{'more' if num_points > self._size else num_points}. Yield each point's once."
            )

    def chunks(self) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, K, C]`` of consecutive points; all at once where the pool is no stream.

        Raises:
            TypeError: If a chunk is no tensor.
            ValueError: If the stream has chunks of another shape, chunks that differ, or ends early or late.
        """
        if self._chunks is None or not self.is_stream:
            yield self.log_probs_N_K_C
            return
        num_points, kind = 0, None
        for chunk in self._chunks():
            if not isinstance(chunk, Tensor):
                raise TypeError(
                    f"`Candidates.stream` expected chunks that are tensors of log-probabilities, but got "
                    f"{type(chunk).__name__}. Pass a function that yields tensors [n, K, C]."
                )
            num_points += chunk.shape[0] if chunk.dim() == 3 else 0
            if chunk.dim() != 3 or num_points > self._size:
                raise ValueError(
                    f"`Candidates.stream` expected chunks of shape [n, K, C] with {self._size} points in all, but got "
                    f"one of {list(chunk.shape)} that ends at {num_points} points. "
                    "Yield each point once."
                )
            kind = kind or _kind(chunk)
            if _kind(chunk) != kind:
                raise ValueError(
                    f"`Candidates.stream` expected chunks of one dtype, device, K and C, those of the first, "
                    f"{kind}, but got one of {_kind(chunk)}. Make all of them of one form."
                )
            yield chunk
        if num_points < self._size:
            raise ValueError(
                f"`Candidates.stream` expected {self._size} points in all, but the pass ended after {num_points}. "
                "Pass a function that starts a new pass each time it is called, not an iterator."
            )

    def _join_chunks(self) -> Tensor:
        """Fill one table, so that chunks and table are never held side by side."""
        # Where there is no chunk, any number of samples and classes is right.
        log_probs_N_K_C, first = torch.empty(0, 2, 2), 0
        for chunk in self.chunks():
            if first == 0:
                log_probs_N_K_C = chunk.new_empty(self._size, *chunk.shape[1:])
            log_probs_N_K_C[first : first + len(chunk)] = chunk
            first += len(chunk)
        return log_probs_N_K_C


def _kind(chunk: Tensor) -> str:
    """Say what all chunks of a stream have in common."""
    return f"{chunk.dtype} on {chunk.device} with K={chunk.shape[1]} and C={chunk.shape[2]}"
