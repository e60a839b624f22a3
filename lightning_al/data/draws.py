"""Which points a user's sampler draws, and a sampler that draws the labelled points in the same way."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from lightning_al.data.samplers import Drawn, InOwnOrder, Repeated, Shared, Shuffled, is_of_torchdata
from lightning_al.run.seeds import derive, seeded


@dataclass(frozen=True)
class Draws:
    """Say which points a user's sampler draws, how often and in what order.

    Args:
        members: The indices that it draws, in increasing order, or None for the whole dataset.
        order: Whether points come at random, in the order in which they were labelled, or in the order of `listed`.
        samples: How many indices it draws an epoch, or None for each of the labelled points once.
        replacement: Whether points are drawn with replacement.
        weights: The weight of each index ``[N]``, or None for equal ones.
        listed: All indices of an epoch, if some come more often than others or the sampler has a fixed order.
        epochs: The epochs of a sampler of the user's own class, if their orders differ.
        shared: The user's own DistributedSampler.

    >>> draws = Draws.of(SubsetRandomSampler([4, 2, 6]), size=8, owner="LitDigits")
    >>> draws.members, draws.order
    ([2, 4, 6], 'random')
    """

    members: list[int] | None = None
    order: Literal["random", "labelled", "listed"] = "random"
    samples: int | None = None
    replacement: bool = False
    weights: Tensor | None = None
    listed: list[int] | None = None
    epochs: Epochs | None = None
    shared: DistributedSampler[Any] | None = None

    @classmethod
    def of(cls, sampler: Any, size: int, owner: str) -> Draws:
        """Determine what a sampler draws.

        Args:
            sampler: A sampler, or an iterable of indices.
            size: Number of points in the dataset.
            owner: The name of the class whose `train_dataloader` has it, for errors.

        Raises:
            ValueError: If its way of drawing cannot be applied to the labelled points alone.
        """
        found = _Finder(type(sampler).__name__, size, owner)
        if isinstance(sampler, DistributedSampler):
            return found.shared(sampler)
        if _is(sampler, SequentialSampler):
            return cls(found.first(len(sampler.data_source)), order="labelled")
        if _is(sampler, RandomSampler) or is_of_torchdata(sampler):
            drawn_from = len(sampler.data_source)
            samples = None if sampler.num_samples == drawn_from else sampler.num_samples
            return cls(found.first(drawn_from), samples=samples, replacement=sampler.replacement)
        if _is(sampler, SubsetRandomSampler):
            return found.indices(sampler.indices)
        if _is(sampler, WeightedRandomSampler):
            return found.weighted(sampler)
        if not isinstance(sampler, Sampler) and hasattr(sampler, "__len__") and hasattr(sampler, "__getitem__"):
            return replace(found.indices(sampler), order="labelled")
        return found.tried(sampler)

    def length(self, labelled: Sequence[int], samples_per_epoch: int | None) -> int:
        """Return how many points an epoch over the labelled points has."""
        size = len(labelled)
        if self.weights is not None and not self.replacement:
            return min(samples_per_epoch or self.samples or size, size)
        if samples_per_epoch or self.samples:
            return samples_per_epoch or self.samples or size
        return size if self.listed is None else len(self._places(labelled))

    def sampler(
        self, view: Dataset[Any], labelled: Sequence[int], samples_per_epoch: int | None, order: torch.Generator
    ) -> Sampler[int]:
        """Return a sampler of places among the labelled points.

        Args:
            view: The labelled points as a dataset.
            labelled: Their indices.
            samples_per_epoch: How many places to draw an epoch, instead of what the user's sampler says.
            order: The generator of the order.
        """
        sampler = self._sampler(view, labelled, samples_per_epoch, order)
        if self.shared is None:
            return sampler
        if type(sampler) in (Shuffled, SequentialSampler):
            return DistributedSampler(
                view,
                self.shared.num_replicas,
                self.shared.rank,
                shuffle=self.shared.shuffle,
                seed=self.shared.seed,
                drop_last=self.shared.drop_last,
            )
        return Shared(sampler, self.shared)

    def _sampler(
        self, view: Dataset[Any], labelled: Sequence[int], samples_per_epoch: int | None, order: torch.Generator
    ) -> Sampler[int]:
        size = len(labelled)
        length = self.length(labelled, samples_per_epoch)
        if self.weights is not None:
            weights, replacement = self.weights[list(labelled)], self.replacement
            return Drawn(length, order, lambda: torch.multinomial(weights, length, replacement, generator=order))
        if samples_per_epoch or (self.samples and not self.replacement):
            return Repeated(size, length, order)
        if self.replacement:
            return Drawn(length, order, lambda: torch.randint(size, (length,), generator=order))
        if self.epochs is not None:
            return InOwnOrder(length, self.epochs.again().draw, labelled, order)
        if self.listed is not None:
            places = torch.tensor(self._places(labelled))
            if self.order == "random":
                return Drawn(length, order, lambda: places[torch.randperm(length, generator=order)])
            return Drawn(length, order, lambda: places)
        return Shuffled(view, order) if self.order == "random" else SequentialSampler(view)  # type: ignore[arg-type]

    def _places(self, labelled: Sequence[int]) -> list[int]:
        place_of = {index: place for place, index in enumerate(labelled)}
        places = [place_of[index] for index in self.listed or [] if index in place_of]
        return sorted(places) if self.order == "labelled" else places


@dataclass(frozen=True)
class _Finder:
    """Determine what a sampler draws, and refuse what cannot be applied to the labelled points."""

    name: str
    size: int
    owner: str

    @property
    def who(self) -> str:
        """The beginning of each error."""
        return (
            f"`ActiveDataModule` draws the labelled points as the sampler of `{self.owner}.train_dataloader` draws all "
            f"points, but {self.name}"
        )

    def first(self, number: int) -> list[int] | None:
        """Return the members of a sampler that draws the numbers from 0 to `number` - 1."""
        return None if number == self.size else self.indices(range(number)).members

    def indices(self, indices: Iterable[Any]) -> Draws:
        """Return the draws of a sampler that draws each entry of a list once per epoch."""
        drawn = [self.index(index) for index in indices]
        members = sorted(set(drawn))
        if not members:
            raise ValueError(f"{self.who} draws no point. Give it the indices of the points to train on.")
        is_whole = len(members) == self.size
        return Draws(None if is_whole else members, listed=drawn if len(drawn) > len(members) else None)

    def weighted(self, sampler: WeightedRandomSampler) -> Draws:
        """Return the draws of a sampler with weights by index. Points of weight 0 are never drawn."""
        weights = sampler.weights.cpu()
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError(f"{self.who} has weights that are negative, NaN or Inf. Give it weights of 0 or more.")
        members = self.indices(weights.nonzero().flatten().tolist()).members
        positive = int((weights > 0).sum())
        one_epoch = sampler.num_samples in (len(weights), positive)
        return Draws(
            members,
            samples=None if one_epoch else sampler.num_samples,
            replacement=sampler.replacement,
            weights=weights,
        )

    def shared(self, sampler: DistributedSampler[Any]) -> Draws:
        """Return the draws of all ranks' samplers together."""
        if not _is(sampler, DistributedSampler) and not is_of_torchdata(sampler):
            raise ValueError(
                f"{self.who} shares out the points among ranks in its own way. Leave it out, and Lightning shares them "
                "out; or use torch's `DistributedSampler`."
            )
        members = self.first(len(sampler.dataset))  # type: ignore[arg-type]
        return Draws(members, order="random" if sampler.shuffle else "labelled", shared=sampler)

    def tried(self, sampler: Any) -> Draws:
        """Return the draws of any other sampler, from two of its epochs."""
        epochs = Epochs(sampler, self)
        tries = epochs.again()
        one, other = (tries.draw(epoch, derive(0, "sampler", epoch)) for epoch in range(2))
        if Counter(one) != Counter(other):
            raise ValueError(
                f"{self.who} drew other points in one epoch than in the next. Use `shuffle=True`, a "
                "`SubsetRandomSampler` for a part of the points, or a `WeightedRandomSampler` for weights."
            )
        found = self.indices(one)
        return replace(found, order="listed", listed=one) if one == other else replace(found, epochs=epochs)

    def index(self, drawn: Any) -> int:
        """Return what a sampler drew as an index of 0 or more.

        Raises:
            ValueError: If it is not the index of a point.
        """
        try:
            index = drawn.__index__()
        except (AttributeError, TypeError):
            raise ValueError(
                f"{self.who} drew {drawn!r}, which is not the index of a point. Let it draw whole numbers, and pass "
                "`batch_size=` to the DataLoader for batches."
            ) from None
        if not -self.size <= index < self.size:
            raise ValueError(
                f"{self.who} draws index {index} of a dataset of {self.size} points. Let it draw indices between "
                f"0 and {self.size - 1}."
            )
        return int(index % self.size)


