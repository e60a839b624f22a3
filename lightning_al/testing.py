"""Test the mean of the posterior samples, beside the module itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from lightning_al.information import posterior_mean
from lightning_al.posterior.base import LogitsFunction, Posterior
from lightning_al.target import Target


class PosteriorTest:
    """Gather accuracy, negative log-likelihood and calibration error of the posterior mean over test batches.

    Args:
        posterior: How the weights are sampled.
        logits: A function of the module and the batch that returns logits ``[n, C]``.
        target: Where the labels of a batch are.
        seed: Seed of the posterior samples, so that each batch is predicted by the same ones.
    """

    def __init__(self, posterior: Posterior, logits: LogitsFunction, target: Target, seed: int) -> None:
        self.posterior = posterior
        self.logits = logits
        self.target = target
        self.seed = seed
        self._nll = MeanMetric()
        self._scores: MetricCollection | None = None

    def update(self, module: nn.Module, batch: Any) -> None:
        """Take in a test batch, on the module's device."""
        (log_probs_n_K_C,) = self.posterior.predict(module, [batch], logits=self.logits, seed=self.seed)
        log_probs_n_C = posterior_mean(log_probs_n_K_C)
        labels_n = torch.as_tensor(self.target.read(batch), device=log_probs_n_C.device)
        if self._scores is None:
            num_classes = log_probs_n_C.shape[1]
            self._scores = MetricCollection(
                {
                    "posterior_accuracy": MulticlassAccuracy(num_classes, average="micro"),
                    "posterior_ece": MulticlassCalibrationError(num_classes),
                }
            ).to(log_probs_n_C.device)
            self._nll.to(log_probs_n_C.device)
        # Rounding may take a probability past 1, and torchmetrics would then take the batch for logits.
        self._scores.update(log_probs_n_C.exp().clamp(max=1.0), labels_n)
        self._nll.update(nn.functional.nll_loss(log_probs_n_C, labels_n, reduction="none"))

    def compute(self) -> dict[str, float]:
        """Return `posterior_accuracy`, `posterior_nll` (nats) and `posterior_ece` over all batches and ranks."""
        if self._scores is None:
            return {}
        scores = {name: float(value) for name, value in self._scores.compute().items()}
        return {**scores, "posterior_nll": float(self._nll.compute())}
