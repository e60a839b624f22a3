"""The pool as an acquisition function sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor


class Candidates:
    """Offer what is known of the N unlabelled points, each thing computed only when a method reads it.

    Points are known here by their position, 0 to N - 1. What stands at a position, an acquisition function need not
    know.

    Args:
        size: Number of points N.
        log_probs: Log-probabilities ``[N, K, C]``, or a function that computes them.

    >>> import torch
    >>> candidates = Candidates(2, lambda: torch.log(torch.full((2, 5, 3), 1 / 3)))
    >>> len(candidates), candidates.log_probs_N_K_C.shape
    (2, torch.Size([2, 5, 3]))
    """

    def __init__(self, size: int, log_probs: Tensor | Callable[[], Tensor]) -> None:
        self._size = size
        self._log_probs = log_probs

    def __len__(self) -> int:
        return self._size

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