class Epochs:
    """Draw the epochs of a user's own sampler, each under a seed, so that a resumed run draws the same ones."""

    def __init__(self, sampler: Any, finder: _Finder) -> None:
        self._sampler = sampler
        self._finder = finder

    def again(self) -> Epochs:
        """Return the same epochs, starting with the first, for a sampler that counts them."""
        try:
            return Epochs(copy.copy(self._sampler), self._finder)
        except Exception:  # whatever copying an object may raise
            return self

    def draw(self, epoch: int, seed: int) -> list[int]:
        """Return the indices that the sampler draws in an epoch."""
        if callable(getattr(self._sampler, "set_epoch", None)):
            self._sampler.set_epoch(epoch)
        _seed_own_generators(self._sampler, seed)
        most = 10 * self._finder.size + 100
        with seeded(seed):
            drawn = list(islice(iter(self._sampler), most + 1))
        if len(drawn) > most:
            raise ValueError(
                f"{self._finder.who} drew more than {most} indices in one epoch, of {self._finder.size} points. Let "
                "its epoch end, or use `shuffle=True` and `ActiveDataModule(samples_per_epoch=...)`."
            )
        return [self._finder.index(index) for index in drawn]


def _seed_own_generators(sampler: Any, seed: int) -> None:
    for value in getattr(sampler, "__dict__", {}).values():
        if isinstance(value, torch.Generator):
            value.manual_seed(seed)
        elif isinstance(value, np.random.Generator):
            value.bit_generator.state = type(value.bit_generator)(seed).state
        elif isinstance(value, random.Random | np.random.RandomState):
            value.seed(seed % 2**32)
        elif isinstance(value, Sampler):
            _seed_own_generators(value, seed)


def _is(sampler: Any, kind: type) -> bool:
    """Return whether a sampler is of a class of torch's and draws like it."""
    return isinstance(sampler, kind) and type(sampler).__iter__ is kind.__iter__  # type: ignore[attr-defined]
