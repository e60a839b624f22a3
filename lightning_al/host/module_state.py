"""What a module is before its `setup`, so that every round trains what a new module would be.

Lightning calls `setup` and `configure_model` for every fit and test. Many modules build layers there, or change what
they have. A round is a fit and a test of the same module as in the round before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_al.host.held_state import HeldStates
from lightning_al.host.module_part import HOOKS, ModulePart
from lightning_al.host.namespace import is_overridden, pl
from lightning_al.host.plain_state import is_equal
from lightning_al.values.torch_names import MODULES, PARAMETERS


class ModuleState:
    """Remember the layers, hooks and attributes of a module and its parts, to put them back later.

    These are put back:

    - every layer, parameter, buffer and hook, by identity,
    - `requires_grad` of parameters and the training mode of each part,
    - attributes, such as a dropout rate or a temperature that training lowers, with the numbers in tensors,
    - the states of optimizers, schedulers and random generators that a module made in its `__init__`.

    What a fit adds to a list, dict or set stays, so that a module can gather results over the rounds; what `setup` adds
    does not. The numbers in parameters and buffers stay too.

    Args:
        module: A module before its first `setup`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._values: list[tuple[Tensor, Tensor]] = []
        self._held: HeldStates | None = None
        self._filled: list[Tensor] = []
        self._parts = [ModulePart(part) for part in module.modules()]
        self._are_trained = [(weight, weight.requires_grad) for weight in module.parameters()]
        self._set_up: list[tuple[ModulePart, str]] = []
        self._hooked: list[tuple[ModulePart, str]] = []
        self._altered: list[ModulePart] = []
        self._is_noted = False

    def before_first_setup(self) -> ModuleState:
        """Copy weights and buffers, so that `note_setup` can tell which of them `setup` changed, and held states."""
        self._values = _values(self._module)
        self._held = HeldStates(self._module)
        return self

    def note_setup(self) -> None:
        """Note what the `setup` that just ran has made or changed, if it was the first."""
        if self._is_noted:
            return
        self._is_noted = True
        self._filled = [weight for weight, value in self._values if not is_equal(weight, value)]
        self._values = []
        # A lazy layer that has got its shape has another class, without the hooks that waited for the shape.
        self._parts = [ModulePart(part.module) if part.was_lazy() else part for part in self._parts]
        self._set_up = [(part, name) for part in self._parts for name in part.changed()]
        self._hooked = [(part, name) for part in self._parts for name in HOOKS if part.has_other_entries(name)]
        self._altered = [part for part in self._parts if part.is_altered()]

    def put_back(self) -> None:
        """Put the module back, before the `setup` of another fit."""
        for part in self._parts:
            part.put_back_registries()
            for name in part.changed():
                if not part.has_grown(name):
                    part.put_back(name)
        for part, name in self._set_up:
            part.put_back(name)
        if self._held is not None:
            self._held.put_back()
        for weight, is_trained in self._are_trained:
            weight.requires_grad = is_trained

    def put_back_all(self) -> None:
        """Put the module back, with what was added to its lists, dicts and sets too."""
        self.put_back()
        for part in self._parts:
            for name in part.changed():
                part.put_back(name)

    def adopt(self, ended: ModuleState) -> None:
        """Adopt what has changed since the end of a fit, which the user has changed before the next."""
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
        layers = [
            layer for part in self._parts for layer in part.registries[MODULES.path].values() if layer is not None
        ]
        new = {id(new): new for layer in layers for new in layer.modules() if id(new) not in known}
        self._parts += [ModulePart(layer) for layer in new.values()]
        are_known = {id(weight) for weight, _ in self._are_trained}
        weights = [weight for part in self._parts for weight in part.registries[PARAMETERS.path].values()]
        self._are_trained += [
            (weight, weight.requires_grad) for weight in weights if weight is not None and id(weight) not in are_known
        ]

    @contextmanager
    def tested(self, module: pl.LightningModule) -> Iterator[None]:
        """Keep the trained layers while the module is set up for a test.

        Before the `setup` of the test, what the first `setup` changed is put back, so that it is not changed twice.
        This holds for torch's layers that it altered in place too, by a parametrization say. What it made stays.

        After `setup` and `configure_model`, the trained layers are put back, with the attributes that hold them, the
        attributes that this `setup` did not change, and the numbers that the first `setup` wrote into weights. What
        this `setup` made for the test alone stays.
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


def _values(module: nn.Module, only: Collection[int] | None = None) -> list[tuple[Tensor, Tensor]]:
    """Return the weights and buffers of a module, or those with the given ids, each with a copy."""
    held = [weight for weight in (*module.parameters(), *module.buffers()) if not is_lazy(weight)]
    return [(weight, weight.detach().clone()) for weight in held if only is None or id(weight) in only]


def _fill(values: Iterable[tuple[Tensor, Tensor]]) -> None:
    for weight, value in values:
        weight.data = value.to(weight.device)
