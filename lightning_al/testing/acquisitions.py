"""Check an acquisition function.

Axes: N candidates, K posterior samples, C classes, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.acquisition import Acquisition, Selection
from lightning_al.acquisition.base import plain_metrics
from lightning_al.points import Candidates, Points
from lightning_al.testing.require import TOLERANCE, global_generator_unused, require

N, K, C, D = 24, 6, 4, 5


def check_acquisition(acquisition: Acquisition, *, num_samples: int = K) -> None:
    """Check that an acquisition function keeps the promises of `Acquisition.select`, on several small pools.

    The predictions are random, certain, or the same for all candidates. They come as one table and as streams with
    several chunk sizes. Embeddings, residuals, features, groups, labelled points and target inputs can be read.

    Args:
        acquisition: The acquisition function to check.
        num_samples: Number of posterior samples K of the predictions.

    Raises:
        AssertionError: If it breaks a promise. The message names the fault: it repeats a position, selects too few,
            scores NaN, ignores the generator or draws from another one, depends on the size of chunks, or changes its
            input.

    >>> from lightning_al import BALD
    >>> check_acquisition(BALD())
    """
    who = type(acquisition).__name__
    num_samples = max(num_samples, acquisition.min_samples)
    for kind in ("random", "certain", "the same"):
        tables = _tables(kind, num_samples)
        for b in (1, 5, N, N + 3):
            _check_selection(acquisition, tables, b, kind)
    tables = _tables("random", num_samples)
    first = _select(acquisition, tables)
    torch.manual_seed(1)
    require(
        _same(first, _select(acquisition, tables)),
        f"`{who}` ignores the generator: with the same state of the generator, two calls select differently, "
        f"{first.positions.tolist()} and others. Draw from the `generator` that `select` is given, and from no other.",
    )
    for size in (1, 7):
        streamed = _select(acquisition, tables, chunk=size)
        require(
            _same(first, streamed),
            f"`{who}` depends on the batch: it selects {first.positions.tolist()} from a table, but "
            f"{streamed.positions.tolist()} from a stream in chunks of {size}. Score each point by itself.",
        )
    alike = _tables("the same", num_samples)
    picks = {tuple(_select(acquisition, alike, seed=seed).positions.tolist()) for seed in range(4)}
    in_order = {tuple(range(5)), tuple(range(N - 1, N - 6, -1))}
    require(
        len(picks) > 1 or picks <= in_order,
        f"`{who}` ignores the generator: of candidates that are all the same it selects {picks}, whatever the "
        "generator's state. Draw from the `generator` that `select` is given, not from one with a seed of its own.",
    )


def _check_selection(acquisition: Acquisition, tables: dict[str, Tensor], b: int, kind: str) -> None:
    who, expected = type(acquisition).__name__, min(b, N)
    kept = {name: table.clone() for name, table in tables.items()}
    with global_generator_unused(who):
        selection = _select(acquisition, tables, b)
    positions, scores = selection.positions.tolist(), selection.scores.tolist()
    where = f"for b = {b} among {N} candidates ({kind})"
    require(
        len(positions) == expected,
        f"`{who}` selects {len(positions)} candidates {where}, not {expected}. Select b, or all if there are fewer.",
    )
    require(
        len(set(positions)) == len(positions),
        f"`{who}` repeats a position {where}: {positions}. Select each candidate once, ties and zeros included.",
    )
    require(
        all(isinstance(position, int) and 0 <= position < N for position in positions),
        f"`{who}` selects positions that do not exist {where}: {positions}. Return int64 positions from 0 to {N - 1}.",
    )
    require(
        len(scores) == expected and not selection.scores.isnan().any(),
        f"`{who}` gives scores {scores} {where}. Return one for each pick, none of them NaN.",
    )
    plain_metrics(acquisition, selection.metrics)
    require(
        all(torch.equal(table, tables[name]) for name, table in kept.items()),
        f"`{who}` changes its input in place. Work on a copy of what the candidates offer.",
    )


def _select(
    acquisition: Acquisition, tables: dict[str, Tensor], b: int = 5, *, chunk: int | None = None, seed: int = 0
) -> Selection:
    return acquisition.select(_candidates(tables, chunk), b, torch.Generator().manual_seed(seed))


def _same(one: Selection, other: Selection) -> bool:
    return torch.equal(one.positions, other.positions) and torch.allclose(
        one.scores.double(), other.scores.double(), atol=TOLERANCE, equal_nan=True
    )


def _candidates(tables: dict[str, Tensor], chunk: int | None) -> Candidates:
    """Return candidates that read the tables whole, or in chunks of a given size."""

    def last_layer(size: int) -> Iterator[tuple[Tensor, ...]]:
        return zip(tables["embeddings"].split(size), tables["residuals"].split(size), strict=True)

    others = Points(
        7,
        tables["other log_probs"],
        lambda: [(tables["other embeddings"], torch.zeros(7, C))],
        labels=torch.arange(7) % C,
        features=tables["other embeddings"],
        groups=torch.arange(7) % 3,
    )
    given: dict[str, Any] = {
        "features": tables["embeddings"],
        "groups": torch.arange(N) % 3,
        "labelled": others,
        "target_inputs": others,
    }
    if chunk is None:
        return Candidates(N, tables["log_probs"], lambda: last_layer(N), **given)
    return Candidates.stream(N, lambda: tables["log_probs"].split(chunk), lambda: last_layer(chunk), **given)


def _tables(kind: str, num_samples: int) -> dict[str, Tensor]:
    """Return predictions ``[N, K, C]``, embeddings and residuals of the candidates, and the same of 7 other points."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(N, num_samples, C, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(N, D, generator=generator)
    if kind == "the same":
        logits, embeddings = logits[:1].expand_as(logits), embeddings[:1].expand_as(embeddings)
    log_probs = logits.log_softmax(-1)
    if kind == "certain":
        log_probs = nn.functional.one_hot(logits.argmax(-1), C).double().log()
    mean = log_probs.exp().mean(1)
    return {
        "log_probs": log_probs.contiguous(),
        "embeddings": embeddings.contiguous(),
        "residuals": (mean - nn.functional.one_hot(mean.argmax(1), C)).float(),
        "other log_probs": torch.randn(7, num_samples, C, generator=generator, dtype=torch.float64).log_softmax(-1),
        "other embeddings": torch.randn(7, D, generator=generator),
    }
