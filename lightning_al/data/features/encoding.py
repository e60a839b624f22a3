"""A pass of an encoder over a dataset.

Axes: N items, n of them in a chunk, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_al.data.features.encoder import Encoder
from lightning_al.data.reading import UNREADABLE, read
from lightning_al.data.target import Target
from lightning_al.host.namespace import pl
from lightning_al.host.progress_bar import pass_progress
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.errors import first_few
from lightning_al.values.parts import is_single, part, with_part

BATCH_SIZE = 64
"""How many items the encoder gets at a time: always as many, since sums of floats may depend on it."""


@dataclass(frozen=True)
class Source:
    """Where the items of a pass are read from.

    Attributes:
        dataset: The items.
        present: The indices of those that are read; the features of others are NaN.
        target: Where the label of an item is.
        collate: Makes a batch of items.
        num_workers: Number of worker processes.
        hooks: The datamodule whose transfer hooks batches pass.
        what: What the items are, for errors and the progress bar.
        skips_unreadable: Whether items that cannot be read have features of NaN instead of raising an error.
    """

    dataset: Any
    present: Collection[int]
    target: Target
    collate: Callable[[list[Any]], Any]
    num_workers: int
    hooks: pl.LightningDataModule
    what: str
    skips_unreadable: bool = False

    def __len__(self) -> int:
        return len(self.dataset)


def encode(encoder: Encoder, source: Source) -> Iterator[np.ndarray]:
    """Yield the features ``[n, D]`` of consecutive items, float32.

    The encoder runs without gradients, in evaluation mode and in float32, on the Trainer's device if there is one.
    What the dataset draws at random is drawn with a seed of its own.

    Args:
        encoder: The encoder.
        source: The items.

    Raises:
        ValueError: If the encoder gives another number of rows than a batch has items, rows of another length, empty
            rows, or NaN.
        Exception: What the dataset raised for an item that cannot be read, with its index.
    """
    trainer = source.hooks.trainer
    device = torch.device("cpu") if trainer is None else trainer.strategy.root_device
    loader = DataLoader(
        _Read(source),
        batch_size=BATCH_SIZE,
        collate_fn=partial(_collate, collate=source.collate),
        num_workers=source.num_workers,
    )
    width, waiting, first = None, 0, 0
    with (
        seeded(derive(0, "features")),
        encoder.on(device),
        _predicting(trainer),
        pass_progress(trainer) as progress,
    ):
        task = progress.add_task(f"Encoding the {source.what}", total=len(source))
        for places, size, is_input, batch in loader:
            if not places:
                rows_n_D = np.empty((0, width or 0), dtype=np.float32)
            else:
                target = None if is_input else source.target
                rows_n_D = encoder.encode(_moved(batch, source.hooks, device), target).numpy()
                indices = [first + place for place in places]
                _check(rows_n_D, indices, width, encoder, source)
                width = rows_n_D.shape[1]
            first += size
            progress.advance(task, size)
            waiting += size
            if width is not None:
                chunk_n_D = np.full((waiting, width), np.nan, dtype=np.float32)
                chunk_n_D[[waiting - size + place for place in places]] = rows_n_D
                waiting = 0
                yield chunk_n_D
    if width is None:
        raise ValueError(
            f"`ActiveDataModule(features=...)` could read none of the {len(source)} {source.what}. Check the dataset."
        )


def _check(rows_n_D: np.ndarray, indices: Sequence[int], width: int | None, encoder: Encoder, source: Source) -> None:
    if len(rows_n_D) != len(indices) or rows_n_D.shape[1] == 0 or width not in (None, rows_n_D.shape[1]):
        raise ValueError(
            f"The encoder `{encoder.name}` gave features of shape {list(rows_n_D.shape)} for a batch of {len(indices)} "
            f"{source.what}, but expected [{len(indices)}, {'D' if width is None else width}]. Let it return one row "
            "for each item, all of the same length, which is at least 1."
        )
    if not source.skips_unreadable and not np.isfinite(rows_n_D).all():
        bad = [index for index, row in zip(indices, rows_n_D, strict=True) if not np.isfinite(row).all()]
        raise ValueError(
            f"The encoder `{encoder.name}` gave NaN or Inf for the {source.what} [{first_few(bad)}]. Check these "
            "items, and what the encoder divides by."
        )


def _moved(batch: Any, hooks: pl.LightningDataModule, device: torch.device) -> Any:
    """Return a batch on a device, through the transfer hooks."""
    batch = hooks.on_before_batch_transfer(batch, 0)
    batch = hooks.transfer_batch_to_device(batch, device, 0)
    return hooks.on_after_batch_transfer(batch, 0)


@contextmanager
def _predicting(trainer: pl.Trainer | None) -> Iterator[None]:
    """Set the Trainer's stage to predicting, so that hooks leave out what is for training, and put it back."""
    if trainer is None:
        yield
        return
    stage = trainer.state.stage
    trainer.predicting = True
    try:
        yield
    finally:
        trainer.state.stage = stage


class _Read(Dataset[Any]):
    """Items that the collate function of a user can make a batch of, or `UNREADABLE`."""

    def __init__(self, source: Source) -> None:
        self.dataset = source.dataset
        self.target = source.target
        self.skip = source.skips_unreadable
        self.present = source.present

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if index not in self.present:
            return UNREADABLE
        item = read(self.dataset, index, skip=self.skip)
        place = None if item is UNREADABLE or callable(self.target.spec) else self.target.place(item)
        # The encoder reads no labels, but a batch is not made of None.
        return with_part(item, place, 0) if place is not None and part(item, place) is None else item


def _collate(items: list[Any], *, collate: Callable[[list[Any]], Any]) -> tuple[list[int], int, bool, Any]:
    """Return a batch of the items that could be read.

    Returns:
        Their places, the number of all items, whether an item is one input without a place for a label, and the batch.
    """
    places = [place for place, item in enumerate(items) if item is not UNREADABLE]
    if not places:
        return places, len(items), False, None
    found = [items[place] for place in places]
    return places, len(items), is_single(found[0]), collate(found)
