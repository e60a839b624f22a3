"""The tensors in a batch of any form: in tuples, lists, dicts, and mappings such as transformers' BatchEncoding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


def leaves_of(batch: Any) -> list[Any]:
    """Return what a batch holds, in whatever it is nested.

    >>> from collections import UserDict
    >>> leaves_of((UserDict(x=1, more=[2, 3]), "a"))
    [1, 2, 3, 'a']
    """
    leaves: list[Any] = []
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Mapping):  # of a kind that torch does not look into
            for value in leaf.values():
                leaves += leaves_of(value)
        else:
            leaves.append(leaf)
    return leaves


def map_tensors(function: Callable[[Tensor], Any], batch: Any) -> Any:
    """Return a batch of the same form with each of its tensors replaced by what a function makes of it."""

    def replaced(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return function(leaf)
        if not isinstance(leaf, MutableMapping):
            return leaf
        filled: Any = copy.copy(leaf)
        for key, value in leaf.items():
            filled[key] = map_tensors(function, value)
        return filled

    return tree_map(replaced, batch)


def copied(batch: Any) -> Any:
    """Copy a batch, so that what a network does to its input in place is unseen by the next sample."""
    return map_tensors(Tensor.clone, batch)


def length_of(batch: Any) -> int | None:
    """Return how many points a batch has, by its first tensor; None where it has no tensor that could say.

    >>> import torch
    >>> length_of({"x": torch.zeros(5, 2), "y": torch.zeros(5)}), length_of(["a", "b"])
    (5, None)
    """
    lengths = (len(leaf) for leaf in leaves_of(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0)
    return next(lengths, None)
