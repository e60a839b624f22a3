"""The noise of a network, drawn once for each posterior sample and the same for every point of the pool.

Axes: n points of a batch, L places of a sequence, D units. What torch draws at random, in dropout and elsewhere, is
numbered in the order in which a network draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_al.posterior.base import PosteriorError
from lightning_al.values.torch_names import OPERATION_SCHEMA, TorchDispatchMode

Shape = tuple[int, ...]
Law = Literal["uniform", "normal"]


@dataclass(frozen=True)
class Axis:
    """Where the points of a batch stand in a tensor: each has `number` entries along axis `place`, in a row."""

    place: int
    number: int

    def of_one_point(self, shape: Shape) -> Shape:
        """Return the shape of what belongs to one point."""
        return (*shape[: self.place], self.number, *shape[self.place + 1 :])

    def of_points(self, n: int, shape: Shape) -> Shape:
        """Return the shape of what belongs to n points."""
        return (*shape[: self.place], self.number * n, *shape[self.place + 1 :])


def axis_of(shapes: dict[int, Shape]) -> Axis | None:
    """Tell from the shapes that a tensor has for batches of several sizes along which axis the points stand.

    Args:
        shapes: The shape for each size of a batch.

    Returns:
        The axis, or None where the shape does not depend on the size.

    Raises:
        ValueError: If it depends on it in another way.

    >>> axis_of({3: (6, 5), 2: (4, 5)})
    Axis(place=0, number=2)
    >>> axis_of({3: (5, 3), 2: (5, 2)})
    Axis(place=1, number=1)
    >>> axis_of({4: (9, 4)})  # of one size alone, the likeliest
    Axis(place=1, number=1)
    """
    (n, shape), *others = shapes.items()
    axes = [Axis(place, length // n) for place, length in enumerate(shape) if length > 0 and length % n == 0]
    if not others:
        by_number = sorted(axes, key=lambda axis: (axis.place > 0 and axis.number > 1, axis.place))
        return by_number[0] if by_number else None
    if all(other == shape for _, other in others):
        return None
    for axis in axes:
        if all(other == axis.of_points(m, shape) for m, other in others):
            return axis
    met = " and ".join(f"{list(shape)} for {n} points" for n, shape in shapes.items())
    raise PosteriorError(
        f"`MCDropout` expected noise for each point of a batch, but the network draws shapes {met}. Draw as many for "
        "each point as for any other, or leave it out in evaluation mode. A recurrent layer with `dropout=` draws "
        "otherwise for packed sequences: give it padded ones, or use `nn.Dropout` before and after it in place of it."
    )


@dataclass(frozen=True)
class Place:
    """How a tensor is drawn: of what shape for one point, and along which axis for all; None where they share it.

    Attributes:
        axis: Along which axis the points stand.
        one_point: The shape of what belongs to one point.
        by_position: Whether each number is drawn by its position alone, so that batches that are padded to other
            lengths have the same numbers where they overlap.
    """

    axis: Axis | None
    one_point: Shape
    by_position: bool = False

    @classmethod
    def of(cls, shapes: dict[int, Shape]) -> Place:
        """Tell it from the shapes for batches of several sizes."""
        axis = axis_of(shapes)
        shape = next(iter(shapes.values()))
        return cls(axis, shape if axis is None else axis.of_one_point(shape))

    @property
    def fixed(self) -> Shape:
        """What has to be the same in all batches: the shape, or else the number of axes and where the points stand."""
        if not self.by_position:
            return self.one_point
        return -1, len(self.one_point), -1 if self.axis is None else self.axis.place

    def of_one_point(self, shape: Shape) -> Shape:
        """Return the part of a shape for all points that belongs to one point."""
        return shape if self.axis is None else self.axis.of_one_point(shape)

    def at(self, shape: Shape, n: int | None) -> Place | None:
        """Return the place with a shape for n points, whose inputs may be of another length, or None if it has not it.

        >>> Place(Axis(0, 1), (1, 7, 64), by_position=True).at((4, 9, 64), n=4)
        Place(axis=Axis(place=0, number=1), one_point=(1, 9, 64), by_position=True)
        """
        if len(shape) != len(self.one_point):
            return None
        if self.axis is None:
            return replace(self, one_point=shape) if self.by_position else self if shape == self.one_point else None
        length = shape[self.axis.place]
        number, rest = divmod(length, n) if n else (self.axis.number, length % self.axis.number)
        if rest or number == 0:
            return None
        if not self.by_position:
            return self if number == self.axis.number and self.of_one_point(shape) == self.one_point else None
        axis = replace(self.axis, number=number)
        return Place(axis, axis.of_one_point(shape), by_position=True)


def drawn_by_position(places: list[Place], in_channels: list[bool], *, reads_images: bool) -> list[Place]:
    """Say which places of a network are drawn by position: those whose shape can differ between inputs.

    A network that draws for tensors of three axes reads sequences, and so does one whose inputs have no more axes than
    that. There these are the places where a point has several numbers along two axes or more, as `[L, D]` and
    attention's `[heads, L, L]`; and a sequence of length 1 has to have the numbers of the first place of a longer one.
    Units `[D]`, whole channels and the feature maps of images are drawn in one go.

    Args:
        places: The places of a network.
        in_channels: Which of them drop whole channels.
        reads_images: Whether an input has four axes or more.
    """
    has_sequences = any(
        len(place.one_point) == 3 and not channels for place, channels in zip(places, in_channels, strict=True)
    )

    def varies(place: Place) -> bool:
        long_axes = sum(length > 1 for length in place.one_point)
        return (long_axes > 1 and not reads_images) or (has_sequences and len(place.one_point) > 2)

    return [
        replace(place, by_position=not channels and varies(place))
        for place, channels in zip(places, in_channels, strict=True)
    ]


def spread(one_point: Tensor, axis: Axis | None, shape: Shape) -> Tensor:
    """Return what belongs to one point for all points of a batch, in a shape that broadcasts to the one given."""
    if axis is None or axis.number == 1:
        return one_point
    repeats = [1] * len(shape)
    repeats[axis.place] = shape[axis.place] // axis.number
    return one_point.repeat(repeats)


class Noise(TorchDispatchMode):
    """Answer whatever torch draws at random, in any operation.

    Args:
        draw: Gives the numbers: by the number of the draw, its shape, its law and the device they are needed on.
            Without it, each draw is answered by its mean, so that dropout drops nothing.

    Attributes:
        shapes: The shape of each draw so far.
    """

    def __init__(self, draw: Callable[[int, Shape, Law, torch.device], Tensor] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draw = draw
        self.shapes: list[Shape] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        arguments = _by_name(func, args, kwargs or {})
        if arguments.get("generator") is not None:  # as the numbers that are given here are drawn
            return func(*args, **(kwargs or {}))
        if arguments.get("dropout_p") == 0 or arguments.get("train") is False or arguments.get("training") is False:
            return func(*args, **(kwargs or {}))
        answer = _ANSWERS.get(func.overloadpacket.__name__)
        if answer is None:
            raise PosteriorError(
                f"`MCDropout` cannot keep what `{func.name()}` draws at random the same for the whole pool. Draw it by "
                "dropout, `torch.rand`, `torch.randn` or `bernoulli_`, or leave it out in evaluation mode."
            )
        return answer(self, arguments)

    def numbers(self, like: Tensor, law: Law) -> Tensor | None:
        """Return noise of the shape of a tensor and on its device, or None for the mean."""
        self.shapes.append(tuple(like.shape))
        if self.draw is None:
            return None
        return self.draw(len(self.shapes) - 1, self.shapes[-1], law, like.device).to(like.device)


def _by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, defaults included."""
    expected = OPERATION_SCHEMA.of(func).arguments
    defaults = {argument.name: argument.default_value for argument in expected if argument.has_default_value()}
    given = {argument.name: value for argument, value in zip(expected, args, strict=False)}
    return defaults | given | kwargs


