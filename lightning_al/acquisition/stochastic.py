"""Stochastic batches: draw points with probabilities that grow with their scores, instead of taking the highest.

Axes: N points, b batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from lightning_al.acquisition.base import ScoreAcquisition, Selection, at_most, checked_scores
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.ties import in_order, tie_keys
from lightning_al.acquisition.wrapper import Wrapper
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import plain, shown

Kind = Literal["power", "softmax", "softrank"]


def stochastic(
    scores_N: Tensor,
    b: int,
    *,
    kind: Kind = "power",
    beta: float = 1.0,
    lowest_score: float = 0.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Select b points at random without replacement, those with higher scores more often.

    Andreas Kirsch, Sebastian Farquhar, Parmida Atighehchian, Andrew Jesson, Frédéric Branchaud-Charron, Yarin Gal,
    "Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning", TMLR 2023.

    The points are drawn one after the other. The next one is point i with a probability proportional to

    - ``(score_i - lowest_score) ** beta`` for "power",
    - ``exp(beta * score_i)`` for "softmax",
    - ``rank_i ** -beta`` for "softrank", where the highest score has rank 1.

    This is done at once: the batch is the top b of the logarithms plus Gumbel noise. A score speaks of one point alone,
    and taking the b highest picks alike points. Noise spreads a batch at no cost, without knowing which points are
    alike. In the paper it is as good as `BatchBALD`. Prefer `BatchBALD` if the pool has many near-duplicates.

    Time is O(N log N) and memory O(N), besides the scores.

    Args:
        scores_N: Scores ``[N]``, never NaN.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        kind: How a probability depends on a score. "power" never selects a point of the lowest score before the others.
            "softmax" depends on the unit of the scores, and "softrank" on their order only.
        beta: How strongly it does, above 0. A large one selects the b highest scores.
        lowest_score: The lowest score that there can be. Lower ones count as equal to it. Only "power" reads it.
        generator: A CPU generator for the noise; its initial seed also breaks ties. By default a new one with seed 0.

    Returns:
        Positions ``[b]`` in the order of choice, and their scores without the noise.

    Raises:
        TypeError: If scores are not a tensor.
        ValueError: If `kind` is unknown, `beta` is not a positive number, a score is NaN, or b is below 1.

    A point with a score of 0 comes last, whatever the noise:

    >>> stochastic(torch.tensor([0.0, 0.3]), 2).positions.tolist()
    [1, 0]
    """
    _check_kind(kind)
    beta = _checked_beta(beta)
    if not isinstance(scores_N, Tensor):
        raise TypeError(
            f"`stochastic` expected scores as a tensor, but got {type(scores_N).__name__}. "
            "Pass `torch.as_tensor(...)` of them."
        )
    if scores_N.dim() != 1 or bool(scores_N.isnan().any()):
        raise ValueError(
            f"`stochastic` expected scores of shape [N] without NaN, but got {list(scores_N.shape)} with "
            f"{int(scores_N.isnan().sum())} NaN. Pass one number for each point."
        )
    b = at_most(b, len(scores_N))
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    positions = _drawn_order(scores_N, kind, beta, lowest_score, generator)[:b]
    return Selection(positions, scores_N.detach()[positions])


@register("power_bald", acquisition="bald")
@register("softmax_bald", acquisition="bald", kind="softmax")
@register("softrank_bald", acquisition="bald", kind="softrank")
@register("power_margin", acquisition="margin")
@final
@dataclass(frozen=True)
class Stochastic(Wrapper):
    """Select candidates at random, those with higher scores more often; `stochastic` says more.

    Args:
        acquisition: What scores the candidates: a name or an object, of a `ScoreAcquisition`.
        kind: How the probability of a candidate depends on its score: "power", "softmax" or "softrank". "power" needs
            the `lowest_score` of the acquisition function. So `Margin`, whose scores are -(p1 - p2), draws with
            probabilities proportional to 1 - (p1 - p2).
        beta: How strongly it does, above 0. A large one selects the highest scores.

    Raises:
        TypeError: If `acquisition` selects whole batches and has no scores.
        ValueError: If `kind` is unknown, `beta` is not a positive number, or "power" cannot take the logarithm of the
            scores.

    >>> p = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> Stochastic("bald").select(Candidates(2, p.log()), 1, torch.Generator()).positions.tolist()
    [1]
    """

    kind: Kind = "power"
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kind(self.kind)
        object.__setattr__(self, "beta", _checked_beta(self.beta))
        inner = self.inner
        if not isinstance(inner, ScoreAcquisition):
            raise TypeError(
                f"`Stochastic` adds noise to scores, but `{type(inner).__name__}` gives single candidates none. Pass "
                "one that scores, such as 'bald'."
            )
        if self.kind == "power" and inner.lowest_score == -math.inf:
            raise ValueError(
                f"`Stochastic(kind='power')` takes logarithms of scores, but `{type(inner).__name__}` does not say "
                "how low its scores can be. Define its attribute `lowest_score`, or pass `kind='softrank'`."
            )

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are those of the wrapped acquisition function, without the noise.

        Raises:
            ValueError: If b is below 1, or if the wrapped acquisition function cannot score the candidates.
        """
        inner = self.inner
        assert isinstance(inner, ScoreAcquisition)
        b = at_most(b, len(candidates))
        scores_N = checked_scores(inner, candidates, generator)
        positions = _drawn_order(scores_N, self.kind, self.beta, inner.lowest_score, generator)[:b]
        return Selection(positions, scores_N[positions])


def _drawn_order(scores_N: Tensor, kind: Kind, beta: float, lowest_score: float, generator: torch.Generator) -> Tensor:
    """Return all positions ``[N]`` in the order in which they are drawn."""
    keys_N = tie_keys(len(scores_N), generator)
    # On the CPU in float64, so each device draws the same.
    wide_N = scores_N.detach().cpu().double()
    if kind == "power":
        logits_N = beta * (wide_N - lowest_score).clamp_min(0.0).log()
    elif kind == "softmax":
        logits_N = beta * wide_N
    else:
        logits_N = -beta * (in_order(wide_N, keys_N).argsort() + 1).double().log()
    gumbel_N = -torch.empty_like(wide_N).exponential_(generator=generator).log()
    return in_order(logits_N + gumbel_N, keys_N).to(scores_N.device)


def _check_kind(kind: str) -> None:
    if kind not in get_args(Kind):
        raise ValueError(
            f"`Stochastic` has no noise of the `kind` {shown(kind)}. Choose one of: {', '.join(get_args(Kind))}."
        )


def _checked_beta(beta: float) -> float:
    number = plain(beta)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ValueError(
            f"`Stochastic` expected `beta`, how strongly scores count, as a number above 0, but got {shown(beta)}. "
            "Pass 1.0, or a larger one for less noise."
        )
    return float(number)
