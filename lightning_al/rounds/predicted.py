"""What the model of a round predicts for points, by its own weights or by the mean of the posterior samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.scoring import pass_over
from lightning_al.rounds.arguments import Arguments
from lightning_al.task.outputs import OutputError


def is_sampled(active: Arguments) -> bool:
    """Return whether the mean of the posterior samples predicts, and not the module alone.

    It does where that is tested, and where a round has several fits, of which the module is only the last.
    """
    return active.test == "posterior" or active.num_fits > 1


def predicted(fitted: Fitted, points: Sequence[int], *, sampled: bool, why: str) -> Tensor:
    """Return the probability of each class at points, the same on every rank.

    Args:
        fitted: Predicts batches.
        points: Indices of the N points.
        sampled: Whether the mean of the posterior samples predicts, and not the module alone.
        why: What needs the predictions, for an error; it ends with what to leave out.

    Returns:
        Probabilities ``[N, C]``, float64.

    Raises:
        ValueError: If the module's outputs are not classes.
        UnscorableError: If points cannot be scored.
    """
    predict = partial(fitted.log_probs_by, sampled=sampled)
    try:
        chunks = pass_over(fitted.trainer, fitted.module, fitted.pool, points, predict, "Predicting")
        means = [log_probs_n_K_C.double().exp().mean(dim=1) for (log_probs_n_K_C,) in chunks]
    except OutputError as error:
        raise ValueError(
            f"The outputs of `{type(fitted.module).__name__}` are not classes, but {why}. {error}"
        ) from error
    return torch.cat(means) if means else torch.empty(0, 0, dtype=torch.float64)