def _empty(a: dict[str, Any]) -> Tensor:
    options = {name: a[name] for name in ("dtype", "layout", "device", "pin_memory") if a.get(name) is not None}
    return torch.empty_like(a["self"], **options) if "self" in a else torch.empty(a["size"], **options)


def _bernoulli(noise: Noise, out: Tensor, p: float | Tensor) -> Tensor:
    uniform = noise.numbers(out, "uniform")
    if uniform is not None:
        return out.copy_(uniform < p)
    return out.copy_(p) if isinstance(p, Tensor) else out.fill_(p)


def _uniform(noise: Noise, out: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    uniform = noise.numbers(out, "uniform")
    return out.fill_((low + high) / 2) if uniform is None else out.copy_(low + (high - low) * uniform)


def _normal(noise: Noise, out: Tensor, mean: float | Tensor = 0.0, std: float | Tensor = 1.0) -> Tensor:
    normal = noise.numbers(out, "normal")
    return out.copy_(mean + std * (torch.zeros_like(out) if normal is None else normal))


def _any_normal(noise: Noise, a: dict[str, Any]) -> Tensor:
    tensors = [value for value in (a["mean"], a["std"]) if isinstance(value, Tensor)]
    if not tensors:
        return _normal(noise, _empty(a), a["mean"], a["std"])
    size = torch.broadcast_shapes(*(value.shape for value in tensors))
    return _normal(noise, tensors[0].new_empty(size), a["mean"], a["std"])


def _exponential(noise: Noise, out: Tensor, rate: float) -> Tensor:
    uniform = noise.numbers(out, "uniform")
    return out.fill_(1 / rate) if uniform is None else out.copy_(-torch.log1p(-uniform) / rate)


def _native_dropout(noise: Noise, a: dict[str, Any]) -> tuple[Tensor, Tensor]:
    input, p = a["input"], a["p"]
    uniform = noise.numbers(input, "uniform")
    if uniform is None:
        return input, torch.ones_like(input, dtype=torch.bool)
    keep = uniform.expand_as(input) < 1 - p
    return input * (keep / (1 - p) if p < 1 else keep), keep


_ANSWERS: dict[str, Callable[[Noise, dict[str, Any]], Any]] = {
    "bernoulli_": lambda noise, a: _bernoulli(noise, a["self"], a["p"]),
    "bernoulli": lambda noise, a: _bernoulli(noise, torch.empty_like(a["self"]), a.get("p", a["self"])),
    "rand": lambda noise, a: _uniform(noise, _empty(a)),
    "rand_like": lambda noise, a: _uniform(noise, _empty(a)),
    "uniform_": lambda noise, a: _uniform(noise, a["self"], a["from"], a["to"]),
    "randn": lambda noise, a: _normal(noise, _empty(a)),
    "randn_like": lambda noise, a: _normal(noise, _empty(a)),
    "normal_": lambda noise, a: _normal(noise, a["self"], a["mean"], a["std"]),
    "normal": _any_normal,
    "exponential_": lambda noise, a: _exponential(noise, a["self"], a["lambd"]),
    "native_dropout": _native_dropout,
}
