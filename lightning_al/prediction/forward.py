"""The outputs of a module for a batch: by the user's function, or by calling it on the inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_al.data.target import Target
from lightning_al.posterior.base import Forward
from lightning_al.posterior.compiled import unwrapped
from lightning_al.prediction.calls import CallError, said_clearly


def forward_of(given: Forward | None, target: Target) -> Forward:
    """Return the function of a module and a batch that scores the pool: the one given, or the usual one.

    If the outputs have the logits under a name, like those of transformers, it returns the logits. If it fails, it says
    what the module was called with.
    """
    return said_clearly(given, None) if given is not None else said_clearly(default_forward(target), target.inputs)


def default_forward(target: Target) -> Forward:
    """Return the function that calls a module on the inputs of a batch: the batch without its label.

    Several inputs in a tuple are passed one after the other, and several in a dict by name if `forward` has such
    parameters. A single input is passed unchanged, even if it is a tuple, unless `forward` takes several inputs, or
    only named ones.
    """

    def forward(module: nn.Module, batch: Any) -> Tensor:
        arguments = target.arguments(batch)
        if len(arguments) == 1 and not (isinstance(arguments, Mapping) and _takes_names_alone(module)):
            inputs = target.inputs(batch)
            if isinstance(inputs, Mapping):
                outputs = _call_by_name(module, inputs)
            elif isinstance(inputs, tuple | list) and _takes_several(module):
                outputs = module(*inputs)
            else:
                outputs = module(inputs)
        elif isinstance(arguments, Mapping):
            outputs = _call_by_name(module, arguments)
        else:
            outputs = module(*arguments)
        return outputs  # type: ignore[no-any-return]

    return forward


def _takes_several(module: nn.Module) -> bool:
    """Return whether `forward` cannot be called with one input."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    in_order = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in in_order and one.default is one.empty]
    return len(needed) > 1


def _takes_names_alone(module: nn.Module) -> bool:
    """Return whether `forward` takes no input but by its name, as `forward(self, **inputs)` does."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    return all(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters)


def _call_by_name(module: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """Call a module on the inputs that its `forward` has parameters for, or on all as one where it has none for any."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    by_name = {one.name: one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    known = inputs if takes_all else {name: value for name, value in inputs.items() if name in by_name}
    needed = {name for name, parameter in by_name.items() if parameter.default is parameter.empty}
    if known and needed <= set(known):
        return module(**known)
    if len(needed) <= 1 and not known:
        return module(inputs)
    raise CallError(
        f"A batch has the inputs {', '.join(map(str, inputs))}, but `{type(module).__name__}.forward` takes "
        f"{', '.join(parameter.name for parameter in parameters)}. Pass `forward=`, a function of the module and the "
        "batch that returns its outputs."
    )
