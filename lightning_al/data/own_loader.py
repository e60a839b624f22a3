"""Loaders of a user's own class of DataLoader, over other points."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import torch.utils.data
from torch import Generator
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from lightning_al.data.samplers import Shuffled, is_of_torchdata
from lightning_al.host.loaders import split_among_ranks
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.torch_names import ITERATOR_CLASS, LOADER_ITERATOR


class OwnLoader:
    """Make loaders of a user's class over other points, with its `__iter__` and its attributes.

    The class may take other arguments than torch's, so the user's loader is copied and none is constructed.

    Args:
        loader: The user's loader.
        owner: The name of the class whose `train_dataloader` returned it, for errors.

    Raises:
        ValueError: If the loader holds on to points that a copy would train on.
    """

    def __init__(self, loader: DataLoader[Any], owner: str) -> None:
        self.loader = loader
        self.owner = owner
        iterator_class = ITERATOR_CLASS.of(torch.utils.data)
        for name, value in vars(loader).items():
            if isinstance(value, iterator_class) and name != LOADER_ITERATOR.path:
                raise ValueError(
                    f"{self._who} keeps an iterator over all points as `{name}`. Make it in `__iter__`, or use a "
                    "DataLoader."
                )

    def over(
        self,
        dataset: Dataset[Any],
        sampler: Any,
        batches: type[BatchSampler],
        *,
        batch_size: int,
        drop_last: bool = False,
        generator: Generator | None = None,
        trainer: Any = None,
        **settings: Any,
    ) -> DataLoader[Any]:
        """Return a loader over a dataset, with some settings that differ from the user's.

        Args:
            dataset: The points.
            sampler: The sampler of the points.
            batches: The class of the batch sampler.
            batch_size: How many points a batch has.
            drop_last: Whether to leave out a last batch that is smaller.
            generator: The generator of the workers' seeds.
            trainer: The Trainer to train with, among whose ranks the points are shared out.
            settings: Other attributes of the loader.
        """
        if trainer is not None and trainer.overfit_batches:
            # Lightning would construct a new loader to turn shuffling off.
            sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if is_of_torchdata(self.loader.sampler) and isinstance(sampler, Shuffled):
            cls: Any = type(self.loader.sampler)
            sampler = cls(dataset, generator=generator)
        if is_of_torchdata(self.loader.batch_sampler) and batches is BatchSampler:
            batches = type(self.loader.batch_sampler)  # type: ignore[assignment]
        loader: DataLoader[Any] = object.__new__(type(self.loader))
        old = {id(part) for part in (self.loader.dataset, self.loader.sampler, self.loader.batch_sampler)}
        made = {
            "dataset": dataset,
            "sampler": sampler,
            "batch_sampler": batches(sampler, batch_size, drop_last),
            "batch_size": batch_size,
            "drop_last": drop_last,
            "generator": generator,
        }
        new_of = {id(getattr(self.loader, name)): made[name] for name in ("batch_sampler", "sampler", "dataset")}
        # A class may keep its dataset under a second name, and read from there.
        kept = {name: new_of[id(value)] if id(value) in old else value for name, value in vars(self.loader).items()}
        # DataLoader does not let these be set by name after its construction.
        vars(loader).update({**kept, **made, **settings})
        LOADER_ITERATOR.set(loader, None)
        if trainer is not None:
            # Lightning would construct the loader anew to give each rank its share.
            sampler = split_among_ranks(trainer, loader)
            vars(loader).update(sampler=sampler, batch_sampler=batches(sampler, batch_size, drop_last))
        return loader

    def in_order(self, dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
        """Return a loader that reads a dataset once, in order."""
        sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        return self.over(dataset, sampler, BatchSampler, batch_size=batch_size, persistent_workers=False, in_order=True)

    def check(self, members: Sequence[int], batch_size: int) -> None:
        """Refuse a class whose loaders read other points than those of their dataset, or promise too many batches.

        Args:
            members: Some points of the user's dataset.
            batch_size: How many points a batch has.
        """
        cls = type(self.loader)
        is_torchs = cls.__iter__ is DataLoader.__iter__ and cls.__len__ is DataLoader.__len__
        if is_torchs or is_of_torchdata(self.loader):
            return
        watched = _Watched(self.loader.dataset, [members[place % len(members)] for place in range(batch_size)])
        loader = self.over(
            watched,
            SequentialSampler(watched),
            BatchSampler,
            batch_size=batch_size,
            num_workers=0,
            prefetch_factor=None,
            persistent_workers=False,
            pin_memory=False,
            timeout=0,
        )
        loader.multiprocessing_context = None
        number, missing = None, None
        # The class may need a Trainer or a device, so any other error means nothing here.
        with suppress(Exception), seeded(derive(0, "check")):
            try:
                number = len(list(islice(loader, 2)))
            except AttributeError as error:
                missing = error.name if error.obj is watched else None
        if missing is not None:
            raise ValueError(
                f"{self._who} reads `{missing}` of its dataset, which some of its points alone do not have. "
                "Let its `__iter__` read single points, `self.dataset[place]`, or use a DataLoader."
            )
        if watched.is_read_outside:
            raise ValueError(
                f"{self._who} reads places beyond the length of its dataset. Let its `__iter__` go by "
                "`self.batch_sampler`, or by the present `len(self.dataset)`, or use a DataLoader."
            )
        if number is None:
            return
        if number and not watched.is_read:
            raise ValueError(
                f"{self._who} gave a batch without reading its dataset. Let its `__iter__` read `self.dataset`, or use "
                "a DataLoader."
            )
        if number < 2 and len(loader) > number:
            raise ValueError(
                f"{self._who} gave {number} of the {len(loader)} batches that its `__len__` says, over one batch of "
                "points. Let its `__len__` go by `len(self.batch_sampler)`, or use a DataLoader."
            )

    @property
    def _who(self) -> str:
        return (
            f"`ActiveDataModule` trains on the labelled points alone, but the {type(self.loader).__name__} of "
            f"`{self.owner}.train_dataloader`"
        )


class _Watched(Dataset[Any]):
    """Some points of a dataset, with a record of whether any was read, and whether one outside them was."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        self.is_read = False
        self.is_read_outside = False

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        self.is_read = True
        self.is_read_outside |= not -len(self) <= place < len(self)
        return self.dataset[self.indices[place]]
