"""A network for the rows of a table."""

from __future__ import annotations

from torch import nn

from lightning_al.demos.mlp import mlp
from lightning_al.demos.text_network import text_network


def table_network(num_inputs: int | None, num_classes: int, *, dropout: float = 0.5) -> nn.Sequential:
    """Return `mlp` for vectors ``[n, num_inputs]``, or `text_network` for a list of texts.

    Args:
        num_inputs: Length of a vector, or None for texts.
        num_classes: Number of classes.
        dropout: Rate of the dropout.

    >>> table_network(None, 3)(["good", "bad"]).shape
    torch.Size([2, 3])
    """
    if num_inputs is None:
        return text_network(num_classes, dropout=dropout)
    return mlp(num_inputs, num_classes, dropout=dropout)
