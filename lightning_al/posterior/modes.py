"""Which parts of a network have noise in training mode alone, and are otherwise the same in both modes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

NOISY_TORCH_PARTS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase)
"""Parts of torch that have dropout of their own in training mode alone; `nn.Dropout` is found in both."""

QUIET_PACKAGES = {"torch", "lightning", "pytorch_lightning", "lightning_al"}
"""Packages whose other parts read `training` for other reasons."""


def parts_that_read_training(module: nn.Module) -> list[nn.Module]:
    """Return the parts of a network whose code asks whether it is being trained, but for norms with statistics."""
    return [part for part in module.modules() if not isinstance(part, _NormBase) and _reads_training(type(part))]


def _reads_training(kind: type[nn.Module]) -> bool:
    if issubclass(kind, NOISY_TORCH_PARTS):
        return True
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in QUIET_PACKAGES]
    functions = [inspect.unwrap(value) for base in own for value in vars(base).values() if inspect.isfunction(value)]
    return any(_mentions(function.__code__, "training") for function in functions)


def _mentions(code: CodeType, name: str) -> bool:
    return name in code.co_names or any(
        _mentions(constant, name) for constant in code.co_consts if isinstance(constant, CodeType)
    )


def noisy_parts(parts: Iterable[nn.Module], predict: Callable[[], Tensor | None], tolerance: float) -> list[nn.Module]:
    """Leave out the parts that do something else in training mode than to add noise.

    Args:
        parts: Parts of a network that is in evaluation mode.
        predict: Predicts a few points, with noise answered by its mean; None where that fails.
        tolerance: Largest difference of a prediction that counts as none.

    Returns:
        Those that can be put in training mode: without noise, the network predicts what it did before.
    """
    parts = list(parts)
    if not parts:
        return []
    expected = predict()
    assert expected is not None

    def changes_nothing(parts: Iterable[nn.Module]) -> bool:
        with training(parts):
            got = predict()
        return got is not None and got.shape == expected.shape and bool((got - expected).abs().max() <= tolerance)

    if changes_nothing(parts):
        return parts
    kinds = {type(part) for part in parts}
    harmless = {kind for kind in kinds if changes_nothing(part for part in parts if type(part) is kind)}
    parts = [part for part in parts if type(part) in harmless]
    return parts if changes_nothing(parts) else []


@contextmanager
def training(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Put parts in training mode, and them and their buffers back as they were afterwards."""
    parts = list(parts)
    modes = [part.training for part in parts]
    buffers = [(buffer, buffer.clone()) for part in parts for buffer in part.buffers(recurse=False)]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
