"""Copy, load and reset the weights of a module and all of its buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_al.run.seeds import seeded
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


def with_more_rows(
    weights: Mapping[str, Any], base: Mapping[str, Any], *, seed: int | None = None, module: nn.Module | None = None
) -> dict[str, Any] | None:
    """Return weights of a network with fewer outputs as those of one with more.

    Args:
        weights: The weights, of which some have fewer rows than those of the larger network.
        base: Weights of the larger network, from which the missing rows are taken.
        seed: If given, the missing rows are drawn with it, where a part has `reset_parameters`.
        module: The larger network, for that.

    Returns:
        The weights, or None where the two networks differ in more than rows, or not at all, or where the first has one
        row, which is the logit of one class against another.

    >>> small, large = nn.Linear(2, 2), nn.Linear(2, 3)
    >>> found = with_more_rows(copy_weights(small), copy_weights(large))
    >>> found["weight"].shape, bool((found["weight"][:2] == small.weight).all())
    (torch.Size([3, 2]), True)
    """
    names = [name for name, value in base.items() if isinstance(value, Tensor)]
    both = [(name, weights.get(name), base[name]) for name in names]
    grown = [(name, old, new) for name, old, new in both if isinstance(old, Tensor) and old.shape != new.shape]
    fits = all(
        old.ndim == new.ndim > 0 and old.shape[1:] == new.shape[1:] and 1 < len(old) < len(new) for _, old, new in grown
    )
    if not grown or not fits or not set(names) <= set(weights):
        return None
    drawn = {} if seed is None or module is None else _drawn(module, [name for name, _, _ in grown], seed)
    found = dict(weights)
    for name, old, new in grown:
        found[name] = drawn.get(name, new).detach().cpu().clone()
        found[name][: len(old)] = old
    return found


def _drawn(module: nn.Module, names: list[str], seed: int) -> dict[str, Tensor]:
    """Return newly drawn weights of the parts of a module that have some of these names."""
    found: dict[str, Tensor] = {}
    with seeded(seed):
        for path in dict.fromkeys(name.rpartition(".")[0] for name in names):
            part = copy.deepcopy(module.get_submodule(path)).cpu()
            reset: Any = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                own = whole_state_dict(part)
                found |= {name: own[name.rpartition(".")[2]] for name in names if name.rpartition(".")[0] == path}
    return found


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
