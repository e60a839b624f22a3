"""How the random numbers of a network are laid out over the points of a batch.

Axes: n points of a batch, L steps of a sequence, D units. The draws of a network, in dropout and elsewhere, are
numbered in the order in which the network makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from lightning_al.posterior.base import PosteriorError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class BatchAxis:
    """The dimension of a tensor along which the points of a batch lie, each with `per_point` consecutive entries."""

    dim: int
    per_point: int

    def of_one_point(self, shape: Shape) -> Shape:
        """Return the shape of what belongs to one point."""
        return (*shape[: self.dim], self.per_point, *shape[self.dim + 1 :])

    def of_points(self, n: int, shape: Shape) -> Shape:
        """Return the shape of what belongs to n points."""
        return (*shape[: self.dim], self.per_point * n, *shape[self.dim + 1 :])


def axis_of(shapes: dict[int, Shape]) -> BatchAxis | None:
    """Find the batch axis of a tensor from its shapes for batches of several sizes.

    Args:
        shapes: The shape for each batch size.

    Returns:
        The axis, or None if the shape does not depend on the batch size.

    Raises:
        ValueError: If the shape depends on the batch size in another way.

    >>> axis_of({3: (6, 5), 2: (4, 5)})
    BatchAxis(dim=0, per_point=2)
    >>> axis_of({3: (5, 3), 2: (5, 2)})
    BatchAxis(dim=1, per_point=1)
    >>> axis_of({4: (9, 4)})  # from one size alone, the likeliest
    BatchAxis(dim=1, per_point=1)
    """
    (n, shape), *others = shapes.items()
    axes = [BatchAxis(dim, length // n) for dim, length in enumerate(shape) if length > 0 and length % n == 0]
    if not others:
        likeliest = sorted(axes, key=lambda axis: (axis.dim > 0 and axis.per_point > 1, axis.dim))
        return likeliest[0] if likeliest else None
    if all(other == shape for _, other in others):
        return None
    for axis in axes:
        if all(other == axis.of_points(m, shape) for m, other in others):
            return axis
    met = " and ".join(f"{list(shape)} for {n} points" for n, shape in shapes.items())
    raise PosteriorError(
        f"`MCDropout` expected noise for each point of a batch, but the network draws shapes {met}. Draw the same "
        "number of values for each point, or draw none in evaluation mode. A recurrent layer with `dropout=` draws "
        "differently for packed sequences: give it padded ones, or use `nn.Dropout` before and after it instead."
    )


@dataclass(frozen=True)
class Layout:
    """How the numbers of one random draw are laid out over the points of a batch.

    Attributes:
        axis: The batch axis; None if all points share the numbers.
        one_point: The shape of the part that belongs to one point.
        by_position: Whether each number depends on its position alone. Batches padded to different lengths then have
            the same numbers where they overlap.
    """

    axis: BatchAxis | None
    one_point: Shape
    by_position: bool = False

    @classmethod
    def of(cls, shapes: dict[int, Shape]) -> Layout:
        """Find the layout from the shapes for batches of several sizes."""
        axis = axis_of(shapes)
        shape = next(iter(shapes.values()))
        return cls(axis, shape if axis is None else axis.of_one_point(shape))

    @property
    def fixed(self) -> Shape:
        """What all batches must have in common: the shape, or by position the number of axes and the batch axis."""
        if not self.by_position:
            return self.one_point
        return -1, len(self.one_point), -1 if self.axis is None else self.axis.dim

    def of_one_point(self, shape: Shape) -> Shape:
        """Return the shape of one point's part, given the shape for all points."""
        return shape if self.axis is None else self.axis.of_one_point(shape)

    def at(self, shape: Shape, n: int | None) -> Layout | None:
        """Return the layout that has this shape for n points, whose inputs may have another length, or None.

        >>> Layout(BatchAxis(0, 1), (1, 7, 64), by_position=True).at((4, 9, 64), n=4)
        Layout(axis=BatchAxis(dim=0, per_point=1), one_point=(1, 9, 64), by_position=True)
        """
        if len(shape) != len(self.one_point):
            return None
        if self.axis is None:
            return replace(self, one_point=shape) if self.by_position else self if shape == self.one_point else None
        length = shape[self.axis.dim]
        per_point, rest = divmod(length, n) if n else (self.axis.per_point, length % self.axis.per_point)
        if rest or per_point == 0:
            return None
        if not self.by_position:
            return self if per_point == self.axis.per_point and self.of_one_point(shape) == self.one_point else None
        axis = replace(self.axis, per_point=per_point)
        return Layout(axis, axis.of_one_point(shape), by_position=True)


def drawn_by_position(layouts: list[Layout], in_channels: list[bool], *, reads_images: bool) -> list[Layout]:
    """Mark the layouts whose shape can differ between inputs: these are drawn by position.

    A network that draws for tensors of three axes reads sequences, and so does one whose inputs have at most three
    axes. There, a draw depends on the sequence length if a point has several numbers along two axes or more, such as
    `[L, D]` or attention's `[heads, L, L]`. A sequence of length 1 gets the numbers of the first step of a longer one.
    Units `[D]`, whole channels and the feature maps of images are drawn in one go.

    Args:
        layouts: The layouts of a network's draws.
        in_channels: Which of them drop whole channels.
        reads_images: Whether an input has four axes or more.
    """
    has_sequences = any(
        len(layout.one_point) == 3 and not channels for layout, channels in zip(layouts, in_channels, strict=True)
    )

    def varies(layout: Layout) -> bool:
        long_axes = sum(length > 1 for length in layout.one_point)
        return (long_axes > 1 and not reads_images) or (has_sequences and len(layout.one_point) > 2)

    return [
        replace(layout, by_position=not channels and varies(layout))
        for layout, channels in zip(layouts, in_channels, strict=True)
    ]


def spread(one_point: Tensor, axis: BatchAxis | None, shape: Shape) -> Tensor:
    """Repeat the numbers of one point for all points of a batch; the result broadcasts to the given shape."""
    if axis is None or axis.per_point == 1:
        return one_point
    repeats = [1] * len(shape)
    repeats[axis.dim] = shape[axis.dim] // axis.per_point
    return one_point.repeat(repeats)
