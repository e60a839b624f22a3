"""Answer what torch draws at random, in any operation, with numbers of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_al.posterior.base import PosteriorError
from lightning_al.posterior.mc_dropout.layout import Shape
from lightning_al.values.torch_names import OPERATION_SCHEMA, TorchDispatchMode

Law = Literal["uniform", "normal"]


class Noise(TorchDispatchMode):
    """Answer every random draw of torch inside the context.

    Args:
        draw: Returns the random numbers, given the number of the draw, its shape, its law and the device. If None, each
            draw is answered by its mean, so dropout drops nothing.

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
        if arguments.get("generator") is not None:  # the numbers given here are drawn in this way
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
