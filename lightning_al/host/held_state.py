"""The states of what a module made in its `__init__`: optimizers, their schedulers, and random generators."""

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


class HeldStates:
    """Remember the states of the optimizers, schedulers and generators that a module and its parts hold.

    Args:
        module: The module. What its attributes hold is seen, and what their lists, tuples and dicts hold.
    """

    def __init__(self, module: nn.Module) -> None:
        held = {id(thing): thing for part in module.modules() for value in vars(part).values() for thing in _in(value)}
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
    return (part for part in parts if isinstance(part, kinds))


def _state_of(thing: Any) -> Any:
    if isinstance(thing, Optimizer | LRScheduler):
        return thing.state_dict()
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    return thing.getstate() if isinstance(thing, random.Random) else thing.get_state()


def _set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, Optimizer | LRScheduler):
        thing.load_state_dict(state)
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    elif isinstance(thing, random.Random):
        thing.setstate(state)
    else:
        thing.set_state(state)
