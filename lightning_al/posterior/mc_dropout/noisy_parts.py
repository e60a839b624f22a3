"""The parts of a network that add noise in training mode only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import NamedTuple

import torch
from torch import nn

from lightning_al.posterior.mc_dropout.layout import Shape
from lightning_al.values.torch_names import NORMS

NOISY_TORCH_PARTS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase)
"""Modules of torch with dropout of their own in training mode only; `nn.Dropout` is found in both modes."""

QUIET_PACKAGES = {"torch", "lightning", "pytorch_lightning", "lightning_al"}
"""Packages whose other modules read `training` for other reasons."""


def parts_that_read_training(module: nn.Module) -> list[nn.Module]:
    """Return the parts of a network whose code reads `training`, except norms with running statistics."""
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
    """The shapes of a network's outputs and random draws for a few points.

    Attributes:
        outputs: Shape of the outputs.
        dropouts: Shape of the mask of each call of a dropout function.
        draws: Shape of each draw inside other functions.
        in_channels: Which calls of dropout functions drop whole channels.
    """

    outputs: Shape
    dropouts: list[Shape]
    draws: list[Shape]
    in_channels: list[bool]


def noisy_parts(parts: Iterable[nn.Module], attempt: Callable[[], Trial | None]) -> list[nn.Module]:
    """Return the parts that change what a network draws when they are put in training mode.

    Args:
        parts: Parts of a network that is in evaluation mode.
        attempt: Tries the network with a few points; returns None if that fails.

    Returns:
        These parts, without the classes that in training mode make the network fail or change its output shape.
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
    """Put parts in training mode inside the context, and restore their modes and buffers afterwards."""
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
