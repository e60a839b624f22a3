"""The random numbers of each posterior sample, drawn once and the same for every point of the pool.

Axes: K posterior samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_al.posterior.base import PosteriorError
from lightning_al.posterior.mc_dropout.counter_based import normal_at, uniform_at
from lightning_al.posterior.mc_dropout.layout import BatchAxis, Layout, Shape, spread
from lightning_al.posterior.mc_dropout.noise import Law
from lightning_al.run.seeds import derive, generator


class FixedNoise:
    """Give each call of a dropout function, and each other draw, the same numbers whenever a sample makes it.

    Args:
        dropouts: The layout of the mask of each call of a dropout function, if no layer is skipped.
        draws: The layout of each draw inside other functions.
        num_samples: Number of posterior samples K.
        seed: Seed of the numbers.
    """

    def __init__(self, dropouts: list[Layout], draws: list[Layout], num_samples: int, seed: int) -> None:
        self.dropouts = dropouts
        self.draws = draws
        self.num_samples = num_samples
        self.seed = seed
        self._masks: dict[tuple[int, Shape, float], Tensor] = {}
        self._tables: dict[tuple[int, float], Tensor] = {}
        self._met: dict[tuple[str, int, int], Shape] = {}

    def masks(
        self, call: int, k: int, shape: Shape, p: float, device: torch.device, num_points: int | None
    ) -> tuple[Tensor, BatchAxis | None]:
        """Return which units each sample keeps of one point ``[K, ...]``, and the batch axis.

        Args:
            call: Number of the call of a dropout function.
            k: The sample that makes the call.
            shape: Shape of the mask for all points.
            p: Probability to drop a unit.
            device: Device of the mask.
            num_points: Number of points in the batch, if known.
        """
        layout = self._layout("dropout", self.dropouts, call, k, shape, num_points)
        if layout.by_position:
            return self._table(call, p, layout.one_point, device), layout.axis
        key = (call, layout.one_point, p)
        if key not in self._masks:
            # Drawn on the CPU, so that a GPU drops the same units.
            uniform = torch.rand(self.num_samples, *layout.one_point, generator=generator(self.seed, "dropout", call))
            self._masks[key] = (uniform >= p).to(device)
        return self._masks[key], layout.axis

    def _table(self, call: int, p: float, shape: Shape, device: torch.device) -> Tensor:
        """Return the masks ``[K, *shape]`` as part of a table that grows to the longest inputs."""
        table = self._tables.get((call, p))
        size = shape if table is None else tuple(map(max, shape, table.shape[1:]))
        if table is None or tuple(table.shape[1:]) != size:
            seeds = [derive(self.seed, "dropout", call, k, "by position") for k in range(self.num_samples)]
            table = torch.stack([uniform_at(seed, size, device) >= p for seed in seeds])
            self._tables[call, p] = table
        return table[(slice(None), *map(slice, shape))]

    def numbers(
        self, number: int, k: int, shape: Shape, law: Law, device: torch.device, num_points: int | None
    ) -> Tensor:
        """Return the numbers of a draw of sample k, in a shape that broadcasts to the given one."""
        layout = self._layout("draw", self.draws, number, k, shape, num_points)
        if layout.by_position:
            draw = uniform_at if law == "uniform" else normal_at
            seed = derive(self.seed, "noise", number, k, "by position")
            return spread(draw(seed, layout.one_point, device), layout.axis, shape)
        make = torch.rand if law == "uniform" else torch.randn
        return spread(make(layout.one_point, generator=generator(self.seed, "noise", number, k)), layout.axis, shape)

    def _layout(
        self, what: str, layouts: list[Layout], number: int, k: int, shape: Shape, num_points: int | None
    ) -> Layout:
        """Return the layout of a draw. A sample that skips a layer makes the following draws under earlier numbers."""
        likely = [*layouts[number : number + 1], *layouts]
        before = self._met.get((what, number, k))
        found = [(layout.at(shape, num_points), layout) for layout in likely]
        # If a layer is skipped, a layout of exactly this shape is likelier than one for inputs of another length.
        for layout, _ in sorted(found, key=lambda pair: pair[0] != pair[1]):
            if layout is not None and before in (None, layout.fixed):
                self._met[what, number, k] = layout.fixed
                return layout
        if number >= len(layouts):
            raise PosteriorError(
                f"`MCDropout` keeps the noise of a network the same for the whole pool, but met {what} call {number} "
                f"in a batch, and only {len(layouts)} when it tried the first. Let the network draw the same in every "
                "batch."
            )
        raise PosteriorError(
            f"`MCDropout` keeps one mask for the whole pool, but {what} call {number} met features of shape "
            f"{list(likely[0].one_point)} in one batch and {list(likely[0].of_one_point(shape))} in another. "
            "Make all inputs the same size, for example by padding them to one length."
        )
