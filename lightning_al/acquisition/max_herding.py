"""MaxHerding: query points that cover the pool best, which needs no labels and no predictions.

Axes: N points, n of them labelled or evaluated, D feature dimensions, b batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_al.acquisition.base import ANY_TASK, Acquisition, Selection, at_most
from lightning_al.acquisition.coverage import Coverage, Gaussian, cover_greedily
from lightning_al.acquisition.features import features_of, labelled_features_of
from lightning_al.acquisition.registry import register
from lightning_al.acquisition.tables import checked_labelled, checked_table
from lightning_al.acquisition.ties import tie_keys
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import plain, shown


def max_herding(
    features_N_D: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    weights_N: Tensor | None = None,
    bandwidth: float = 1.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Select b points greedily, each for how much it raises the mean coverage of all points.

    A point n is covered by m_n = max over labelled and picked points s of k(x_n, x_s), with the Gaussian kernel
    k(x, y) = exp(-|x - y|^2 / h^2). The gain of a point is

        gain(i) = sum_n w_n max(k(x_n, x_i) - m_n, 0) / N.

    Wonho Bae, Junhyug Noh, Danica J. Sutherland, "Generalized Coverage for More Robust Low-Budget Active Learning",
    ECCV 2024.

    The coverage is monotone and submodular, so greedy picks reach at least 1 - 1/e of the best coverage, and gains only
    fall. A gain of an earlier pick therefore bounds the present one, and only points whose bound is high enough are
    evaluated again. The picks are those of evaluating every point.

    Time is O(N^2 D / 2) for each of the first two picks, then O(N D) for each point evaluated again: few where points
    lie in clusters, many where features have no structure. Memory beyond the features is O(N D). For N = 100,000 points
    in clusters, D = 128 and b = 100, that is 144 to 265 s on two cores of two machines, and 155 MB
    (``tests/benchmarks/acquisitions.py``). Nothing of N x N is held. Where h is small beside the spread of the
    features, rounding would decide in float32, so the work is done in float64, at about twice the time: for rows of
    length 1, below about h = 0.2. In float64, h below about 1e-5 takes ten times the time.

    Use it to start without labels, and while labels are few: with 10 labels on the digits (logistic regression on
    pixels, 8 seeds, ``python -m tests.benchmarks.coverage``) it reaches an accuracy of .78, random points .45. Once
    there is a model, `uherding` also asks it: from 10 random labels to 100, the normalised area under the learning
    curve is .882 there, for `max_herding` .874, for margin sampling .837; the standard errors are .003 to .006.

    Args:
        features_N_D: Features ``[N, D]``. The default bandwidth is meant for rows of length 1.
        b: The number of points to select, at least 1. If there are fewer, all are selected.
        labelled_n_D: Features ``[n, D]`` of the points labelled so far; by default none.
        weights_N: Weights w ``[N]`` of the points, at least 0; by default 1.
        bandwidth: The bandwidth h of the kernel, in units of the features' distances.
        generator: Its initial seed breaks ties. By default a new one with seed 0, so calls agree.

    Returns:
        Positions ``[b]`` in the order of choice. The scores are the gains. Of points with equal gains, one is selected
        at random. Gains count as equal if rounding may have made the difference: with rows of length 1 and h = 1, at
        most 1e-6 times the mean weight in float32, and 2e-15 times in float64.

    Raises:
        TypeError: If features or weights are not tensors.
        ValueError: If shapes do not fit, if a number is not finite, if a weight is below 0, if the bandwidth is not
            above 0, or if b is below 1.

    Three points at one place and one far away: the three are covered first, then the one.

    >>> selection = max_herding(torch.tensor([[0.0], [0.0], [4.0], [0.0]]), 2)
    >>> int(selection.positions[1]), selection.scores
    (2, tensor([0.7500, 0.2500]))
    """
    features_N_D = checked_table(features_N_D, "features", who="max_herding")
    N = len(features_N_D)
    b = at_most(b, N)
    weights_N = features_N_D.new_ones(N) if weights_N is None else _checked_weights(weights_N, N)
    kernel = Gaussian(checked_bandwidth("max_herding", bandwidth))
    coverage = Coverage(features_N_D, kernel, weights_N=weights_N)
    if labelled_n_D is not None and len(labelled_n_D):
        coverage.add(checked_labelled(labelled_n_D, features_N_D, who="max_herding"))
    keys_N = tie_keys(N, torch.Generator().manual_seed(0) if generator is None else generator).to(features_N_D.device)
    return cover_greedily(coverage, b, keys_N)


def _checked_weights(weights_N: Tensor, N: int) -> Tensor:
    if not isinstance(weights_N, Tensor):
        raise TypeError(
            f"`max_herding` expected weights as a tensor, but got {type(weights_N).__name__}. "
            "Pass `torch.as_tensor(...)` of them."
        )
    weights_N = weights_N.detach()
    if weights_N.shape != (N,):
        raise ValueError(
            f"`max_herding` expected weights of shape [{N}], one for each point, but got {list(weights_N.shape)}. "
            "Pass a weight for each row of features."
        )
    is_bad_N = ~(weights_N.isfinite() & (weights_N >= 0))
    if bool(is_bad_N.any()):
        first = int(is_bad_N.nonzero()[0])
        raise ValueError(
            f"`max_herding` expected finite weights of at least 0, but got {float(weights_N[first])} at position "
            f"{first}. Set weights below 0 to 0."
        )
    return weights_N


def checked_bandwidth(who: str, bandwidth: float) -> float:
    """Return a bandwidth as a float.

    Raises:
        ValueError: If it is not a finite number above 0.
    """
    number = plain(bandwidth)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ValueError(
            f"`{who}` expected a bandwidth, a distance between features, as a number above 0, but got "
            f"{shown(bandwidth)}. Pass 1.0 for rows of length 1."
        )
    return float(number)


@register("max_herding")
@final
@dataclass(frozen=True)
class MaxHerding(Acquisition):
    """Select candidates that cover the pool best, in features or embeddings scaled to length 1; see `max_herding`.

    It reads no predictions, so it fits any task, and it can select the first points, before any label.

    Args:
        bandwidth: The bandwidth h of the kernel exp(-d^2 / h^2).

    Raises:
        ValueError: If the bandwidth is not a number above 0.

    The label at [0, 1] covers the second candidate, so the first is more useful:

    >>> from lightning_al import Points
    >>> labelled = Points(1, torch.empty(1, 1, 2), features=torch.tensor([[0.0, 1.0]]))
    >>> candidates = Candidates(2, torch.empty(2, 1, 2), features=torch.eye(2), labelled=labelled)
    >>> MaxHerding().select(candidates, 1, torch.Generator()).positions.tolist()
    [0]
    """

    tasks: ClassVar[frozenset[str]] = ANY_TASK
    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", checked_bandwidth("MaxHerding", self.bandwidth))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the gains in mean coverage.

        Raises:
            ValueError: If the candidates have neither features nor embeddings, or if one is NaN or infinite.
        """
        return max_herding(
            features_of(candidates),
            b,
            labelled_n_D=labelled_features_of(candidates),
            bandwidth=self.bandwidth,
            generator=generator,
        )
