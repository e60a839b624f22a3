"""The number of points in a validation, each of which had to be labelled."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from lightning_al.data.samplers import is_of_torchdata
from lightning_al.host.loaders import mode_of, validation_loaders
from lightning_al.host.namespace import pl


class ValidationPoints:
    """Count the points of a fit's last validation, on all ranks together.

    If a loader draws points by index, their number follows from its sampler and the number of batches that the Trainer
    takes, and no point counts twice. The batches of any other loader are counted as they come.
    """

    def __init__(self) -> None:
        self._known = 0
        self._seen = 0
        self._unknown: set[int] = set()

    def begin(self, trainer: pl.Trainer) -> None:
        """Start counting a validation."""
        combined, limits = validation_loaders(trainer), trainer.num_val_batches
        if mode_of(combined) == "min_size":
            limits = [min(limits)] * len(limits)
        known = [_known_points(loader, limit) for loader, limit in zip(combined.flattened, limits, strict=True)]
        self._known, self._seen = sum(number or 0 for number in known), 0
        self._unknown = {place for place, number in enumerate(known) if number is None}

    def add(self, trainer: pl.Trainer, batch: Any, dataloader_idx: int) -> None:
        """Count a batch of the validation."""
        if not self._unknown:
            return
        combined = validation_loaders(trainer)
        parts = {dataloader_idx: batch}
        if mode_of(combined) != "sequential":
            parts = dict(enumerate(_parts(combined.iterables, batch)))
        self._seen += sum(_points_in(parts[place]) for place in self._unknown if parts.get(place) is not None)

    def number(self, trainer: pl.Trainer) -> int:
        """Return the number of points in the last validation on all ranks, 0 if there was none."""
        seen = torch.tensor(self._seen, device=trainer.strategy.root_device)
        return self._known + int(trainer.strategy.reduce(seen, reduce_op="sum"))

    def state_dict(self) -> dict[str, int]:
        """Return the counts of the last validation."""
        return {"known": self._known, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Load counts that `state_dict` returned."""
        self._known, self._seen = state["known"], state["seen"]


def _known_points(loader: Any, limit: float) -> int | None:
    """Return how many points all ranks take in a number of batches, or None if the loader does not tell."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    batches: Any = loader.batch_sampler
    dataset: Any = loader.dataset
    cls = type(loader)
    is_plain = (
        cls.__iter__ is DataLoader.__iter__ and cls.__len__ is DataLoader.__len__ and type(batches) is BatchSampler
    )
    if not (is_plain or is_of_torchdata(loader)) or not hasattr(getattr(batches, "sampler", None), "__len__"):
        return None
    drawn = min(len(batches.sampler), math.inf if limit == math.inf else int(limit) * batches.batch_size)
    if batches.drop_last:
        drawn -= drawn % batches.batch_size
    of = len(dataset) if hasattr(dataset, "__len__") else drawn
    if isinstance(batches.sampler, DistributedSampler):
        # Some points are repeated, so that all ranks have the same number.
        drawn *= batches.sampler.num_replicas
        of = min(of, len(batches.sampler.dataset))  # type: ignore[arg-type]
    return int(min(drawn, of))


def _parts(loaders: Any, batch: Any) -> Iterator[Any]:
    """Yield the part of a combined batch that comes from each loader of a structure."""
    if isinstance(loaders, Mapping):
        for key, loader in loaders.items():
            yield from _parts(loader, batch[key])
    elif isinstance(loaders, tuple | list):
        for loader, part in zip(loaders, batch, strict=True):
            yield from _parts(loader, part)
    else:
        yield batch


def _points_in(batch: Any) -> int:
    """Return the number of points in a batch: the rows of its first part that has any."""
    return next(_lengths(batch), 1)


def _lengths(batch: Any) -> Iterator[int]:
    if isinstance(batch, Tensor):
        yield from batch.shape[:1]
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _lengths(part)
    elif isinstance(batch, tuple | list):
        found = next((length for part in batch for length in _lengths(part)), None)
        yield len(batch) if found is None else found
    elif dataclasses.is_dataclass(batch):
        yield from _lengths(vars(batch))
    elif hasattr(batch, "shape"):
        yield from batch.shape[:1]
