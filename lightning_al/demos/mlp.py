"""A network for vectors."""

from __future__ import annotations

from torch import nn

from lightning_al.values.whole_numbers import whole_number


def mlp(num_inputs: int, num_classes: int, *, width: int = 128, depth: int = 2, dropout: float = 0.5) -> nn.Sequential:
    """Return a multilayer perceptron with dropout for vectors ``[n, num_inputs]``.

    Args:
        num_inputs: Length of a vector.
        num_classes: Number of classes.
        width: Width of a hidden layer.
        depth: Number of hidden layers.
        dropout: Rate of the dropout after each hidden layer.

    Raises:
        TypeError: If a size is not a number.
        ValueError: If it is too small.

    >>> import torch
    >>> mlp(5, 3)(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """
    if num_inputs is None:  # as data of images or texts have it
        raise TypeError(
            "`mlp` takes vectors, but got None as their length `num_inputs`: the inputs are no vectors. Choose another "
            "network, such as `image_network` or `text_network`."
        )
    before = whole_number("mlp", "num_inputs", num_inputs)
    layers: list[nn.Module] = []
    for _ in range(whole_number("mlp", "depth", depth)):
        layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
        before = width
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
