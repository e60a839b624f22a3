"""The plain data among an object's attributes: numbers, text, tensors, and containers of them."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_al.host.namespace import pl

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Tensor, torch.device, torch.dtype)

_CONTAINERS = (list, tuple, set, frozenset, dict, OrderedDict, defaultdict)


class PlainState:
    """Remember the plain attributes of some objects, to put them back later.

    Args:
        things: The objects.
        but: Names of attributes to ignore.
    """

    def __init__(self, things: Iterable[Any], but: Collection[str] = ()) -> None:
        self._attributes = [
            (thing, {name: copy.deepcopy(value) for name, value in plain_attributes(thing).items() if name not in but})
            for thing in things
        ]

    def put_back(self) -> None:
        """Give the attributes the values that they had."""
        for thing, before in self._attributes:
            vars(thing).update(copy.deepcopy(before))

    def adopt(self, ended: PlainState) -> None:
        """Adopt what has changed since another state of the same objects was taken."""
        for (thing, before), (_, then) in zip(self._attributes, ended._attributes, strict=True):
            now = plain_attributes(thing)
            changed = [name for name in then if name in now and not is_same(now[name], then[name])]
            before.update({name: copy.deepcopy(now[name]) for name in changed})


def plain_attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes that hold plain data, and the metrics that a callback keeps."""
    return {
        name: value
        for name, value in vars(thing).items()
        # `isinstance` asks all of torchmetrics' classes about each new type.
        if _is_plain(value) or (isinstance(thing, pl.Callback) and Metric in type(value).__mro__)
    }


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same object or equal plain data.

    >>> is_same([1, {"a": 2.0}], [1, {"a": 2.0}]), is_same(1, 1.0), is_same(object(), object())
    (True, False, False)
    """
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, bool | int | float | complex | str | bytes | set | frozenset):
        return bool(one == other)
    if isinstance(one, Tensor):
        return is_equal(one, other)
    return False


def is_equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape, dtype and numbers, on any device."""
    is_alike = one.shape == other.shape and one.dtype == other.dtype
    return is_alike and (one.is_meta or torch.equal(one, other.to(one.device)))


def _is_plain(value: Any) -> bool:
    if type(value) in _CONTAINERS:
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return all(map(_is_plain, parts))
    # A tensor with a history cannot be copied, and it is no setting.
    return isinstance(value, _PLAIN) and not (isinstance(value, Tensor) and value.grad_fn is not None)
