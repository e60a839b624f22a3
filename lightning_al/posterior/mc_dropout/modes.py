"""Which parts of a network have noise in training mode alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import NamedTuple

import torch
from torch import nn

from lightning_al.posterior.mc_dropout.randomness import Shape
from lightning_al.values.torch_names import NORMS

NOISY_TORCH_PARTS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase)
"""Parts of torch that have dropout of their own in training mode alone; `nn.Dropout` is found in both."""

QUIET_PACKAGES = {"torch", "lightning", "pytorch_lightning", "lightning_al"}
"""Packages whose other parts read `training` for other reasons."""


def parts_that_read_training(module: nn.Module) -> list[nn.Module]:
    """Return the parts of a network whose code asks whether it is being trained, but for norms with statistics."""
    return [part for part in module.modules() if not isinstance(part, NORMS.of(nn)) and _reads_training(type(part))]


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


class Trial(NamedTuple):
    """What a network draws for a few points, and what shape it gives: of its outputs, and of each draw.

    Attributes:
        outputs: The shape of the outputs.
        dropouts: The shapes of the masks of dropout functions.
        draws: The shapes of what other functions draw.
        in_channels: Which of the dropout functions drop whole channels.
    """

    outputs: Shape
    dropouts: list[Shape]
    draws: list[Shape]
    in_channels: list[bool]


def noisy_parts(parts: Iterable[nn.Module], attempt: Callable[[], Trial | None]) -> list[nn.Module]:
    """Choose the parts without which, in training mode, a network would draw something else.

    Args:
        parts: Parts of a network that is in evaluation mode.
        attempt: Tries the network with a few points; None where that fails.

    Returns:
        The chosen parts, without the kinds with which the network gives no prediction, or one of another shape.
    """
    parts = list(parts)
    if not parts:
        return []

    def attempt_with(kinds: Iterable[type]) -> Trial | None:
        with training(part for part in parts if type(part) in kinds):
            return attempt()

    def works(trial: Trial | None) -> bool:
        return trial is not None and still is not None and trial.outputs == still.outputs

    still = attempt_with([])
    kinds = list(dict.fromkeys(type(part) for part in parts))
    if not works(attempt_with(kinds)):
        candidates, kinds = kinds, []
        for kind in candidates:
            if works(attempt_with([*kinds, kind])):
                kinds.append(kind)
    trial = attempt_with(kinds)
    for kind in tuple(kinds):
        others = [other for other in kinds if other is not kind]
        if attempt_with(others) == trial:
            kinds = others
    return [part for part in parts if type(part) in kinds]


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
