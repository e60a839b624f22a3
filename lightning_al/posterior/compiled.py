"""Run a network as it was written where `torch.compile` made something else of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

WRAPPED = "_orig_mod"
"""Where the module that `torch.compile` returns has the one that it was given."""


def run_eagerly(module: nn.Module) -> AbstractContextManager[None]:
    """Run all of a module eagerly for a while; what was compiled stays compiled for afterwards.

    Args:
        module: The module. From torch 2.6 on, compiled functions that it calls are run eagerly too.
    """
    if "torch._dynamo" not in sys.modules:  # so nothing was compiled, and importing it takes a second
        return nullcontext()
    set_stance: Any = getattr(torch.compiler, "set_stance", None)
    stance: AbstractContextManager[None] = _without_compiled_parts(module) if set_stance is None else _eager(set_stance)
    return stance


@contextmanager
def _eager(set_stance: Any) -> Iterator[None]:
    with set_stance("force_eager"):
        yield


@contextmanager
def _without_compiled_parts(module: nn.Module) -> Iterator[None]:
    """Put the written code in the place of the compiled one in a module and its parts, before torch 2.6."""
    replaced: list[tuple[dict[str, Any], str, Any]] = []

    def replace(part: nn.Module, name: str, value: Any) -> None:
        replaced.append((part.__dict__, name, part.__dict__[name]))
        part.__dict__[name] = value

    for part in module.modules():
        original = part._modules.get(WRAPPED)
        by_lightning = getattr(part, "_compiler_ctx", None)
        if original is not None and "forward" in part.__dict__:
            replace(part, "forward", original.__call__)
        elif by_lightning and "forward" in part.__dict__:
            replace(part, "forward", by_lightning["original_forward"])
        if part.__dict__.get("_compiled_call_impl") is not None:  # by `part.compile()`
            replace(part, "_compiled_call_impl", None)
    try:
        yield
    finally:
        for attributes, name, value in reversed(replaced):
            attributes[name] = value


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` was given, or the module itself where it is none that it returned."""
    return module._modules.get(WRAPPED) or module


def written_name(name: str) -> str:
    """Return the name that a part of a compiled network has in the network as it was written.

    >>> written_name("net._orig_mod.3")
    'net.3'
    """
    return ".".join(part for part in name.split(".") if part != WRAPPED)
