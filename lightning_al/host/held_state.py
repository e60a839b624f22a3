"""The states of what a module made in its `__init__`: optimizers, schedulers, random generators and plain metrics."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from lightning_al.host.plain_state import plain_attributes
from lightning_al.values.torch_names import MODULES


class HeldStates:
    """Remember the states of the optimizers, schedulers and generators that a module and its parts hold.

    Metrics that are none of its parts, since a plain dict or list holds them, are remembered too.

    Args:
        module: The module. What its attributes hold is seen, and what their lists, tuples and dicts hold.
    """

    def __init__(self, module: nn.Module) -> None:
        values = [value for part in module.modules() for name, value in vars(part).items() if name != MODULES.path]
        held = {id(thing): thing for value in values for thing in _in(value)}
        # A scheduler's state goes on top of that of its optimizer.
        things = sorted(held.values(), key=lambda thing: isinstance(thing, LRScheduler))
        self._states = [(thing, copy.deepcopy(_state_of(thing))) for thing in things]

    def put_back(self) -> None:
        """Give each its state back."""
        for thing, state in self._states:
            _set_state(thing, copy.deepcopy(state))


def _in(value: Any) -> Iterator[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    kinds = (Optimizer, LRScheduler, torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return (part for part in parts if isinstance(part, kinds) or Metric in type(part).__mro__)


def _state_of(thing: Any) -> Any:
    if isinstance(thing, Optimizer | LRScheduler):
        return thing.state_dict()
    if isinstance(thing, Metric):
        return plain_attributes(thing)
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    return thing.getstate() if isinstance(thing, random.Random) else thing.get_state()


def _set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, Optimizer | LRScheduler):
        thing.load_state_dict(state)
    elif isinstance(thing, Metric):
        vars(thing).update(state)
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    elif isinstance(thing, random.Random):
        thing.setstate(state)
    else:
        thing.set_state(state)
