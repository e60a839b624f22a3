"""Samplers of places among the labelled points, which draw the same for any number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, RandomSampler, Sampler
from torch.utils.data.distributed import DistributedSampler
from typing_extensions import override


def is_of_torchdata(thing: Any) -> bool:
    """Return whether a sampler or loader is torchdata's, which can be resumed in the middle of an epoch."""
    return type(thing).__module__.startswith("torchdata.stateful_dataloader")


def seeds_of_workers(sampler: Sampler[int], order: torch.Generator, are_kept: bool) -> torch.Generator:
    """Return the generator of the seeds of a loader's workers, so that the order is the same with persistent workers.

    A loader draws such a seed for new workers: before each epoch or, if its workers are persistent, only before the
    first. In the latter case the sampler draws the seed instead.

    Args:
        sampler: The loader's sampler.
        order: The generator of the sampler.
        are_kept: Whether the workers are persistent.
    """
    if not are_kept or not isinstance(sampler, Shuffled | Drawn):
        return order
    sampler.draws_seed = True
    return torch.Generator().set_state(order.get_state())


def _draw_seed(generator: torch.Generator) -> None:
    torch.empty((), dtype=torch.int64).random_(generator=generator)


class Shuffled(RandomSampler):
    """Shuffle as torch does in a loader without workers, for any number of workers.

    When torch's sampler is read to its end, it draws once more. A loader without workers reads that far if its last
    batch is smaller. Workers read ahead and may get there or not, which would change the order of the next epoch.

    Attributes:
        ends_in_smaller_batch: Whether the last batch that the Trainer takes in an epoch is smaller than the others.
        is_read_ahead: Whether indices are taken before the Trainer takes their batch.
    """

    def __init__(self, dataset: Dataset[Any], generator: torch.Generator) -> None:
        super().__init__(dataset, generator=generator)  # type: ignore[arg-type]
        self.ends_in_smaller_batch = False
        self.draws_seed = False
        self.is_read_ahead = True

    @override
    def __iter__(self) -> Iterator[int]:
        if self.draws_seed:
            _draw_seed(self.generator)
        order = torch.randperm(len(self), generator=self.generator).tolist()
        if self.ends_in_smaller_batch and self.is_read_ahead:
            torch.randperm(len(self), generator=self.generator)
        yield from order
        # A user's hook may end an epoch early. Then this is not reached.
        if self.ends_in_smaller_batch and not self.is_read_ahead:
            torch.randperm(len(self), generator=self.generator)


class Drawn(Sampler[int]):
    """Draw all places of an epoch at once, so that workers may read ahead."""

    def __init__(self, length: int, generator: torch.Generator, draw: Callable[[], Tensor]) -> None:
        self.length = length
        self.generator = generator
        self.draw = draw
        self.draws_seed = False

    def __len__(self) -> int:
        return self.length

    @override
    def __iter__(self) -> Iterator[int]:
        if self.draws_seed:
            _draw_seed(self.generator)
        yield from self.draw().tolist()


class InOwnOrder(Drawn):
    """Draw in the order of a user's own sampler, and leave out the points that are not labelled.

    Args:
        length: Number of points in an epoch.
        epoch_of: Returns the indices that the user's sampler draws in an epoch, by the epoch and a seed.
        labelled: Indices of the labelled points.
        generator: What the seeds are drawn from.
    """

    def __init__(
        self,
        length: int,
        epoch_of: Callable[[int, int], list[int]],
        labelled: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        super().__init__(length, generator, self._next)
        self.epoch_of = epoch_of
        self.place_of = {index: place for place, index in enumerate(labelled)}
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, as Lightning does before each."""
        self.epoch = epoch

    def _next(self) -> Tensor:
        drawn = self.epoch_of(self.epoch, int(torch.randint(2**62, (), generator=self.generator)))
        self.epoch += 1
        return torch.tensor([self.place_of[index] for index in drawn if index in self.place_of])


class Repeated(Drawn):
    """Repeat `size` points, in a new random order each time, until an epoch has its number of samples."""

    def __init__(self, size: int, samples: int, generator: torch.Generator) -> None:
        def draw() -> Tensor:
            times = math.ceil(samples / size)
            return torch.cat([torch.randperm(size, generator=generator) for _ in range(times)])[:samples]

        super().__init__(samples, generator, draw)


class Shared(DistributedSampler[int]):
    """Share out what a sampler draws among the ranks of a user's DistributedSampler."""

    def __init__(self, sampler: Sampler[int], like: DistributedSampler[Any]) -> None:
        super().__init__(
            sampler,  # type: ignore[arg-type]
            like.num_replicas,
            like.rank,
            shuffle=False,
            drop_last=like.drop_last,
        )

    @override
    def __iter__(self) -> Iterator[int]:
        drawn = list(self.dataset)  # type: ignore[call-overload]
        return (drawn[place] for place in super().__iter__())
