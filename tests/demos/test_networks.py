from __future__ import annotations

import torch
from torch import nn

from lightning_al.demos import digits_cnn, paper_cnn


def test_paper_cnn_is_the_papers():
    def shown(layer: nn.Module) -> str:
        return {
            nn.Conv2d: lambda: f"conv{layer.out_channels}-{layer.kernel_size[0]}x{layer.kernel_size[1]}",
            nn.Linear: lambda: f"fc{layer.out_features}",
            nn.MaxPool2d: lambda: f"maxpool{layer.kernel_size}",
        }.get(type(layer), lambda: type(layer).__name__.lower())()

    layers = [shown(layer) for layer in paper_cnn() if not isinstance(layer, nn.Flatten)]
    assert ", ".join(layers) == (
        "conv32-5x5, dropout2d, maxpool2, relu, conv64-5x5, dropout2d, maxpool2, relu, fc128, dropout, relu, fc10"
    )
    assert {layer.p for layer in paper_cnn() if isinstance(layer, nn.Dropout | nn.Dropout2d)} == {0.5}


def test_both_follow_the_number_of_classes():
    assert paper_cnn(num_classes=7)(torch.zeros(3, 1, 28, 28)).shape == (3, 7)
    assert digits_cnn(num_classes=7)(torch.zeros(3, 1, 8, 8)).shape == (3, 7)
