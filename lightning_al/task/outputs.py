"""Which part of what a network gives are its raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class OutputError(ValueError):
    """What a network gives cannot be scored: it is of another type or shape, or holds what the task does not know."""


def find_logits(outputs: Any) -> Any:
    """Return the logits that stand under the name `logits` in an output, as those of transformers, or the output.

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
        OutputError: If there are none.
    """
    found = find_logits(outputs)
    if isinstance(found, Tensor) and found.dim() > 0:
        return found
    got = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type_of(found)
    seen = f"The pool is scored by a tensor with a row of outputs for each point, but the module gave {got}"
    if isinstance(found, tuple | list):
        raise OutputError(
            f"{seen}. Pass `forward=`, a function of the module and the batch that returns the outputs alone: where "
            "they come first, `forward=lambda module, batch: module(batch[0])[0]`."
        )
    raise OutputError(f"{seen}. Pass `forward=`, a function of the module and the batch that returns them.")


def type_of(outputs: Any) -> str:
    """Say what a network gave that is no tensor."""
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"{kind} with {', '.join(map(str, outputs)) or 'nothing in it'}"
    if isinstance(outputs, tuple | list):
        parts = [str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in outputs[:4]]
        return f"{kind} of {', '.join(parts)}{', ...' if len(outputs) > 4 else ''}"
    return kind
