"""Pools of which everything can be read, and what an acquisition function reads of them.

Axes: N points, K posterior samples, C classes, D dimensions.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from lightning_al.acquisition import create
from lightning_al.points import Candidates, Points

NUM_LABELLED, C, D = 4, 3, 5


def others(size: int, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The arguments of `Candidates` besides log-probabilities: features, gradients and labelled points."""
    labelled = Points(
        NUM_LABELLED,
        torch.randn(NUM_LABELLED, 6, 4, generator=torch.Generator().manual_seed(1)).log_softmax(-1).to(device),
        labels=torch.arange(NUM_LABELLED, device=device) % C,
        **_tables(NUM_LABELLED, device, seed=2),
    )
    return {**_tables(size, device, seed=3), "labelled": labelled}


def _tables(size: int, device: torch.device | str, *, seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    embeddings_N_D = torch.randn(size, D, generator=generator).to(device)
    probs_N_C = torch.randn(size, C, generator=generator).softmax(1).to(device)
    residuals_N_C = probs_N_C - torch.nn.functional.one_hot(probs_N_C.argmax(1), C)
    return {
        "features": embeddings_N_D,
        "groups": torch.arange(size, device=device) % 3,
        "last_layer": lambda: [(embeddings_N_D, residuals_N_C)],
    }


def pool(log_probs_N_K_C: Tensor, *, chunk_size: int | None = None) -> Candidates:
    """Candidates with all tables; their log-probabilities come whole or as a stream."""
    size = len(log_probs_N_K_C)
    given = others(size, log_probs_N_K_C.device)
    if chunk_size is None:
        return Candidates(size, log_probs_N_K_C, **given)
    return Candidates.stream(size, lambda: log_probs_N_K_C.split(chunk_size), **given)


@cache
def reads_log_probs(name: str) -> bool:
    """Whether an acquisition function reads log-probabilities."""
    read = []

    def log_probs() -> Tensor:
        read.append(True)
        return torch.rand(6, 6, 4).log_softmax(-1)

    create(name).select(Candidates(6, log_probs, **others(6)), 2, torch.Generator())
    return bool(read)
