"""Log-probabilities of posterior samples for a network that is no LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.forward import default_forward
from lightning_al.prediction.scoring import pass_over
from lightning_al.task import Multiclass


def log_probs_of(
    posterior: Posterior,
    net: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Callable[[Any, Any], Any] = lambda net, batch: net(batch),
    seed: int = 0,
) -> Iterator[Tensor]:
    """Yield log-probabilities [n, K, C] of samples drawn once, for each batch."""
    samples = posterior.draw([], net, [], forward=forward, seed=seed)
    for batch in batches:
        yield torch.stack([Multiclass().log_probs(output) for output in samples.outputs(batch)], dim=1)


def predict_pool(
    trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, *, posterior: Posterior, seed: int
) -> Iterator[Tensor]:
    """Yield log-probabilities [n, K, C] of the pool, as a run scores it."""
    fitted = Fitted(
        trainer,
        module,
        data,
        posterior=posterior,
        last_layer=LastLayer(),
        forward=default_forward(data.target),
        task=Multiclass(),
        seed=seed,
        fits=[],
    )
    passed = pass_over(trainer, module, fitted.pool, data.pool.unlabelled, fitted.log_probs, "Scoring the pool")
    return (log_probs_n_K_C for (log_probs_n_K_C,) in passed)
