"""Dropout that skips the arithmetic of the channels it drops.

Axes: n points, C channels or units, C' of them kept.

A dropped channel is zero for all points of the pool, so neither the weights that read it nor those that write it need
to be multiplied. A `ChannelSparse` tensor remembers which channels are kept, passes through operations that treat all
channels alike, and is multiplied by the weights of the kept channels only. Any other operation makes it dense first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_al.posterior.mc_dropout.layout import Shape
from lightning_al.posterior.mc_dropout.prefix import Function
from lightning_al.values.torch_names import NO_TORCH_FUNCTION, WRAPPER_TENSOR, tree_map_only

SCALING: dict[Function, int | None] = {
    **dict.fromkeys((torch.relu, F.relu, Tensor.relu, F.leaky_relu)),
    **dict.fromkeys((torch.max_pool1d, F.max_pool1d, torch.avg_pool1d, F.adaptive_avg_pool1d), 3),
    **dict.fromkeys((torch.max_pool2d, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d), 4),
    **dict.fromkeys((torch.max_pool3d, F.max_pool3d, F.avg_pool3d, F.adaptive_avg_pool3d), 5),
}
"""Functions that act on each channel alone and commute with scaling, with the number of axes that they need.

With fewer axes they would take the points for channels.
"""

UNIT_BY_UNIT: dict[Function, int | None] = {
    **SCALING,
    **dict.fromkeys((torch.tanh, Tensor.tanh, torch.sigmoid, Tensor.sigmoid, F.gelu, F.silu, F.elu, F.hardtanh)),
}
"""Functions that act on each channel alone: their result for a dropped channel need not be computed."""

FLATTENING = {torch.flatten, Tensor.flatten}

RESHAPING = {Tensor.view, Tensor.reshape, torch.reshape}

PRODUCTS = {F.linear, torch.conv1d, torch.conv2d, torch.conv3d, F.conv1d, F.conv2d, F.conv3d}

WRITING = {
    "__setitem__", "__iadd__", "__isub__", "__imul__", "__idiv__", "__itruediv__", "__ifloordiv__", "__imod__",
    "__ipow__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__", "__set__",
}  # fmt: skip
"""Methods that change their tensor in place, besides those whose name ends in an underscore."""

GETTERS: tuple[Any, ...] = (Tensor.shape, Tensor.dtype, Tensor.device, Tensor.ndim, Tensor.requires_grad, Tensor.layout)
ABOUT = {
    *(Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point),
    *(getter.__get__ for getter in GETTERS),
}
"""Functions that read the properties of a tensor, not its values."""


class ChannelSparse(Tensor):
    """A tensor ``[n, C, ...]`` that is zero outside the kept channels, or a deferred product with weights.

    A product is deferred until it is known which of its channels the next dropout keeps.

    Attributes:
        channels: The values, of all channels or (`is_gathered`) of the kept ones only; None for a deferred product.
        kept: Indices of the kept channels.
        scale: The factor by which the values are still to be multiplied.
        is_gathered: Whether `channels` holds the kept channels only.
        is_common: Whether `channels` is the same for all posterior samples.
        product: Computes the channels with the given indices, or all.
        flattened: The tensor that this one is a view of, if any.
        result: The dense tensor, once it was needed.
    """

    channels: Tensor | None
    kept: Tensor
    scale: float
    is_gathered: bool
    is_common: bool
    product: Callable[[Tensor | None], Tensor] | None
    flattened: ChannelSparse | None
    result: Tensor | None

    @classmethod
    def deferred(cls, shape: Shape, like: Tensor, product: Callable[[Tensor | None], Tensor]) -> ChannelSparse:
        """Make a deferred product of the given shape."""
        made: ChannelSparse = WRAPPER_TENSOR.of(Tensor)(cls, shape, dtype=like.dtype, device=like.device)
        made.channels, made.product, made.flattened, made.result = None, product, None, None
        return made

    @classmethod
    def of_channels(
        cls, shape: Shape, channels: Tensor, kept: Tensor, scale: float, *, is_gathered: bool, is_common: bool
    ) -> ChannelSparse:
        """Make a tensor of the given shape from its channels."""
        made: ChannelSparse = WRAPPER_TENSOR.of(Tensor)(cls, shape, dtype=channels.dtype, device=channels.device)
        made.channels, made.kept, made.scale = channels, kept, scale
        made.is_gathered, made.is_common = is_gathered, is_common
        made.product, made.flattened, made.result = None, None, None
        return made

    __torch_function__ = NO_TORCH_FUNCTION.of(torch)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = tree_map_only(ChannelSparse, ChannelSparse.dense, (args, kwargs or {}))
        return func(*args, **kwargs)

    def gathered(self) -> Tensor:
        """Return the kept channels, not yet scaled."""
        assert self.channels is not None
        return self.channels if self.is_gathered else _selected(self.channels, self.kept)

    def is_dense(self) -> bool:
        """Return whether the dense tensor exists, which may have been changed in place since."""
        return self.result is not None or (self.flattened is not None and self.flattened.is_dense())

    def dense(self) -> Tensor:
        """Return all channels, zeros for the dropped ones, contiguous in memory as networks expect."""
        if self.result is None:
            if self.flattened is not None:
                self.result = self.flattened.dense().flatten(1)
            elif self.product is not None:
                self.result = self.product(None).contiguous()
            else:
                scaled = self.gathered() * self.scale
                self.result = scaled.new_zeros(shape_of(self)).index_copy_(1, self.kept, scaled)
        return self.result


class SharedResults:
    """Results after the first dropout that all samples share: those of functions that treat all channels alike."""

    def __init__(self, results: list[tuple[Function, Any, Tensor]]) -> None:
        self.results = results
        self.place = 0

    def get(self, func: Function, channels: Tensor, rest: Any, compute: Callable[[], Tensor]) -> Tensor:
        """Return the next result if it is of the same function of the same channels, else compute it."""
        place, self.place = self.place, self.place + 1
        if place < len(self.results):
            kept_func, (kept_channels, kept_rest), result = self.results[place]
            return result if (kept_func, kept_rest) == (func, rest) and kept_channels is channels else compute()
        result = compute()
        self.results.append((func, (channels, rest), result))
        return result


def _selected(channels: Tensor, kept: Tensor) -> Tensor:
    """Return the channels with the given indices, in their memory format."""
    if not _is_channels_last(channels):
        return channels.index_select(1, kept)
    by_place = channels.movedim(1, -1)
    selected = by_place.flatten(0, -2).gather(1, kept.expand(by_place[..., 0].numel(), -1))
    result: Tensor = selected.unflatten(0, by_place.shape[:-1]).movedim(-1, 1)
    return result


def _channels_last(channels: Tensor) -> Tensor:
    """Return images in the channels-last memory format, which a CPU convolves and pools faster."""
    is_faster = channels.dim() == 4 and channels.device.type == "cpu"
    return channels.contiguous(memory_format=torch.channels_last) if is_faster else channels


def _is_channels_last(channels: Tensor) -> bool:
    return (
        channels.dim() == 4
        and not channels.is_contiguous()
        and channels.is_contiguous(memory_format=torch.channels_last)
    )


def shape_of(tensor: Tensor) -> Shape:
    """Return the shape of a tensor, sparse or not."""
    return tuple(tensor.size())


def has_sparse(held: Any) -> bool:
    """Return whether arguments contain a sparse tensor, alone or in lists."""
    if isinstance(held, list | tuple):
        return any(has_sparse(value) for value in held)
    return isinstance(held, ChannelSparse)


def dropped(input: Tensor, keep_C: Tensor, p: float, shared: SharedResults) -> ChannelSparse | None:
    """Drop channels of a tensor ``[n, C, ...]``, sparse or not; return None if that cannot be done sparsely."""
    kept, scale = keep_C.nonzero().flatten(), 1 / (1 - p)
    if len(kept) == 0:
        # Convolutions and pooling reject a tensor without channels.
        return None
    if isinstance(input, ChannelSparse) and input.is_dense():
        input = input.dense()
    if not isinstance(input, ChannelSparse):
        channels = shared.get(_channels_last, input, (), partial(_channels_last, input))
        return ChannelSparse.of_channels(tuple(input.shape), channels, kept, scale, is_gathered=False, is_common=True)
    if input.product is not None:
        return ChannelSparse.of_channels(
            shape_of(input), input.product(kept), kept, scale, is_gathered=True, is_common=False
        )
    return None


def call(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], shared: SharedResults) -> Any:
    """Call a function with a sparse tensor among its arguments."""
    if func in ABOUT:
        return func(*args, **kwargs)
    input, rest = (args[0], args[1:]) if args else (None, ())
    result: Any = NotImplemented
    if isinstance(input, ChannelSparse) and not input.is_dense() and not has_sparse((*rest, *kwargs.values())):
        if func in PRODUCTS:
            result = _product(func, input, *rest, **kwargs)
        elif input.product is not None and _fits(input, UNIT_BY_UNIT, func):
            result = _after_product(func, input, rest, kwargs)
        elif input.product is None and _fits(input, SCALING, func):
            result = _scaled(func, input, rest, kwargs, shared)
        elif input.product is None and _flattens(func, input, rest, kwargs):
            result = _flattened(input, shared)
    if result is not NotImplemented:
        return result
    args, kwargs = tree_map_only(ChannelSparse, ChannelSparse.dense, (args, kwargs))
    return func(*args, **kwargs)


def _fits(input: ChannelSparse, functions: dict[Function, int | None], func: Function) -> bool:
    return func in functions and functions[func] in (None, len(shape_of(input)))


def changes_in_place(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a function changes one of its arguments."""
    name = getattr(func, "__name__", "")
    is_marked = name.endswith("_") and not name.endswith("__")
    return is_marked or name in WRITING or kwargs.get("out") is not None or _is_in_place(func, args, kwargs)


