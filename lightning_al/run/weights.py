"""Copy, load and reset the weights of a module and all of its buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_al.values.torch_names import NON_PERSISTENT_BUFFERS


def copy_weights(module: nn.Module) -> dict[str, Any]:
    """Copy a module's weights and buffers to the CPU, with the buffers that its `state_dict` leaves out.

    >>> net = nn.Linear(1, 1)
    >>> net.register_buffer("mean", Tensor([2.0]), persistent=False)
    >>> sorted(copy_weights(net))
    ['bias', 'mean', 'weight']
    """
    state = {name: _copied(value) for name, value in whole_state_dict(module).items()}
    return state | {name: _copied(buffer) for name, buffer in non_persistent_buffers(module)}


def whole_state_dict(module: nn.Module) -> dict[str, Any]:
    """Return torch's `state_dict`, even if the module's own leaves parts out of a checkpoint."""
    return nn.Module.state_dict(module)


def put_weights(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load what `copy_weights` returned. A buffer outside the `state_dict` may be missing, and is then unchanged.

    Raises:
        RuntimeError: If names or shapes of the `state_dict` differ.
    """
    others = dict(non_persistent_buffers(module))
    nn.Module.load_state_dict(module, {name: value for name, value in weights.items() if name not in others})
    for name, buffer in others.items():
        if name in weights:
            owner_name, _, own_name = name.rpartition(".")
            loaded = weights[name].to(buffer.device, copy=True)
            if buffer.shape == loaded.shape and buffer.dtype == loaded.dtype:
                buffer.copy_(loaded)
            else:  # the fit replaced it
                setattr(module.get_submodule(owner_name), own_name, loaded)


def put_matching(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load the weights whose name and shape match a parameter or buffer of the module."""
    held = [*module.named_parameters(), *module.named_buffers()]
    with torch.no_grad():
        for name, value in held:
            if not is_lazy(value) and name in weights and value.shape == weights[name].shape:
                value.copy_(weights[name])


def reset_parameters(module: nn.Module) -> None:
    """Draw new weights by calling `reset_parameters` of each part of the module.

    Raises:
        ValueError: If a parameter belongs to a part without `reset_parameters`. The message names it.

    >>> net = nn.Linear(2, 2)
    >>> before = net.weight.clone()
    >>> reset_parameters(net)
    >>> bool((net.weight == before).all())
    False
    """
    missing = not_reset(module)
    if missing:
        raise ValueError(
            f'`ActiveLearning(reset="fresh")` cannot reset {missing[0]!r} of `{type(module).__name__}` '
            f"({len(missing)} parameters in all): its part has no `reset_parameters()`. Pass `reset=` a "
            'function that returns a new module, or use `reset="initial"`.'
        )
    for part in module.modules():
        reset: Any = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()


def not_reset(module: nn.Module) -> list[str]:
    """Return the names of the parameters that `reset_parameters` cannot reset."""
    covered: set[str] = set()
    for path, part in module.named_modules():
        if callable(getattr(part, "reset_parameters", None)):
            covered.update(f"{path}.{name}" if path else name for name in part.state_dict())
    return [name for name, _ in module.named_parameters() if name not in covered]


def uninitialised(module: nn.Module) -> list[str]:
    """Return the names of parameters and buffers of lazy layers, such as `nn.LazyLinear`, that have no shape yet."""
    held = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, value in held if is_lazy(value)]


def non_persistent_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers that the `state_dict` leaves out, each with its full name."""
    for path, part in module.named_modules():
        buffers = dict(part.named_buffers(recurse=False, remove_duplicate=False))
        for name in sorted(NON_PERSISTENT_BUFFERS.of(part)):
            if name in buffers:
                yield (f"{path}.{name}" if path else name), buffers[name]


def _copied(value: Any) -> Any:
    # `get_extra_state` may return anything.
    return value.detach().cpu().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
