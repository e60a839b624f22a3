"""Run compiled networks eagerly, and find their parts by their original names."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lightning_al.values.torch_names import COMPILED_CLASS, COMPILED_FROM


def run_eagerly() -> AbstractContextManager[Any]:
    """Run compiled code eagerly inside the context. It stays compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes a second
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the original of a compiled module, or the module itself if it is not compiled."""
    dynamo: Any = sys.modules.get("torch._dynamo")
    is_compiled = dynamo is not None and isinstance(module, COMPILED_CLASS.of(torch))
    return COMPILED_FROM.of(module) if is_compiled else module


def written_name(name: str) -> str:
    """Return the name of a compiled network's part in the original network.

    >>> written_name("net._orig_mod.3")
    'net.3'
    """
    return ".".join(part for part in name.split(".") if part != COMPILED_FROM.path)
