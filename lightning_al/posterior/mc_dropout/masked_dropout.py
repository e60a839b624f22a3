"""Answer the dropout functions of a network with the masks of one posterior sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_al.posterior.mc_dropout import sparse
from lightning_al.posterior.mc_dropout.dropout_functions import Call, drop_to_zero
from lightning_al.posterior.mc_dropout.layout import BatchAxis, Shape, spread
from lightning_al.posterior.mc_dropout.prefix import Function, Prefix, call_function
from lightning_al.posterior.mc_dropout.vectorized import Uses

Masks = Callable[[int, Shape, float, torch.device], tuple[Tensor, BatchAxis | None]]
"""Returns the masks of all samples ``[K, *one point]`` for a call of a dropout function, and the batch axis."""


class MaskedDropout(TorchFunctionMode):
    """Answer every call of a dropout function with the mask of sample k, and reuse the results of the prefix.

    Args:
        masks: Returns the masks. If None, each call drops nothing.
        k: The sample.
        prefix: What all samples share before the first noise; sample 0 records it.
        num_draws: Returns how many draws other functions have made so far.
        uses: Records what is read after the first dropout.
        skips_dropped: Whether to skip the arithmetic of dropped channels.

    Attributes:
        shapes: The shape of the mask of each call so far, for all points.
        in_channels: Whether each of these calls drops whole channels.
    """

    def __init__(
        self,
        masks: Masks | None = None,
        k: int = 0,
        prefix: Prefix | None = None,
        num_draws: Callable[[], int] = lambda: 0,
        uses: Uses | None = None,
        *,
        skips_dropped: bool = False,
    ) -> None:
        super().__init__()
        self.masks = masks
        self.k = k
        self.prefix = prefix
        self.uses = uses
        self.skips_dropped = skips_dropped
        self.shapes: list[Shape] = []
        self.in_channels: list[bool] = []
        self.sparse_tensors: list[sparse.ChannelSparse] = []
        self.shared = sparse.SharedResults(prefix.after if prefix is not None else [])
        self.compute: Function = call_function
        if prefix is not None and prefix.is_reusable():
            self.compute = prefix.replayer()
        elif prefix is not None and k == 0:
            self.compute = prefix.recorder(num_draws)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call.of(func, args, kwargs or {})
        if self.sparse_tensors and call is None:
            if sparse.changes_in_place(func, args, kwargs or {}):
                # The function may change what a sparse tensor was made from.
                self._make_dense()
            if sparse.has_sparse((*args, *(kwargs or {}).values())):
                return sparse.call(func, args, kwargs or {}, self.shared)
        if call is None:
            return self.compute(func, *args, **(kwargs or {}))
        return call.input if call.p == 0 else self._drop(call)

    def _drop(self, call: Call) -> Tensor:
        input, p = call.input, call.p
        shape = call.apply.shape(sparse.shape_of(input))
        self.shapes.append(shape)
        self.in_channels.append(call.apply.channels)
        if self.masks is None:
            return input
        if self.prefix is not None and self.k == 0:
            self.prefix.end()
        self.compute = call_function if self.uses is None else self.uses.call
        masks_K, axis = self.masks(len(self.shapes) - 1, shape, p, input.device)
        keep = spread(masks_K[self.k], axis, shape)
        is_by_channel = math.prod(shape[2:]) == 1 and axis == BatchAxis(0, 1)
        if self.skips_dropped and call.apply.drop is drop_to_zero and p < 1 and is_by_channel and not call.inplace:
            made = sparse.dropped(input, keep.flatten(), p, self.shared)
            if made is not None:
                self.sparse_tensors.append(made)
                return made
        if call.inplace:
            self._make_dense()
        input = input.dense() if isinstance(input, sparse.ChannelSparse) else input
        dropped = call.apply.drop(input, keep.to(input.dtype), p)
        if self.uses is not None:
            self.uses.made(dropped)
        return input.copy_(dropped) if call.inplace else dropped

    def _make_dense(self) -> None:
        for tensor in self.sparse_tensors:
            tensor.dense()
        self.sparse_tensors = []