def _is_in_place(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a function of `torch.nn.functional` writes its result into its input."""
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    # A positional flag that is true may be `inplace`.
    return getattr(func, "__module__", "") == F.__name__ and any(argument is True for argument in args[1:])


def _scaled(func: Function, input: ChannelSparse, rest: Any, kwargs: dict[str, Any], shared: SharedResults) -> Any:
    channels = input.channels
    assert channels is not None
    if _is_in_place(func, (input, *rest), kwargs) or kwargs.get("return_indices"):
        return NotImplemented

    def compute() -> Tensor:
        result: Tensor = func(channels, *rest, **kwargs)
        return result

    result = shared.get(func, channels, (rest, kwargs), compute) if input.is_common else compute()
    shape = (len(result), shape_of(input)[1], *result.shape[2:])
    return ChannelSparse.of_channels(
        shape, result, input.kept, input.scale, is_gathered=input.is_gathered, is_common=input.is_common
    )


def _flattens(func: Function, input: ChannelSparse, rest: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a function flattens everything but the points."""
    if func in FLATTENING:
        return (rest, kwargs) in (((1,), {}), ((1, -1), {}))
    n, *size = shape_of(input)
    sizes = tuple(rest[0]) if len(rest) == 1 and isinstance(rest[0], list | tuple) else rest
    units = math.prod(size)
    return func in RESHAPING and not kwargs and units > 0 and sizes in ((n, -1), (n, units), (-1, units))


def _flattened(input: ChannelSparse, shared: SharedResults) -> ChannelSparse:
    channels = input.channels
    assert channels is not None
    n, num_channels, *size = shape_of(input)
    units = math.prod(size)
    numbers = input.kept[:, None] * units + torch.arange(units, device=input.kept.device)
    if input.is_gathered and _is_channels_last(channels):
        # The units may come in any order, so nothing is copied.
        result, kept = channels.movedim(1, -1).flatten(1), numbers.t().flatten()
    else:
        flatten = partial(torch.flatten, channels, 1)
        result = shared.get(torch.flatten, channels, (), flatten) if input.is_common else flatten()
        kept = numbers.flatten()
    flat = ChannelSparse.of_channels(
        (n, num_channels * units), result, kept, input.scale, is_gathered=input.is_gathered, is_common=input.is_common
    )
    flat.flattened = input
    return flat


def _product(
    func: Function, input: ChannelSparse, weight: Tensor, bias: Tensor | None = None, *rest: Any, **kwargs: Any
) -> Any:
    groups = rest[3] if len(rest) > 3 else kwargs.get("groups", 1)
    shape = shape_of(input)
    if groups != 1 or len(shape) != weight.dim() or input.product is not None:
        return NotImplemented
    values, kept, scale = input.gathered(), input.kept, input.scale

    def compute(kept_out: Tensor | None) -> Tensor:
        used = weight if kept_out is None else weight.index_select(0, kept_out)
        shift = bias if kept_out is None or bias is None else bias.index_select(0, kept_out)
        result: Tensor = func(values, used.index_select(1, kept) * scale, shift, *rest, **kwargs)
        return result

    made = _shape_made(func, (shape, tuple(weight.shape)), _in_tuples((None, *rest)), _in_tuples(kwargs.items()))
    return ChannelSparse.deferred(made, values, compute)


def _in_tuples(arguments: Iterable[Any]) -> tuple[Any, ...]:
    """Return arguments in a hashable form, with tuples for lists."""
    return tuple(_in_tuples(value) if isinstance(value, list | tuple) else value for value in arguments)


@lru_cache(maxsize=1000)
def _shape_made(func: Function, shapes: tuple[Shape, ...], rest: Any, kwargs: Any) -> Shape:
    """Return the shape of a function's result for tensors of the given shapes."""
    result = func(*(torch.empty(shape, device="meta") for shape in shapes), *rest, **dict(kwargs))
    return tuple(result.shape)


def _after_product(func: Function, input: ChannelSparse, rest: Any, kwargs: dict[str, Any]) -> Any:
    product = input.product
    assert product is not None
    if _is_in_place(func, (input, *rest), kwargs) or kwargs.get("return_indices"):
        return NotImplemented

    def compute(kept: Tensor | None) -> Tensor:
        result: Tensor = func(product(kept), *rest, **kwargs)
        return result

    made = _shape_made(func, (shape_of(input),), _in_tuples(rest), _in_tuples(kwargs.items()))
    return ChannelSparse.deferred(made, input, compute)
