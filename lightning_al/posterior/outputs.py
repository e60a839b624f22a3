"""Which part of what a network gives are its logits, and what to do where they are none.

Axes: n points of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class OutputError(ValueError):
    """What a network gives cannot be scored: it is of another type or shape, or holds something else than logits."""


def find_logits(outputs: Any) -> Any:
    """Return the logits that stand under the name `logits` in an output, as those of transformers, or the output.

    >>> find_logits({"loss": None, "logits": torch.zeros(2, 3)}).shape
    torch.Size([2, 3])
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    logits = getattr(outputs, "logits", None)
    return outputs if logits is None else logits


def to_log_probs(outputs: Any) -> Tensor:
    """Turn a classifier's outputs into log-probabilities.

    Log-probabilities pass unchanged, since their log-softmax is they themselves.

    Args:
        outputs: Logits or log-probabilities ``[n, C]``, with at least two classes, or an output that has them under
            the name `logits`.

    Raises:
        OutputError: If the type or the shape is another, or if the outputs are probabilities.

    >>> to_log_probs(torch.tensor([[0.0, 0.0]])).exp().tolist()
    [[0.5, 0.5]]
    """
    outputs = find_logits(outputs)
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[1] < 2:
        raise _no_logits(outputs)
    if not outputs.is_floating_point():
        raise OutputError(
            f"The pool is scored by floating-point logits, but the module gave {outputs.dtype}. Return the values "
            "before they are rounded or made classes."
        )
    # Logits of one point may sum to nearly 1 by chance.
    rounding = max(1e-3 if len(outputs) > 1 else 1e-5, torch.finfo(outputs.dtype).eps)
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    if len(outputs) and bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() <= rounding).all()):
        raise OutputError(
            "The module gave probabilities: numbers from 0 to 1 that sum to 1. The pool is scored by logits or "
            "log-probabilities. Return the values before the softmax, or pass "
            "`logits=lambda module, batch: module(batch[0]).log()`."
        )
    return torch.log_softmax(outputs, dim=1)


def _type_of(outputs: Any) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"{kind} with {', '.join(map(str, outputs)) or 'nothing in it'}"
    if isinstance(outputs, tuple | list):
        parts = [str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in outputs[:4]]
        return f"{kind} of {', '.join(parts)}{', ...' if len(outputs) > 4 else ''}"
    return kind


def _no_logits(outputs: Any) -> OutputError:
    """Say what to pass, by the shape that the outputs have; `batch[0]` stands for the inputs."""
    got = list(outputs.shape) if isinstance(outputs, Tensor) else _type_of(outputs)
    seen = f"The pool is scored by logits of shape [batch, classes] with two classes or more, but the module gave {got}"
    if isinstance(outputs, tuple | list):
        return OutputError(
            f"{seen}. Pass `logits=`, a function of the module and the batch that returns the logits alone: where they "
            "come first, `logits=lambda module, batch: module(batch[0])[0]`."
        )
    if not isinstance(outputs, Tensor):
        return OutputError(f"{seen}. Pass `logits=`, a function of the module and the batch that returns them.")
    if outputs.dim() > 2:
        return OutputError(
            f"{seen}. A prediction for each place of a point, as in segmentation or tagging, is not supported by "
            'methods that read class probabilities. Use `acquisition="random"`, or pass `logits=`, a function of the '
            "module and the batch that returns one row of logits for each point."
        )
    if outputs.dim() == 0:
        return OutputError(
            f"{seen}. Pass `logits=`, a function of the module and the batch that returns a row of logits for each "
            "point."
        )
    values = outputs.detach().float()
    may_be_probabilities = bool(((values >= 0) & (values <= 1)).all())
    sigmoid = (
        " Where it ends in a sigmoid, write `torch.logit(module(batch[0]))` there." if may_be_probabilities else ""
    )
    return OutputError(
        f"{seen}. Where this is one logit of a binary model, pass `logits=lambda module, batch: "
        f"torch.nn.functional.pad(module(batch[0]).reshape(-1, 1), (1, 0))`, which sets a 0 beside it.{sigmoid} For "
        'regression, use `acquisition="random"`, since other methods read class probabilities.'
    )
