"""One module of a tree: what its layers, hooks and attributes were."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from lightning_al.host.held_layers import has_weights, layers_in
from lightning_al.host.namespace import pl
from lightning_al.host.plain_state import is_same
from lightning_al.values.torch_names import BUFFERS, MODULES, PARAMETERS

_REGISTRIES = tuple(name for name, value in vars(nn.Module()).items() if isinstance(value, dict | set))
"""Where a module keeps its layers, parameters, buffers and hooks."""

_LAYERS = (PARAMETERS.path, BUFFERS.path, MODULES.path)

HOOKS = tuple(name for name in _REGISTRIES if name.endswith("_hooks"))

_HOSTS = {*vars(pl.LightningModule()), *(name for name in dir(nn.Module) if name.startswith("_"))}
"""Attributes that torch and Lightning keep for themselves."""

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, nn.ParameterList, nn.ParameterDict)

_MISSING = object()


class ModulePart:
    """Remember the layers, hooks and attributes of one module of a tree, without its children's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kind = type(module)
        self.is_training = module.training
        layers = {name.path: name.of(module).copy() for name in (PARAMETERS, BUFFERS, MODULES)}
        self.registries = layers | {name: vars(module)[name].copy() for name in _REGISTRIES if name not in layers}
        self.attributes = {name: (value, _copied(value)) for name, value in self._own()}

    def _own(self) -> Iterable[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self.module).items() if name not in _HOSTS]

    def changed(self) -> list[str]:
        """Return the names of the attributes that have changed."""
        names = dict.fromkeys([*self.attributes, *(name for name, _ in self._own())])
        return [name for name in names if self.is_changed(name)]

    def had(self, name: str) -> bool:
        """Return whether there was an attribute of this name that was not None."""
        return self.attributes.get(name, (None, None))[0] is not None

    def is_changed(self, name: str) -> bool:
        """Return whether an attribute holds something else, or was made or removed."""
        if name not in self.attributes:
            return name in vars(self.module)
        value, content = self.attributes[name]
        now = vars(self.module).get(name, _MISSING)
        return not (is_same(now, value) if content is _MISSING else now is value and is_same(now, content))

    def has_grown(self, name: str) -> bool:
        """Return whether an attribute is the same list, dict or set as before, and holds more, such as results."""
        value, content = self.attributes.get(name, (None, None))
        if vars(self.module).get(name) is not value:
            return False
        if isinstance(value, dict):
            return all(key in value and is_same(value[key], content[key]) for key in content)
        if isinstance(value, list):
            return is_same(value[: len(content)], content)
        return isinstance(value, set) and value >= content

    def put_back(self, name: str) -> None:
        """Put an attribute back, or remove it if there was none."""
        if name not in self.attributes:
            vars(self.module).pop(name, None)
            return
        value, content = self.attributes[name]
        _refill(value, content)
        for registry in _LAYERS:
            if name not in self.registries[registry]:
                vars(self.module)[registry].pop(name, None)
        vars(self.module)[name] = value

    def was_lazy(self) -> bool:
        """Return whether a lazy layer has got its shape since, and another class by it."""
        return type(self.module) is not self.kind and issubclass(self.kind, LazyModuleMixin)

    def is_altered(self) -> bool:
        """Return whether one of torch's layers has other parameters, buffers or layers, or another class."""
        is_layer = self.kind.__module__.startswith("torch.") and not isinstance(self.module, _CONTAINERS)
        return is_layer and (type(self.module) is not self.kind or any(map(self.has_other_entries, _LAYERS)))

    def has_other_entries(self, name: str) -> bool:
        """Return whether a registry, such as the one of the buffers, holds other entries."""
        now, before = vars(self.module)[name], self.registries[name]
        return list(now) != list(before) or not _same_entries(now, before)

    def put_back_registry(self, name: str) -> None:
        """Put back what a registry held."""
        if self.has_other_entries(name):
            now = vars(self.module)[name]
            now.clear()
            now.update(self.registries[name])

    def put_back_registries(self) -> None:
        """Put back the class, the layers, parameters, buffers and hooks, and the training mode."""
        # A parametrization changes the class of a layer.
        self.module.__class__ = self.kind
        for name in self.registries:
            self.put_back_registry(name)
        # An attribute whose name became a layer is an attribute again.
        layers = {name for registry in _LAYERS for name in self.registries[registry]}
        for name in self.attributes:
            if name not in vars(self.module) and name not in layers:
                self.put_back(name)
        for name in layers:
            vars(self.module).pop(name, None)
        self.module.training = self.is_training

    def put_back_replaced_layers(self) -> None:
        """Put back layers that others have replaced, such as one that `setup` compiled."""
        now, before = vars(self.module)[MODULES.path], self.registries[MODULES.path]
        for name in before:
            if name in now and now[name] is not before[name] and has_weights(now[name]):
                now[name] = before[name]

    def put_back_trained_layers(self, held: Collection[int] = ()) -> None:
        """Put back the layers with weights, and everything that a container held.

        Args:
            held: The ids of layers that are put back even without weights.
        """
        is_container = isinstance(self.module, _CONTAINERS)
        for registry in _LAYERS:
            now, trained = vars(self.module)[registry], self.registries[registry]
            if is_container:
                now.clear()
                now.update(trained)
                continue
            for name, layer in trained.items():
                if now.get(name) is not layer and (has_weights(layer) or name not in now or id(layer) in held):
                    for other in _LAYERS:
                        vars(self.module)[other].pop(name, None)
                    vars(self.module).pop(name, None)
                    now[name] = layer

    def holding_layers(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return the layers that attributes hold, such as a list or a function, if one of them has weights.

        Args:
            names: The attributes to look at.
        """
        held = {name: layers_in(self.attributes[name][0]) for name in names if name in self.attributes}
        return {name: layers for name, layers in held.items() if any(map(has_weights, layers))}

    def adopt(self, names: Iterable[str]) -> None:
        """Remember the current values of some attributes."""
        now = dict(self._own())
        self.attributes.update({name: (now[name], _copied(now[name])) for name in names if name in now})

    def adopt_replaced_layers(self, ended: ModulePart) -> None:
        """Remember layers and weights that replaced others since a fit ended.

        Args:
            ended: The same part at the end of the fit.
        """
        for registry in _LAYERS:
            before, then, now = self.registries[registry], ended.registries[registry], vars(self.module)[registry]
            for name, layer in before.items():
                if name in now and then.get(name) is layer is not now[name]:
                    before[name] = now[name]


def _same_entries(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(one[key] is other[key] for key in one)
    return True


def _copied(value: Any) -> Any:
    """Copy what may change in place: a tensor without a history, or the content of a list, dict or set."""
    if isinstance(value, Tensor) and value.grad_fn is None and not value.is_meta:
        return value.detach().clone()
    return _content(value)


def _content(value: Any, depth: int = 4) -> Any:
    """Copy the content of a list, dict or set, and of those in it. It is `_MISSING` for anything else."""
    if depth and type(value) in (list, set):
        return type(value)(_held(part, depth) for part in value)
    if depth and isinstance(value, dict):
        return {key: _held(part, depth) for key, part in value.items()}
    return _MISSING


def _held(value: Any, depth: int) -> Any:
    content = _content(value, depth - 1)
    return value if content is _MISSING else content


def _refill(value: Any, content: Any) -> None:
    if content is _MISSING or is_same(value, content):
        return
    if isinstance(value, Tensor):
        with torch.no_grad():
            value.copy_(content)
        return
    value.clear()
    (value.extend if isinstance(value, list) else value.update)(_held(content, 4))
