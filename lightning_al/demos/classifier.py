"""A plain Lightning classifier, independent of active learning."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall
from typing_extensions import override

from lightning_al.host.namespace import pl
from lightning_al.values.whole_numbers import shown


class Classifier(pl.LightningModule):
    """Train a network with Adam on the cross entropy, and log its loss and accuracy.

    It logs ``train_loss``, ``val_loss``, ``val_acc``, ``test_loss``, ``test_acc`` and ``test_macro_recall``, the mean
    over classes of the share of its points that are predicted right; losses are in nats.

    Args:
        network: Maps inputs ``[n, ...]`` to logits ``[n, num_classes]``.
        num_classes: Number of classes.
        lr: Learning rate, 0 or more.

    Raises:
        ValueError: If `lr` is not such a number.

    >>> classifier = Classifier(nn.Linear(4, 3), num_classes=3)
    >>> classifier(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, network: nn.Module, *, num_classes: int = 10, lr: float = 1e-3) -> None:
        super().__init__()
        self.network = network
        self.lr = _learning_rate(lr)
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_macro_recall = MulticlassRecall(num_classes, average="macro")

    @override
    def forward(self, inputs: Any) -> Tensor:
        """Return logits ``[n, num_classes]``."""
        return cast(Tensor, self.network(inputs))

    @override
    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of a batch."""
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self(inputs), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    @override
    def validation_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_acc``."""
        self._evaluate(batch, "val", self.val_acc)

    @override
    def test_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log ``test_loss``, ``test_acc`` and ``test_macro_recall``."""
        logits = self._evaluate(batch, "test", self.test_acc)
        self.test_macro_recall(logits, batch[1])
        self.log("test_macro_recall", self.test_macro_recall, batch_size=len(batch[1]))

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _evaluate(self, batch: tuple[Any, Tensor], stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        inputs, labels = batch
        logits = cast(Tensor, self(inputs))
        accuracy(logits, labels)
        self.log(f"{stage}_loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels), prog_bar=True)
        self.log(f"{stage}_acc", accuracy, batch_size=len(labels), prog_bar=True)
        return logits


def _learning_rate(lr: Any) -> Any:
    if not isinstance(lr, int | float | Tensor) or not lr >= 0:
        raise ValueError(f"`Classifier` needs `lr` to be a number of 0 or more, but got {shown(lr)}. Pass one.")
    return lr
