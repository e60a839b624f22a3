"""Of which layers' outputs a tensor consists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lightning_al.values.torch_names import TorchDispatchMode, tree_leaves

MIXES = re.compile(
    r"\w*(mm|mv|matmul|einsum|dot|attention\w*|conv\w*|rnn\w*|lstm\w*|gru\w*|encoder_layer\w*)"
    r"|linear|bilinear|_trilinear|inner|_?cdist\w*"
)
"""Names of operations after which outputs are no longer those of a linear layer: another layer makes them."""


class Sources(TorchDispatchMode):
    """Know of which layers' outputs a tensor consists, whatever was done to each number or to their order.

    Unlike a comparison of values, this does not depend on the batch or on the precision. It holds no tensor: each
    operation that makes one says anew what is kept at its address.

    >>> import torch
    >>> with Sources() as sources, torch.no_grad():
    ...     logits = torch.ones(1, 2)
    ...     sources.add("head", logits)
    ...     found = sources.of(logits.log_softmax(1) / 2), sources.of(logits @ torch.ones(2, 2)), sources.of(logits)
    >>> [sorted(names) for names in found]
    [['head'], [], ['head']]
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names: dict[int, frozenset[str]] = {}

    def of(self, values: Any) -> frozenset[str]:
        """Return the names of these layers."""
        return frozenset().union(*(self._names.get(place, frozenset()) for place in _places(values)))

    def add(self, name: str, values: Any) -> None:
        """Count the layer `name` as a source of tensors."""
        self._set(values, self.of(values) | {name})

    def _set(self, values: Any, names: frozenset[str]) -> None:
        self._names.update(dict.fromkeys(_places(values), names))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and let its results have the sources of its arguments."""
        given = kwargs or {}
        operation = func.name().removeprefix("aten::").partition(".")[0].rstrip("_")
        names = frozenset[str]() if MIXES.fullmatch(operation) else self.of((args, given))
        results = func(*args, **given)
        self._set(results, names)
        return results


def _places(values: Any) -> Iterator[int]:
    """Yield the addresses of the tensors in a structure, which a tensor shares with its views."""
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            try:
                yield leaf.untyped_storage().data_ptr()
            except (RuntimeError, NotImplementedError):  # a tensor that wraps others has no memory of its own
                continue
