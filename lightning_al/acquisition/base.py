"""The base classes of acquisition functions, and checks of what they read and select."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_al.acquisition.ties import in_order, tie_keys
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import as_whole, shown

ROUNDING_ABOVE_ZERO = 1e-3
"""How far above 0 a log-probability may be by rounding."""

ERROR_OF_SUM = 1e-2
"""How far from 1 probabilities may sum: more than half precision rounds, less than the error of logits."""

ROWS_CHECKED = 512
"""The most rows of a table whose sums are checked: this takes 2 % of BALD's time for 10,000 points."""

MIN_CLASSES = 2

ANY_TASK = frozenset({"multiclass", "binary", "multilabel", "regression", "segmentation", "sequence"})
"""The `tasks` of an acquisition function that reads no predictions."""


@dataclass(frozen=True)
class Selection:
    """The candidates to query.

    Attributes:
        positions: Positions among the candidates ``[b]``, int64, in the order of choice.
        scores: The score of each ``[b]``, with a meaning that depends on the acquisition function.
        metrics: Further numbers about the batch by name: a number, or a list with one for each pick. They are recorded
            in `Round.details` and logged.
        warning: A warning about the batch; shown once a run, and recorded.
    """

    positions: Tensor
    scores: Tensor
    metrics: Mapping[str, float | list[float]] = field(default_factory=dict)
    warning: str | None = None


class Acquisition(ABC):
    """Base class of acquisition functions: select the unlabelled points to query.

    Attributes:
        min_samples: The fewest posterior samples K with which the method makes sense.
        tasks: Names of the tasks whose outputs it can read. With other names than "multiclass" and "binary", the
            candidates have embeddings but no residuals, which are differences of class probabilities.
    """

    min_samples: ClassVar[int] = 1
    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "binary"})

    @abstractmethod
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates, or all of them if there are fewer.

        Args:
            candidates: The points to choose from.
            b: The number of points to select, at least 1.
            generator: A CPU generator, the only source of randomness. The same state gives the same selection.
        """


class ScoreAcquisition(Acquisition):
    """Base class of acquisition functions that score each candidate and select the b highest.

    Ties are broken at random.

    Attributes:
        lowest_score: The lowest score that the method can give. `Stochastic` reads it.
    """

    lowest_score: ClassVar[float] = -math.inf

    @abstractmethod
    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        """Return scores ``[N]``, higher for points whose labels are worth more, and never NaN.

        Args:
            candidates: The points to score.
            generator: A CPU generator, the only source of randomness. The same state gives the same scores.
        """

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select the b candidates with the highest scores, with ties broken at random.

        Raises:
            ValueError: If a score is NaN, or if there is not one for each candidate.
        """
        b = at_most(b, len(candidates))
        scores_N = checked_scores(self, candidates, generator)
        positions = in_order(scores_N, tie_keys(len(scores_N), generator))[:b]
        return Selection(positions, scores_N[positions])


def checked_scores(acquisition: ScoreAcquisition, candidates: Candidates, generator: torch.Generator) -> Tensor:
    """Return the scores ``[N]`` that an acquisition function gives to candidates.

    Raises:
        ValueError: If a score is NaN, or if there is not one for each candidate.
    """
    scores_N = acquisition.score(candidates, generator).detach()
    if scores_N.shape != (len(candidates),):
        raise ValueError(
            f"`{type(acquisition).__name__}.score` should return scores of shape [{len(candidates)}], one for each "
            f"candidate, but got {list(scores_N.shape)}. Return a score for each."
        )
    if scores_N.isnan().any():
        bad = scores_N.isnan().nonzero().flatten().tolist()
        raise ValueError(
            f"`{type(acquisition).__name__}` scored {len(bad)} candidates as NaN, the first at position {bad[0]}. "
            "Check the model's outputs there."
        )
    return scores_N


