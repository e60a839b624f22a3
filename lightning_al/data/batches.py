"""Batches that batch norm can be trained on."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.utils.data import BatchSampler
from typing_extensions import override

from lightning_al.host.namespace import pl
from lightning_al.values.torch_names import BATCH_NORM


class Batches(BatchSampler):
    """Make batches as torch does, but none of a single point, on which batch norm cannot be trained.

    If one point is left for the last batch, the batch before gives one of its points to it. So the points, their order
    and the number of batches do not change. In batches of two, the last two become one of three.

    >>> list(Batches(range(7), 3, drop_last=False)), list(Batches(range(5), 2, drop_last=False))
    ([[0, 1, 2], [3, 4], [5, 6]], [[0, 1], [2, 3, 4]])
    """

    @override
    def __iter__(self) -> Iterator[list[int]]:
        before: list[int] = []
        for batch in super().__iter__():
            if len(batch) == 1 and len(before) == 2:
                before, batch = [], [*before, *batch]
            elif len(batch) == 1 and len(before) > 2:
                before, batch = before[:-1], [*before[-1:], *batch]
            if before:
                yield before
            before = batch
        if before:
            yield before

    @override
    def __len__(self) -> int:
        size = len(self.sampler)  # type: ignore[arg-type]
        are_joined = self.batch_size == 2 and size % 2 == 1 and size > 1 and not self.drop_last
        return super().__len__() - are_joined


def needs_two_points(trainer: pl.Trainer | None) -> bool:
    """Return whether the fitted module has batch norm, which needs at least two points in each batch."""
    module = None if trainer is None else trainer.lightning_module
    return module is not None and any(_is_alone(part, trainer) for part in module.modules())


def _is_alone(part: nn.Module, trainer: pl.Trainer | None) -> bool:
    """Return whether a layer is batch norm that does not see the points of other ranks."""
    sees_other_ranks = isinstance(part, nn.SyncBatchNorm) and trainer is not None and trainer.world_size > 1
    return isinstance(part, BATCH_NORM.of(nn)) and not sees_other_ranks
