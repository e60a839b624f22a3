"""What a module is before its `setup`, so that every round sets up and trains what a new module would be.

Lightning calls `setup` and `configure_model` for every fit and test. Many modules build layers there, or change what
they hold, and a round is a fit and a test of the same module as the round before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from lightning_al.host.namespace import is_overridden, pl

_REGISTRIES = tuple(name for name, value in vars(nn.Module()).items() if isinstance(value, dict | set))
"""Where a module keeps its layers, parameters, buffers and hooks."""

_LAYERS = ("_parameters", "_buffers", "_modules")

_HOOKS = tuple(name for name in _REGISTRIES if name.endswith("_hooks"))

_HOSTS = {*vars(nn.Module()), *vars(pl.LightningModule()), "_compiled_call_impl"} - {"_hparams"}
"""Attributes that torch and Lightning keep for themselves."""

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, nn.ParameterList, nn.ParameterDict)

_MISSING = object()


class ModuleState:
    """Remember the layers, hooks and attributes of a module and its parts, to put them back later.

    Put back are: every layer, parameter, buffer and hook by identity; whether a parameter is trained and a part is in
    training mode; the plain attributes of torch's own layers, such as a dropout rate; and of the user's classes those
    attributes that the first `setup` or `configure_model` made or changed. Lists, dicts and sets get their content
    back. What a module counts in its own attributes while it is fitted is the user's and stays. The numbers that
    parameters hold are not put back here.

    Args:
        module: A module before its first `setup`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._values: list[tuple[Tensor, Tensor]] = []
        self._filled: list[Tensor] = []
        self._parts = [_Part(part) for part in module.modules()]
        self._are_trained = [(weight, weight.requires_grad) for weight in module.parameters()]
        self._set_up: list[tuple[_Part, str]] = []
        self._hooked: list[tuple[_Part, str]] = []
        self._altered: list[_Part] = []
        self._is_noted = False

    def before_first_setup(self) -> ModuleState:
        """Copy the numbers of weights and buffers until `note_setup`, which notes those that were changed."""
        self._values = _values(self._module)
        return self

    def note_setup(self) -> None:
        """Note what the `setup` that just ran made or changed, where it is the first."""
        if self._is_noted:
            return
        self._is_noted = True
        self._filled = [weight for weight, value in self._values if not _is_equal(weight, value)]
        self._values = []
        # A lazy layer that knows its shape now is one of another class, without the hooks that waited for it.
        self._parts = [_Part(part.module) if part.was_lazy() else part for part in self._parts]
        self._set_up = [(part, name) for part in self._parts for name in part.changed()]
        self._hooked = [(part, name) for part in self._parts for name in _HOOKS if part.has_other_entries(name)]
        self._altered = [part for part in self._parts if part.is_altered()]

    def put_back(self) -> None:
        """Make the module what it was, before the `setup` of another fit."""
        for part in self._parts:
            part.put_back_registries()
            part.put_back_plain()
        for part, name in self._set_up:
            part.put_back(name)
        for weight, is_trained in self._are_trained:
            weight.requires_grad = is_trained

    def put_back_all(self) -> None:
        """Make the module what it was, and every attribute of the user's classes too."""
        self.put_back()
        for part in self._parts:
            for name in part.changed():
                part.put_back(name)

    def adopt(self, ended: ModuleState) -> None:
        """Take over what was changed since another state was remembered: between two fits, that was the user."""
        before = {id(part.module): part for part in ended._parts}
        set_up = {(id(part.module), name) for part, name in self._set_up}
        for part in self._parts:
            if id(part.module) in before:
                changed = before[id(part.module)].changed()
                part.adopt([name for name in changed if (id(part.module), name) not in set_up])
                if part.module.training != before[id(part.module)].is_training:
                    part.is_training = part.module.training
                part.adopt_replaced_layers(before[id(part.module)])
        trained = {id(weight): is_trained for weight, is_trained in ended._are_trained}
        self._are_trained = [
            (weight, weight.requires_grad if trained.get(id(weight)) != weight.requires_grad else is_trained)
            for weight, is_trained in self._are_trained
        ]
        self._take_new_layers()

    def _take_new_layers(self) -> None:
        """Remember the layers that were adopted."""
        known = {id(part.module) for part in self._parts}
        layers = [layer for part in self._parts for layer in part.registries["_modules"].values() if layer is not None]
        new = {id(new): new for layer in layers for new in layer.modules() if id(new) not in known}
        self._parts += [_Part(layer) for layer in new.values()]
        are_known = {id(weight) for weight, _ in self._are_trained}
        weights = [weight for part in self._parts for weight in part.registries["_parameters"].values()]
        self._are_trained += [
            (weight, weight.requires_grad) for weight in weights if weight is not None and id(weight) not in are_known
        ]

    @contextmanager
    def tested(self, module: pl.LightningModule) -> Iterator[None]:
        """Keep the trained layers in place while the module is set up for a test.

        What the first `setup` changed is put back before, so that it is not changed twice; what it made stays. After
        `setup` and `configure_model`, layers with weights are the trained ones again, and so is what the `setup` for
        the test left as it was, and what holds on to the trained layers. What it made for the test alone stays. Layers
        of torch's that the first `setup` altered in place, by a parametrization say, are those before it for the
        `setup`, and after it the trained ones; so are numbers that the first `setup` filled into weights.
        """
        trained = ModuleState(module)
        filled = {id(weight) for weight in self._filled}
        values = _values(module, filled)
        by_layers = {
            id(part.module): part.holding_layers(name for owner, name in self._set_up if owner.module is part.module)
            for part in trained._parts
        }
        held = {id(layer) for of_part in by_layers.values() for layers in of_part.values() for layer in layers}
        changed = [(part, name) for part, name in self._set_up if part.had(name) and part.is_changed(name)]
        for part, name in changed:
            part.put_back(name)
        for part, name in self._hooked:
            part.put_back_registry(name)
        for part in self._altered:
            part.put_back_registries()
        for part in self._parts:
            part.put_back_replaced_layers()
        hook_name = "configure_model" if is_overridden("configure_model", module) else "setup"
        hook = getattr(module, hook_name)

        def then_trained(*args: Any, **kwargs: Any) -> None:
            hook(*args, **kwargs)
            untouched = [(id(part.module), name) for part, name in changed if not part.is_changed(name)]
            unhooked = [(id(part.module), name) for part, name in self._hooked if not part.has_other_entries(name)]
            altered = {id(part.module) for part in self._altered}
            for part in trained._parts:
                if id(part.module) in altered:
                    part.put_back_registries()
                part.put_back_trained_layers(held)
                for owner, name in untouched:
                    if owner == id(part.module):
                        part.put_back(name)
                for owner, name in unhooked:
                    if owner == id(part.module):
                        part.put_back_registry(name)
                for name in by_layers[id(part.module)]:
                    part.put_back(name)
            _fill(values)

        vars(module)[hook_name] = then_trained
        try:
            yield
        finally:
            vars(module).pop(hook_name, None)


