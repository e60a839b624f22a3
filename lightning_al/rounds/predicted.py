"""What the model of a round predicts for points, by its own weights or by the mean of the posterior samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.scoring import pass_over
from lightning_al.prediction.unscorable import UnscorableError, leave_out
from lightning_al.rounds.arguments import Arguments
from lightning_al.task.outputs import OutputError


def is_sampled(active: Arguments) -> bool:
    """Return whether the mean of the posterior samples predicts, and not the module alone.

    It does where that is tested, and where a round has several fits, of which the module is only the last.
    """
    return active.test == "posterior" or active.num_fits > 1


def predicted_if_scorable(
    fitted: Fitted, points: Sequence[int], *, sampled: bool, why: str, skip: bool
) -> tuple[list[int], Tensor]:
    """Return the probability of each class at points as `predicted` does, with `skip` without those it cannot score.

    Returns:
        Indices of the n points that it can, and probabilities ``[n, C]``.
    """

    def predict(some: list[int]) -> tuple[list[int], Tensor]:
        return some, predicted(fitted, some, sampled=sampled, why=why, skip=skip)

    if not skip:
        return predict(list(points))
    try:
        return leave_out(points, [], predict, lambda _: {})[0]
    except UnscorableError:  # there are none that it can
        return predict([])


def predicted(fitted: Fitted, points: Sequence[int], *, sampled: bool, why: str, skip: bool = False) -> Tensor:
    """Return the probability of each class at points, the same on every rank.

    Args:
        fitted: Predicts batches.
        points: Indices of the N points.
        sampled: Whether the mean of the posterior samples predicts, and not the module alone.
        why: What needs the predictions, for an error; it ends with what to leave out.
        skip: Whether to name all points that cannot be read, and not to fail with the first.

    Returns:
        Probabilities ``[N, C]``, float64.

    Raises:
        ValueError: If the module's outputs are not classes.
        UnscorableError: If points cannot be scored.
    """
    predict = partial(fitted.log_probs_by, sampled=sampled)
    try:
        chunks = pass_over(fitted.trainer, fitted.module, fitted.pool, points, predict, "Predicting", skip=skip)
        means = [log_probs_n_K_C.double().exp().mean(dim=1) for (log_probs_n_K_C,) in chunks]
    except OutputError as error:
        raise ValueError(
            f"The outputs of `{type(fitted.module).__name__}` are not classes, but {why}. {error}"
        ) from error
    return torch.cat(means) if means else torch.empty(0, 0, dtype=torch.float64)
