from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.demos import Classifier
from tests.support.tasks import trainer


@pytest.mark.parametrize("num_classes", [2, 5])
def test_it_logs_accuracy_and_nll_of_the_whole_set(tmp_path, num_classes):
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(25, 3, generator=generator), torch.randint(num_classes, (25,), generator=generator)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=10)  # the last batch is smaller
    classifier = Classifier(nn.Linear(3, num_classes), num_classes=num_classes)
    fitting = trainer(tmp_path)
    [tested] = fitting.test(classifier, loader, verbose=False)
    [validated] = fitting.validate(classifier, loader, verbose=False)
    with torch.no_grad():
        logits = classifier(inputs)
    for stage, metrics in (("test", tested), ("val", validated)):
        assert metrics[f"{stage}_acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
        assert metrics[f"{stage}_loss"] == pytest.approx(F.cross_entropy(logits, labels).item())
    shares = [(logits.argmax(1)[labels == c] == c).float().mean().item() for c in range(num_classes)]
    assert tested["test_macro_recall"] == pytest.approx(sum(shares) / num_classes)


def test_training_lowers_its_loss(tmp_path):
    inputs = torch.eye(4).repeat(8, 1)
    loader = DataLoader(TensorDataset(inputs, inputs.argmax(1)), batch_size=8)
    classifier = Classifier(nn.Linear(4, 4), num_classes=4, lr=0.1)
    before = F.cross_entropy(classifier(inputs), inputs.argmax(1)).item()
    fitting = trainer(tmp_path, max_epochs=5)
    fitting.fit(classifier, loader, loader)
    assert fitting.callback_metrics["train_loss"] < before / 2
