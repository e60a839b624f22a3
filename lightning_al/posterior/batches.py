"""The tensors in a batch of any form: tuples, lists, dicts, and mappings such as transformers' BatchEncoding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lightning_al.values.torch_names import tree_leaves, tree_map


def leaves_of(batch: Any) -> list[Any]:
    """Return all leaves of a nested batch.

    >>> from collections import UserDict
    >>> leaves_of((UserDict(x=1, more=[2, 3]), "a"))
    [1, 2, 3, 'a']
    """
    leaves: list[Any] = []
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Mapping):  # a mapping that torch does not know as a container
            for value in leaf.values():
                leaves += leaves_of(value)
        else:
            leaves.append(leaf)
    return leaves


def map_tensors(function: Callable[[Tensor], Any], batch: Any) -> Any:
    """Return a batch of the same form with a function applied to each tensor."""

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


def first_points(batch: Any, m: int) -> Any | None:
    """Return a batch with only its first m points, or None if it cannot be cut.

    >>> import torch
    >>> first_points({"x": torch.zeros(5, 2), "y": torch.zeros(5), "scale": 3}, 2)["x"].shape
    torch.Size([2, 2])
    """
    n = num_points(batch)
    leaves = tree_leaves(batch, is_leaf=_is_packed)
    leaves = [leaf for leaf in leaves if not _is_packed(leaf)]
    if n is None or not all(leaf is None or isinstance(leaf, Tensor | int | float) for leaf in leaves_of(leaves)):
        return None

    def packed(leaf: Any) -> Any:
        if not _is_packed(leaf):
            return map_tensors(lambda values: values[:m] if values.dim() > 0 and len(values) == n else values, leaf)
        values, lengths = pad_packed_sequence(leaf, batch_first=True)
        return pack_padded_sequence(values[:m], lengths[:m], batch_first=True, enforce_sorted=False)

    return tree_map(packed, batch, is_leaf=_is_packed)


def num_points(batch: Any) -> int | None:
    """Return the number of points in a batch, from its first packed sequences or else its first tensor."""
    packed = [leaf for leaf in tree_leaves(batch, is_leaf=_is_packed) if _is_packed(leaf)]
    return int(packed[0].batch_sizes[0]) if packed else length_of(batch)


def _is_packed(leaf: Any) -> bool:
    return isinstance(leaf, PackedSequence)


def copied(batch: Any) -> Any:
    """Copy a batch, so a network that changes its input in place does not affect the next sample."""
    return map_tensors(Tensor.clone, batch)


def length_of(batch: Any) -> int | None:
    """Return the length of a batch's first tensor with at least one axis, or None if it has no such tensor.

    >>> import torch
    >>> length_of({"x": torch.zeros(5, 2), "y": torch.zeros(5)}), length_of(["a", "b"])
    (5, None)
    """
    lengths = (len(leaf) for leaf in leaves_of(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0)
    return next(lengths, None)
