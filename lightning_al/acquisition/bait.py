"""BAIT: query the points whose labels would tell most about the last layer, as far as predictions depend on it.

Axes: N points, n labelled ones, D embedding dimensions, C classes, k classes kept, b batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, Selection, at_most
from lightning_al.acquisition.batchbald.shortlist import num_bytes
from lightning_al.acquisition.fisher import FisherTables, Information, factors, sum_of_fishers
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_table, in_float64
from lightning_al.acquisition.ties import tie_keys
from lightning_al.points import Candidates, Points
from lightning_al.values.whole_numbers import optional_whole_number, plain

EQUAL = 1e-5
"""Gains that differ by a smaller share count as equal: embeddings in float32 do not tell more."""


def bait(
    embeddings_N_D: Tensor,
    probs_N_C: Tensor,
    b: int,
    *,
    labelled: tuple[Tensor, Tensor] | None = None,
    prior_precision: float = 1.0,
    num_classes: int | None = None,
    max_memory: int | str = "4GB",
    generator: torch.Generator,
) -> Selection:
    """Select b points that make tr(M^-1 F) small, M being the Fisher information of the labelled points and the batch.

    The Fisher information of the last layer's weights at a point is F_i = (diag(p_i) - p_i p_i^T) (x) e_i e_i^T. F is
    the mean of F_i over all points, labelled or not, and M = lambda I + sum F_i over the labelled points and the picks.
    2b points are added greedily, each lowering tr(M^-1 F) most. Then b of these are removed, each raising it least.
    M^-1 is updated by the Woodbury identity. All is computed in float64, since products of long
    embeddings cancel. It suffices for lengths of up to about 4,000 times the root of lambda. Scale longer ones down.

    Jordan T. Ash, Surbhi Goel, Akshay Krishnamurthy, Sham Kakade, "Gone Fishing: Neural Active Learning with Fisher
    Embeddings", NeurIPS 2021. Here, labelled points and picks count equally in M, as labels do in the likelihood. The
    authors' code gives a pick b times the weight of a labelled point.

    Time is O(N k^2 D^2) once, and O(N k^2 (D + k)) for each of the 2b steps. Memory is O(N k^2 + (k D)^2): about 700 MB
    for N = 100,000, k = 10, D = 128. Use it with few classes and a small last layer, where its authors found it better
    than BADGE. With many classes or points, BADGE costs far less.

    Args:
        embeddings_N_D: Embeddings ``[N, D]``, the inputs of the last layer.
        probs_N_C: Probabilities ``[N, C]`` of the classes.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled: Embeddings ``[n, D]`` and probabilities ``[n, C]`` of the labelled points, if there are any.
        prior_precision: Lambda, above 0.
        num_classes: The number k of classes whose weights are considered, those with the largest sum of p (1 - p). By
            default, all are.
        max_memory: The most bytes to use, as a number or as text such as "2GB".
        generator: A CPU generator, whose initial seed breaks ties. No numbers are drawn.

    Returns:
        Positions ``[b]`` in the order in which they were added. The scores say by how much each lowered tr(M^-1 F) when
        it was added, in float64.

    Raises:
        ValueError: If a number is not finite, if tables do not fit together, if an option is out of range, or if
            `max_memory` is too small.

    The first two points are certain and tell nothing, whatever their embedding is:

    >>> embeddings = torch.tensor([[9.0, 0.0], [0.0, 9.0], [1.0, 0.0]])
    >>> probs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    >>> selection = bait(embeddings, probs, 1, generator=torch.Generator().manual_seed(0))
    >>> selection.positions.tolist(), [round(score, 4) for score in selection.scores.tolist()]
    ([2], [0.0556])

    F has one eigenvalue above 0, 1/2 for the third point and so 1/6 on average. Its label lowers tr(M^-1 F) from 1/6 to
    1/6 / (1 + 1/2) = 1/9, by 1/18.
    """
    embeddings_N_D, probs_N_C = _checked(embeddings_N_D, probs_N_C)
    D, C = embeddings_N_D.shape[1], probs_N_C.shape[1]
    prior_precision = _checked_precision(prior_precision)
    num_classes = optional_whole_number("BAIT", "num_classes", num_classes)
    num_classes = C if num_classes is None else min(num_classes, C)
    b = at_most(b, len(embeddings_N_D))
    _check_memory(len(embeddings_N_D), D, num_classes, max_memory)
    if labelled is None:
        labelled = embeddings_N_D[:0], probs_N_C[:0]
    embeddings_n_D, probs_n_C = (table.to(embeddings_N_D) for table in _checked(*labelled))
    if (embeddings_n_D.shape[1], probs_n_C.shape[1]) != (D, C):
        raise ValueError(
            f"`bait` expected labelled points with {D} embedding dimensions and {C} classes, as the others have, but "
            f"got {embeddings_n_D.shape[1]} and {probs_n_C.shape[1]}. Pass tables of the same network."
        )
    kept = _uncertain_classes(torch.cat([probs_N_C, probs_n_C]), num_classes)
    probs_N_k, probs_n_k = probs_N_C[:, kept], probs_n_C[:, kept]
    information, fisher = sum_of_fishers(embeddings_n_D, probs_n_k), sum_of_fishers(embeddings_N_D, probs_N_k)
    fisher = (fisher + information) / max(1, len(embeddings_N_D) + len(embeddings_n_D))
    information.diagonal().add_(prior_precision)
    tables = FisherTables(embeddings_N_D, factors(probs_N_k), Information(information, fisher))
    return _forward_and_backward(tables, b, tie_keys(len(embeddings_N_D), generator))


def _forward_and_backward(tables: FisherTables, b: int, keys_N: Tensor) -> Selection:
    N, device = len(keys_N), tables.embeddings_N_D.device
    keys_N = keys_N.to(device)
    is_left_N = torch.ones(N, dtype=torch.bool, device=device)
    added: list[int] = []
    gains: list[Tensor] = []
    for _ in range(min(2 * b, N)):
        gains_N = tables.changes(sign=1).masked_fill(~is_left_N, -torch.inf)
        position = _best(gains_N, keys_N)
        added.append(position)
        gains.append(gains_N[position])
        is_left_N[position] = False
        tables.update(position, sign=1)

    batch = tables.at(added)
    is_kept_m = torch.ones(len(added), dtype=torch.bool, device=device)
    for _ in range(len(added) - b):
        losses_m = batch.changes(sign=-1).masked_fill(~is_kept_m, torch.inf)
        place = _best(-losses_m, keys_N[added])
        is_kept_m[place] = False
        batch.update(place, sign=-1)
    positions = torch.tensor(added, dtype=torch.int64, device=device)
    scores = torch.stack(gains) if gains else tables.embeddings_N_D.new_empty(0)
    return Selection(positions[is_kept_m], scores[is_kept_m])


def _best(scores_N: Tensor, keys_N: Tensor) -> int:
    """Return the place of the highest score, and of equal ones that with the lowest key."""
    highest = scores_N.max()
    is_behind_N = scores_N < highest - EQUAL * highest.abs()  # a score of -inf is behind any other
    return int(keys_N.masked_fill(is_behind_N, torch.iinfo(keys_N.dtype).max).argmin())


def _uncertain_classes(probs_A_C: Tensor, num_classes: int) -> Tensor:
    """Return the classes with the largest sum of p (1 - p), by ascending number."""
    variances_C = (probs_A_C * (1 - probs_A_C)).sum(0)
    return variances_C.topk(num_classes).indices.sort().values


def _checked(embeddings_N_D: Tensor, probs_N_C: Tensor) -> tuple[Tensor, Tensor]:
    embeddings_N_D = in_float64(checked_table(embeddings_N_D, "embeddings", who="bait"))
    probs_N_C = checked_table(probs_N_C, "probabilities", who="bait").to(embeddings_N_D)
    if len(embeddings_N_D) != len(probs_N_C):
        raise ValueError(
            f"`bait` expected as many rows of probabilities as of embeddings, but got {len(probs_N_C)} and "
            f"{len(embeddings_N_D)}. Pass both tables of the same points."
        )
    if probs_N_C.numel() > 0 and not (float(probs_N_C.min()) >= -1e-3 and float(probs_N_C.sum(1).max()) <= 1 + 1e-2):
        raise ValueError(
            "`bait` expected probabilities, which are at least 0 and sum to 1, but got numbers between "
            f"{float(probs_N_C.min()):.4g} and {float(probs_N_C.max()):.4g}. Apply `softmax(-1)` to logits."
        )
    return embeddings_N_D, probs_N_C.clamp(0, 1)


def _checked_precision(prior_precision: float) -> float:
    number = plain(prior_precision)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < float("inf"):
        raise ValueError(
            f"`BAIT` expected a `prior_precision` above 0, but got {prior_precision!r}. Leave it at 1 if in doubt."
        )
    return float(number)


def _check_memory(N: int, D: int, k: int, max_memory: int | str) -> None:
    """Check that the tables fit: per point three of k x k, and as many at work; 8 matrices of k D x k D."""
    needed = 8 * (6 * N * k * k + 8 * (k * D) ** 2)
    if needed > num_bytes(max_memory):
        raise ValueError(
            f"`BAIT` needs about {needed:,} bytes for {N:,} points, {k} classes and {D} embedding dimensions, but "
            f"`max_memory` is {max_memory!r}. Pass a smaller `num_classes=`, or raise `max_memory`."
        )


@register("bait")
@final
@dataclass(frozen=True)
class BAIT(Acquisition):
    """Select candidates whose labels would tell most about the weights of the last layer; see `bait`.

    It reads the network's embeddings and probabilities in evaluation mode, and draws no posterior samples.

    Args:
        prior_precision: Lambda, above 0.
        num_classes: The number of classes whose weights are considered; by default all.
        max_memory: The most bytes to use, as a number or as text such as "2GB".

    Raises:
        ValueError: If one of them is out of range.

    >>> rows = torch.tensor([[9.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [-0.5, 0.5]])
    >>> candidates = Candidates(2, torch.empty(2, 1, 2), lambda: [rows], labelled=Candidates(0, torch.empty(0, 1, 2)))
    >>> BAIT().select(candidates, 1, torch.Generator()).positions.tolist()
    [1]
    """

    prior_precision: float = 1.0
    num_classes: int | None = None
    max_memory: int | str = "4GB"

    def __post_init__(self) -> None:
        object.__setattr__(self, "prior_precision", _checked_precision(self.prior_precision))
        object.__setattr__(self, "num_classes", optional_whole_number("BAIT", "num_classes", self.num_classes))
        object.__setattr__(self, "max_memory", plain(self.max_memory))
        num_bytes(self.max_memory)

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores say by how much each lowered tr(M^-1 F) when it was added.

        Raises:
            ValueError: If the candidates have no embeddings, if a number is not finite, or if `max_memory` is too
                small.
        """
        labelled = candidates.labelled
        return bait(
            candidates.embeddings_N_D,
            _probs_of(candidates),
            b,
            labelled=(labelled.embeddings_N_D, _probs_of(labelled)) if len(labelled) > 0 else None,
            prior_precision=self.prior_precision,
            num_classes=self.num_classes,
            max_memory=self.max_memory,
            generator=generator,
        )


def _probs_of(points: Points) -> Tensor:
    """Return the network's probabilities ``[N, C]``: residuals plus 1 for the likeliest class, that of the lowest.

    A row of zeros does not say which class is certain. Any will do: the Fisher information is 0.
    """
    residuals_N_C = points.residuals_N_C
    if len(points) == 0:
        return residuals_N_C
    return residuals_N_C + torch.nn.functional.one_hot(residuals_N_C.argmin(1), residuals_N_C.shape[1])