def check_selection(acquisition: Acquisition, positions: list[int], scores: list[float], b: int, size: int) -> None:
    """Check that an acquisition function selected b different candidates out of `size`, with a score for each.

    Raises:
        ValueError: If it did not.
    """
    in_range = all(isinstance(position, int) and 0 <= position < size for position in positions)
    if len(positions) != b or len(set(positions)) != b or len(scores) != b or not in_range:
        raise ValueError(
            f"`{type(acquisition).__name__}.select` should return {b} different positions between 0 and {size - 1} and "
            f"as many scores, but got positions {positions} and {len(scores)} scores. "
            "Let it select positions among `candidates`, each once."
        )


def plain_metrics(acquisition: Acquisition, metrics: Mapping[str, Any]) -> dict[str, float | list[float]]:
    """Return the metrics of a selection as plain numbers.

    Raises:
        TypeError: If they do not map names to numbers or lists of numbers.
    """
    try:
        return {str(name): _plain_numbers(value) for name, value in metrics.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(
            f"`{type(acquisition).__name__}.select` should return a `Selection` whose `metrics` map names to numbers "
            f"or to lists of one number a pick, but got {str(metrics)[:200]} ({error}). Make them plain floats."
        ) from error


def _plain_numbers(value: Any) -> float | list[float]:
    value = value.tolist() if hasattr(value, "tolist") else value
    return [float(one) for one in value] if isinstance(value, list | tuple) else float(value)


def at_most(b: int, size: int) -> int:
    """Return b, or `size` if there are fewer candidates.

    Raises:
        TypeError: If b is not a whole number.
        ValueError: If b is below 1.
    """
    number = as_whole(b)
    if number is None:
        raise TypeError(f"A query must ask for a whole number of points, but got b={shown(b)}. Pass `b` as an int.")
    if number < 1:
        raise ValueError(f"A query must ask for at least 1 point, but got b={b}. Pass `b` of 1 or more.")
    return min(number, size)


def score_chunks(
    candidates: Candidates, formula: Callable[[Tensor], Tensor], *, who: str, min_samples: int = 1
) -> Tensor:
    """Apply a formula to the points chunk by chunk, so a stream is never held as a whole.

    Args:
        candidates: N points.
        formula: Maps log-probabilities ``[n, K, C]`` to scores ``[n]``.
        who: The method's name, for error messages.
        min_samples: The fewest posterior samples K that it needs.

    Returns:
        Scores ``[N]``.

    Raises:
        ValueError: If log-probabilities do not pass `checked_log_probs`.
    """
    chunks = checked_chunks(candidates, who=who, min_samples=min_samples)
    scores = [formula(chunk) for chunk in chunks]
    return torch.cat(scores) if scores else torch.empty(0)


def checked_chunks(candidates: Candidates, *, who: str, min_samples: int = 1) -> Iterator[Tensor]:
    """Yield the candidates' chunks, each through `checked_log_probs`."""
    first = 0
    for chunk in candidates.chunks():
        yield checked_log_probs(chunk, who=who, min_samples=min_samples, first=first)
        first += len(chunk)


def checked_log_probs(log_probs_N_K_C: Tensor, *, who: str, min_samples: int = 1, first: int = 0) -> Tensor:
    """Check log-probabilities, and return them without gradients in float64 or float32.

    The sums of a small table are all checked, those of a large one in `ROWS_CHECKED` rows spread over it: checking each
    row would take as long as scoring it.

    Args:
        log_probs_N_K_C: Log-probabilities ``[N, K, C]``. Half precision becomes float32 and is normalised again.
        who: The method's name, for error messages.
        min_samples: The fewest posterior samples K that it needs.
        first: Position of the first of these points among all.

    Raises:
        TypeError: If they are not a floating-point tensor.
        ValueError: If there are fewer samples or classes, if a value is NaN or above 0, or if a row does not sum to 1.
    """
    _check_kind(log_probs_N_K_C, who)
    N, K, C = log_probs_N_K_C.shape
    if min_samples > K:
        raise ValueError(
            f"`{who}` compares posterior samples and expected at least {min_samples} of them, but got {K}. "
            "Raise `num_samples` of the posterior, or use `Entropy`, which needs only one."
        )
    if C < MIN_CLASSES:
        raise ValueError(
            f"`{who}` expected at least {MIN_CLASSES} classes, but got {C}. Make two of the one logit z "
            "of a binary model, by `torch.stack([torch.zeros_like(z), z], -1).log_softmax(-1)`."
        )
    log_probs_N_K_C, dtype = log_probs_N_K_C.detach(), log_probs_N_K_C.dtype
    is_half = dtype not in (torch.float32, torch.float64)
    log_probs_N_K_C = log_probs_N_K_C.float() if is_half else log_probs_N_K_C
    if N > 0:
        _check_values(log_probs_N_K_C, who, first, rounding=torch.finfo(dtype).eps)
    return log_probs_N_K_C.log_softmax(-1) if is_half else log_probs_N_K_C


def _check_kind(log_probs_N_K_C: Tensor, who: str) -> None:
    if not isinstance(log_probs_N_K_C, Tensor):
        raise TypeError(
            f"`{who}` expected log-probabilities as a tensor, but got {type(log_probs_N_K_C).__name__}. "
            "Pass `torch.as_tensor(...)` of them."
        )
    if log_probs_N_K_C.dim() != 3:
        raise ValueError(
            f"`{who}` expected log-probabilities of shape [N, K, C], but got {list(log_probs_N_K_C.shape)}. "
            "Pass K samples for each of N points."
        )
    if not log_probs_N_K_C.is_floating_point():
        raise TypeError(
            f"`{who}` expected floating-point log-probabilities, but got {log_probs_N_K_C.dtype}. Pass the "
            "`log_softmax(-1)` of the model's logits."
        )
    if log_probs_N_K_C.layout is not torch.strided:
        raise ValueError(
            f"`{who}` expected a dense tensor, but got one of layout {log_probs_N_K_C.layout}. Pass `to_dense()` of it."
        )
    if log_probs_N_K_C.is_meta:
        raise ValueError(
            f"`{who}` reads numbers, but got a tensor on the meta device, which has none. Make the "
            "log-probabilities on a CPU or a GPU."
        )


def _check_values(log_probs_N_K_C: Tensor, who: str, first: int, rounding: float) -> None:
    N, K, C = log_probs_N_K_C.shape
    num_rows = min(N * K, ROWS_CHECKED)
    places = torch.arange(num_rows, device=log_probs_N_K_C.device)
    # All rows in order, or else each posterior sample in turn, spread over all points.
    points, samples = (places // K, places % K) if num_rows == N * K else (places * N // num_rows, places % K)
    sums = log_probs_N_K_C[points, samples].exp().sum(-1)
    # NaN propagates through a maximum, so one pass over the table answers both questions.
    highest, error = torch.stack([log_probs_N_K_C.amax(), (sums - 1).abs().amax()]).tolist()
    if math.isnan(highest):
        is_bad_N = log_probs_N_K_C.isnan().flatten(1).any(1)
        raise ValueError(
            f"`{who}` expected log-probabilities, but got NaN for {int(is_bad_N.sum())} candidates, the first at "
            f"position {first + int(is_bad_N.nonzero()[0])}. Check the model's outputs there."
        )
    if highest > ROUNDING_ABOVE_ZERO:
        raise ValueError(
            f"`{who}` expected log-probabilities, which are at most 0, but got {highest:.4g}. "
            "Apply `log_softmax(-1)` to logits, or `log()` to probabilities."
        )
    # Rounding each logarithm by a relative error changes the sum by that share of the entropy, at most log C.
    tolerance = ERROR_OF_SUM + rounding * math.log(C)
    if not error <= tolerance:
        worst = int((sums - 1).abs().argmax())
        raise ValueError(
            f"`{who}` expected log-probabilities, whose exponentials sum to 1 over the classes, but at position "
            f"{first + int(points[worst])} they sum to {float(sums[worst]):.4g}. "
            "Apply `log_softmax(-1)` to logits, or `log()` to probabilities."
        )