class _Part:
    """One module of a tree: what its registries and its attributes held."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kind = type(module)
        self.is_training = module.training
        self.registries = {name: vars(module)[name].copy() for name in _REGISTRIES}
        self.attributes = {name: (value, _content(value)) for name, value in self._own()}

    def _own(self) -> Iterable[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self.module).items() if name not in _HOSTS]

    def changed(self) -> list[str]:
        names = dict.fromkeys([*self.attributes, *(name for name, _ in self._own())])
        return [name for name in names if self.is_changed(name)]

    def had(self, name: str) -> bool:
        """Return whether there was an attribute of this name that held something."""
        return self.attributes.get(name, (None, None))[0] is not None

    def is_changed(self, name: str) -> bool:
        if name not in self.attributes:
            return name in vars(self.module)
        value, content = self.attributes[name]
        now = vars(self.module).get(name, _MISSING)
        return not (same(now, value) if content is _MISSING else now is value and same(now, content))

    def put_back(self, name: str) -> None:
        """Put back an attribute, or remove it where there was none."""
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
        return type(self.module) is not self.kind and issubclass(self.kind, LazyModuleMixin)

    def is_altered(self) -> bool:
        """Return whether a layer of torch's has others of parameters or buffers, or another class by them."""
        is_layer = self.kind.__module__.startswith("torch.") and not isinstance(self.module, _CONTAINERS)
        return is_layer and (type(self.module) is not self.kind or any(map(self.has_other_entries, _LAYERS)))

    def has_other_entries(self, name: str) -> bool:
        now, before = vars(self.module)[name], self.registries[name]
        return list(now) != list(before) or not _same_entries(now, before)

    def put_back_registry(self, name: str) -> None:
        if self.has_other_entries(name):
            now = vars(self.module)[name]
            now.clear()
            now.update(self.registries[name])

    def put_back_registries(self) -> None:
        # A parametrization makes a layer one of a class of its own.
        self.module.__class__ = self.kind
        for name in self.registries:
            self.put_back_registry(name)
        # A name that became a layer is the attribute that it was.
        layers = {name for registry in _LAYERS for name in self.registries[registry]}
        for name in self.attributes:
            if name not in vars(self.module) and name not in layers:
                self.put_back(name)
        for name in layers:
            vars(self.module).pop(name, None)
        self.module.training = self.is_training

    def put_back_plain(self) -> None:
        """Put back the attributes of a layer of torch's that hold plain data."""
        if type(self.module).__module__.startswith("torch."):
            for name, (value, _) in self.attributes.items():
                if isinstance(value, bool | int | float | str | tuple | type(None)):
                    vars(self.module)[name] = value

    def put_back_replaced_layers(self) -> None:
        """Put back the layers that were there and are others now, such as one that `setup` compiled."""
        now, before = self.module._modules, self.registries["_modules"]
        for name in before:
            if name in now and now[name] is not before[name] and _has_weights(now[name]):
                now[name] = before[name]

    def put_back_trained_layers(self, held: Collection[int] = ()) -> None:
        """Put back what has weights, and whatever a container held.

        Args:
            held: Layers that are put back without weights too, by identity.
        """
        is_container = isinstance(self.module, _CONTAINERS)
        for registry in _LAYERS:
            now, trained = vars(self.module)[registry], self.registries[registry]
            if is_container:
                now.clear()
                now.update(trained)
                continue
            for name, layer in trained.items():
                if now.get(name) is not layer and (_has_weights(layer) or name not in now or id(layer) in held):
                    for other in _LAYERS:
                        vars(self.module)[other].pop(name, None)
                    vars(self.module).pop(name, None)
                    now[name] = layer

    def holding_layers(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return those attributes that hold layers with weights, such as a list of them or a function, and the layers.

        Args:
            names: The attributes to look at.
        """
        held = {name: _layers_in(self.attributes[name][0]) for name in names if name in self.attributes}
        return {name: layers for name, layers in held.items() if any(map(_has_weights, layers))}

    def adopt(self, names: Iterable[str]) -> None:
        """Remember the attributes of these names as they are now."""
        now = dict(self._own())
        self.attributes.update({name: (now[name], _content(now[name])) for name in names if name in now})

    def adopt_replaced_layers(self, ended: _Part) -> None:
        """Remember the layers and weights that stood in the place of others when a fit ended, which did not make them.

        Args:
            ended: The same part at the end of the fit.
        """
        for registry in _LAYERS:
            before, then, now = self.registries[registry], ended.registries[registry], vars(self.module)[registry]
            for name, layer in before.items():
                if name in now and then.get(name) is layer is not now[name]:
                    before[name] = now[name]


def _has_weights(layer: Any) -> bool:
    if isinstance(layer, nn.Module):
        return next(layer.parameters(), None) is not None or next(layer.buffers(), None) is not None
    return layer is not None


def _values(module: nn.Module, only: Collection[int] | None = None) -> list[tuple[Tensor, Tensor]]:
    """Return the weights and buffers of a module, or some of them by identity, each with a copy of its numbers."""
    held = [weight for weight in (*module.parameters(), *module.buffers()) if not is_lazy(weight)]
    return [(weight, weight.detach().clone()) for weight in held if only is None or id(weight) in only]


def _is_equal(weight: Tensor, value: Tensor) -> bool:
    is_alike = weight.shape == value.shape and weight.dtype == value.dtype
    return is_alike and (weight.is_meta or torch.equal(weight, value.to(weight.device)))


def _fill(values: Iterable[tuple[Tensor, Tensor]]) -> None:
    for weight, value in values:
        weight.data = value.to(weight.device)


def _layers_in(value: Any, depth: int = 4) -> list[Any]:
    """Return the layers and parameters that a value holds: in a list or dict, in a function, or in an object."""
    if isinstance(value, pl.LightningModule) or depth == 0:
        return []
    if isinstance(value, nn.Module | nn.Parameter):
        return [value]
    return [layer for part in _parts_of(value) for layer in _layers_in(part, depth - 1)]


def _parts_of(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, MethodType):
        return (value.__self__,)
    if isinstance(value, FunctionType):
        return (*_cells(value), *(value.__defaults__ or ()))
    if isinstance(value, type | ModuleType | pl.Trainer | pl.LightningDataModule):
        return ()
    return getattr(value, "__dict__", {}).values()


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # of a name that has no value yet
            yield cell.cell_contents


def _same_entries(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(one[key] is other[key] for key in one)
    return True


def _content(value: Any, depth: int = 4) -> Any:
    """Copy what a list, dict or set holds, and lists in it likewise; `_MISSING` for anything else."""
    if depth and type(value) in (list, set):
        return type(value)(_held(part, depth) for part in value)
    if depth and isinstance(value, dict):
        return {key: _held(part, depth) for key, part in value.items()}
    return _MISSING


def _held(value: Any, depth: int) -> Any:
    content = _content(value, depth - 1)
    return value if content is _MISSING else content


def _refill(value: Any, content: Any) -> None:
    if content is _MISSING or same(value, content):
        return
    value.clear()
    (value.extend if isinstance(value, list) else value.update)(_held(content, 4))


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same object, or plain data that is equal."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool | int | float | complex | str | bytes | set | frozenset):
        return bool(one == other)
    if isinstance(one, Tensor):
        return _is_equal(one, other)
    return False
