"""A logistic regression on features, fitted to convergence in one epoch.

Axes: n points, D features, C classes.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy
from typing_extensions import override

from lightning_al.host.namespace import pl


class LinearHead(pl.LightningModule):
    """Fit a logistic regression to all points of an epoch, in the last of its batches.

    It minimises the sum of the cross entropies plus ``penalty / 2 * |weights|^2``, as scikit-learn's
    LogisticRegression does with ``C = 1 / penalty``, by L-BFGS with a line search. The minimum is the same whatever the
    weights before, so one epoch is enough, and dropout or posterior samples have nothing to vary:
    use ``posterior="deterministic"``. It logs ``train_loss``, ``val_loss``, ``val_acc``, ``test_loss`` and
    ``test_acc``; losses are mean cross entropies in nats.

    Args:
        num_classes: Number of classes C.
        penalty: Weight of the L2 penalty; the biases have none. The default suits features of length 1.
        max_iterations: The most iterations of L-BFGS.

    >>> head = LinearHead(3)
    >>> head(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """

    def __init__(self, num_classes: int, *, penalty: float = 0.01, max_iterations: int = 500) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.linear = nn.LazyLinear(num_classes)
        self.penalty = penalty
        self.max_iterations = max_iterations
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")
        self._seen: list[tuple[Tensor, Tensor]] = []

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits ``[n, C]`` of features ``[n, D]``, or of inputs ``[n, ...]`` that are flattened."""
        return cast(Tensor, self.linear(inputs.flatten(1)))

    @override
    def on_train_epoch_start(self) -> None:
        """Forget the points of the epoch before."""
        self._seen.clear()

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collect the points of a batch, and fit once all are there."""
        self._seen.append((batch[0].flatten(1), batch[1]))
        if not self.trainer.is_last_batch:
            return
        features_n_D, labels_n = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        optimizer = cast(torch.optim.Optimizer, self.optimizers())

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = self.penalty / 2 * self.linear.weight.square().sum()
            loss = nn.functional.cross_entropy(self(features_n_D), labels_n) + penalty / len(labels_n)
            self.manual_backward(loss)
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]  # a tensor, as Lightning needs
        with torch.no_grad():
            self.log("train_loss", nn.functional.cross_entropy(self(features_n_D), labels_n), prog_bar=True)

    @override
    def validation_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_acc``."""
        self._evaluate(batch, "val", self.val_acc)

    @override
    def test_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log ``test_loss`` and ``test_acc``."""
        self._evaluate(batch, "test", self.test_acc)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return L-BFGS, one step of which runs to convergence."""
        return torch.optim.LBFGS(
            self.parameters(),
            max_iter=self.max_iterations,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

    def _evaluate(self, batch: tuple[Any, Tensor], stage: str, accuracy: MulticlassAccuracy) -> None:
        inputs, labels = batch
        logits = self(inputs)
        accuracy(logits, labels)
        self.log(f"{stage}_loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels), prog_bar=True)
        self.log(f"{stage}_acc", accuracy, batch_size=len(labels), prog_bar=True)
