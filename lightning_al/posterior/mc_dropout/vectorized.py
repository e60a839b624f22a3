"""Several posterior samples in one pass over copies of a batch, which is faster on a GPU than one after the other.

Axes: n points of a batch, m samples. Each copy holds all points under one sample; rows 0 to n - 1 are the first copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_al.posterior.batches import leaves_of, map_tensors
from lightning_al.posterior.mc_dropout.dropout_functions import Call
from lightning_al.posterior.mc_dropout.layout import BatchAxis, Shape
from lightning_al.posterior.mc_dropout.prefix import Function, Prefix, call_function

DEVICES = {"cuda", "xpu"}
"""Devices on which a pass over few points leaves most of the device idle. A CPU skips dropped channels instead."""

PASS_BYTES = 2**31
"""The most that one pass may compute after the first dropout, in bytes."""

SIZES = {Tensor.size, Tensor.__len__, Tensor.numel, Tensor.shape.__get__}  # type: ignore[attr-defined]

Masks = Callable[[int, Shape, float, torch.device], tuple[Tensor, BatchAxis | None]]
"""Returns the masks of the m samples for a call of a dropout function ``[m, *one point]``, and the batch axis."""


class CannotVectorizeError(Exception):
    """A network cannot compute several samples in one pass. It can still compute them one after the other."""


class Uses:
    """The tensors from before the first dropout that are read after it, and how many bytes are computed after it."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._ids: set[int] = set()

    def call(self, func: Function, *args: Any, **kwargs: Any) -> Any:
        """Call a function, and record the tensors it reads."""
        self._ids.update(id(leaf) for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor))
        return self.made(func(*args, **kwargs))

    def made(self, result: Any) -> Any:
        """Add the bytes of a result, and return it."""
        self.num_bytes += sum(leaf.nbytes for leaf in leaves_of(result) if isinstance(leaf, Tensor))
        return result

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._ids


class Copies:
    """Make m copies of the tensors that have a row for each of the n points of a batch.

    Attributes:
        made: For each tensor passed, in order, whether it was copied.
    """

    def __init__(self, m: int, n: int) -> None:
        self.m, self.n = m, n
        self.made: list[bool] = []

    def of(self, tensor: Tensor) -> Tensor:
        """Return m copies of a tensor that has a row for each point, and any other tensor unchanged."""
        is_of_points = tensor.dim() > 0 and len(tensor) == self.n
        self.made.append(is_of_points)
        return tensor.unsqueeze(0).expand(self.m, *tensor.shape).flatten(0, 1) if is_of_points else tensor

    def replayer(self, prefix: Prefix, uses: Uses) -> Function:
        """Return a function that replays the results of a prefix, copying those that are read after the prefix."""
        replay = prefix.replayer()

        def compute(func: Function, *args: Any, **kwargs: Any) -> Any:
            if func in SIZES and args and isinstance(args[0], Tensor):
                replay(func, *args, **kwargs)
                return func(self._sized(args[0]), *args[1:], **kwargs)
            return map_tensors(lambda leaf: self.of(leaf) if leaf in uses else leaf, replay(func, *args, **kwargs))

        return compute

    def _sized(self, tensor: Tensor) -> Tensor:
        """Return a tensor without data that has the size of m copies."""
        self.made.append(tensor.dim() > 0 and len(tensor) == self.n)
        shape = (self.m * self.n, *tensor.shape[1:]) if self.made[-1] else tensor.shape
        return torch.empty(shape, device="meta")


class VectorizedDropout(TorchFunctionMode):
    """Answer each call of a dropout function with the masks of m samples, one for each copy of the batch.

    Args:
        shapes: The shapes of the masks for one copy, from a sample computed before.
        masks: Returns the masks.
        compute: Calls any other function.
    """

    def __init__(self, shapes: list[Shape], masks: Masks, compute: Function) -> None:
        super().__init__()
        self.shapes = shapes
        self.masks = masks
        self.compute = compute
        self.num_calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call.of(func, args, kwargs or {})
        if call is None:
            return self.compute(func, *args, **(kwargs or {}))
        if call.p == 0:
            return call.input
        self.compute = call_function
        return self._drop(call)

    def _drop(self, call: Call) -> Tensor:
        if self.num_calls == len(self.shapes):
            raise CannotVectorizeError
        shape = self.shapes[self.num_calls]
        keep_m, axis = self.masks(self.num_calls, shape, call.p, call.input.device)
        self.num_calls += 1
        m, rows = len(keep_m), shape[0]
        if axis is None or axis.dim != 0:
            raise CannotVectorizeError
        if axis.per_point > 1:
            keep_m = keep_m.repeat(1, rows // axis.per_point, *[1] * (keep_m.dim() - 2))
        if len(call.input) == m * rows:
            copies = call.input.unflatten(0, (m, rows))
        elif len(call.input) == rows and not call.inplace:
            copies = call.input.unsqueeze(0)  # from before the first dropout: the same for each sample
        else:
            raise CannotVectorizeError
        dropped = call.apply.drop(copies, keep_m.to(call.input.dtype), call.p).flatten(0, 1)
        return call.input.copy_(dropped) if call.inplace else dropped
