"""Find the raw outputs in what a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class OutputError(ValueError):
    """The output of a network cannot be scored: its type, shape or values do not fit the task."""


def find_logits(outputs: Any) -> Any:
    """Return the `logits` of an output, as in transformers, or else the output itself.

    >>> import torch
    >>> find_logits({"loss": None, "logits": torch.zeros(2, 3)}).shape
    torch.Size([2, 3])
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    logits = getattr(outputs, "logits", None)
    return outputs if logits is None else logits


def find_output(outputs: Any) -> Tensor:
    """Return the raw outputs of a batch, a tensor with a row for each point.

    Raises:
        OutputError: If there is no such tensor.
    """
    found = find_logits(outputs)
    if isinstance(found, Tensor) and found.dim() > 0:
        return found
    got = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type_of(found)
    seen = f"The pool is scored by a tensor with a row of outputs for each point, but the module gave {got}"
    if isinstance(found, tuple | list):
        raise OutputError(
            f"{seen}. Pass `forward=`, a function of the module and the batch that returns only the outputs. If "
            "they come first, use `forward=lambda module, batch: module(batch[0])[0]`."
        )
    raise OutputError(f"{seen}. Pass `forward=`, a function of the module and the batch that returns them.")


def type_of(outputs: Any) -> str:
    """Describe an output that is not a tensor."""
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"{kind} with {', '.join(map(str, outputs)) or 'nothing in it'}"
    if isinstance(outputs, tuple | list):
        parts = [str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in outputs[:4]]
        return f"{kind} of {', '.join(parts)}{', ...' if len(outputs) > 4 else ''}"
    return kind
