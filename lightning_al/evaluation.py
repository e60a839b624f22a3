"""How well the mean of the posterior samples predicts, beside the network without sampling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from lightning_al.data.target import Target
from lightning_al.host.loaders import to_device
from lightning_al.host.namespace import pl
from lightning_al.information import posterior_mean
from lightning_al.posterior.batches import copied
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.predictions import predicting
from lightning_al.task.labels import class_numbers

TRIFLE = 0.01
"""Nats a point that nobody needs to be warned of, however many points prove them; rounding is far below."""


@final
@dataclass(frozen=True)
class Scores:
    """Tell how good a prediction is: accuracy, negative log-likelihood in nats and expected calibration error."""

    accuracy: float
    nll: float
    ece: float


@final
@dataclass(frozen=True)
class PosteriorHealth:
    """Tell how well the posterior mean predicts the points that the network predicts without sampling too.

    Attributes:
        deterministic: Scores of the network's own prediction, without sampled noise.
        posterior: Scores of the mean of the posterior samples' probabilities.
        standard_error: Standard error in nats of the difference of the two negative log-likelihoods, from the
            differences point by point.

    >>> health = PosteriorHealth(Scores(0.9, 0.3, 0.02), Scores(0.8, 0.7, 0.2), standard_error=0.1)
    >>> round(health.excess, 3), health.is_worse
    (0.4, True)
    >>> health.to_dict()["deterministic_nll"], health.to_dict()["posterior_nll"]
    (0.3, 0.7)
    """

    deterministic: Scores
    posterior: Scores
    standard_error: float

    @property
    def excess(self) -> float:
        """By how many nats a point the negative log-likelihood is higher with sampling than without."""
        return self.posterior.nll - self.deterministic.nll

    @property
    def is_worse(self) -> bool:
        """Whether sampling harms beyond chance and trifles: no more accuracy, and an excess past noise and a floor."""
        is_clear = self.excess > 2 * self.standard_error and self.excess > TRIFLE
        return is_clear and self.posterior.accuracy <= self.deterministic.accuracy

    @property
    def warning(self) -> str | None:
        """What to do where sampling harms the prediction, or None."""
        if not self.is_worse:
            return None
        return (
            "the mean of the posterior samples predicts worse than the network without sampling: its negative "
            f"log-likelihood is {self.posterior.nll:.3g} nats, {self.excess:.2g} (standard error "
            f"{self.standard_error:.1g}) above the network's {self.deterministic.nll:.3g}, and its accuracy "
            f"{self.posterior.accuracy:.3f} against {self.deterministic.accuracy:.3f}. Lower the dropout p, train "
            "longer with dropout, check that batch norm and dropout suit each other, or use "
            "`posterior=Deterministic()` with a method for which one sample is enough, such as `entropy`."
        )

    def to_dict(self) -> dict[str, float]:
        """Return both rows of scores as plain data: `deterministic_accuracy` and so on, then `posterior_accuracy`."""
        rows = {"deterministic": self.deterministic, "posterior": self.posterior}
        return {f"{row}_{name}": value for row, scores in rows.items() for name, value in asdict(scores).items()}


class PosteriorTest:
    """Gather how well the posterior mean and the network without sampling predict the same test batches.

    Args:
        fitted: Predicts batches, by the same samples as it predicts the pool.
        target: Where the labels of a batch are.
    """

    def __init__(self, fitted: Fitted, target: Target) -> None:
        self.fitted = fitted
        self.target = target
        self._rows: tuple[_Row, _Row] | None = None
        # A difference of two infinite losses tells nothing, and every rank must have as many as points.
        self._differences = CatMetric(nan_strategy=0.0)

    def update(self, batch: Any) -> None:
        """Take in a test batch, on the module's device."""
        # Lightning tests in inference mode, where convolutions of images kept channels last take six times as long.
        with torch.inference_mode(False), torch.no_grad():
            self._update(copied(batch))

    def _update(self, batch: Any) -> None:
        ((log_probs_n_K_C,),) = self.fitted.log_probs([batch])
        with_noise_n_C, without_n_C = posterior_mean(log_probs_n_K_C), self.fitted.log_probs_without_sampling(batch)
        labels_n = class_numbers(self.target.labels(batch), *with_noise_n_C.shape).to(with_noise_n_C.device)
        if self._rows is None:
            num_classes, device = with_noise_n_C.shape[1], with_noise_n_C.device
            self._rows = _Row(num_classes, device), _Row(num_classes, device)
            self._differences.to(device)
        deterministic, posterior = self._rows
        losses_n = deterministic.update(without_n_C, labels_n)
        self._differences.update(posterior.update(with_noise_n_C, labels_n) - losses_n)

    def update_from_validation(self) -> None:
        """Take in the validation batches of the fit that just ended, if it had any, unseen by other callbacks."""
        trainer, module = self.fitted.trainer, self.fitted.module
        if not trainer.enable_validation or trainer.val_dataloaders is None:
            return
        loaders = pl.utilities.CombinedLoader(trainer.val_dataloaders).flattened
        for loader, limit in zip(loaders, trainer.num_val_batches, strict=True):
            for number, batch in enumerate(loader):
                if number >= limit:
                    break
                with predicting(trainer):
                    self.update(to_device(trainer, module, batch))

    def compute(self) -> PosteriorHealth | None:
        """Return the figures over all batches and ranks, or None where there were no batches."""
        if self._rows is None:
            return None
        deterministic, posterior = self._rows
        differences_N = torch.as_tensor(self._differences.compute()).flatten()
        variance = differences_N.var(correction=0) / (len(differences_N) - 1)
        return PosteriorHealth(deterministic.compute(), posterior.compute(), float(variance.sqrt()))


class _Row:
    """Gather the scores of one prediction."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._accuracy = MulticlassAccuracy(num_classes, average="micro").to(device)
        self._nll = MeanMetric().to(device)
        self._ece = MulticlassCalibrationError(num_classes).to(device)

    def update(self, log_probs_n_C: Tensor, labels_n: Tensor) -> Tensor:
        """Take in a batch, and return the loss of each of its points."""
        # Rounding may take a probability past 1, and torchmetrics would then take the batch for logits.
        probs_n_C = log_probs_n_C.exp().clamp(max=1.0)
        losses_n = nn.functional.nll_loss(log_probs_n_C, labels_n, reduction="none")
        self._accuracy.update(probs_n_C, labels_n)
        self._nll.update(losses_n)
        self._ece.update(probs_n_C, labels_n)
        return losses_n

    def compute(self) -> Scores:
        """Return the scores over all batches and ranks."""
        return Scores(float(self._accuracy.compute()), float(self._nll.compute()), float(self._ece.compute()))
