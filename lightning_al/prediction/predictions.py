"""Predict batches of the pool one after the other, and say which of their points cannot be scored."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_al.data.reading import unreadable
from lightning_al.host.namespace import pl
from lightning_al.posterior.compiled import run_eagerly
from lightning_al.prediction.unscorable import NAN
from lightning_al.task.outputs import OutputError
from lightning_al.values.errors import said_shortly

Rows = tuple[Tensor, ...]
"""What is predicted of a batch: tensors with a row for each of its points."""

Predict = Callable[[Iterable[Any]], Iterator[Rows]]
"""Maps batches to what is predicted of them."""

Check = Callable[[int | None], Any]
"""Is called with the number of classes C before the first rows are given out; with None where there are no logits."""


@dataclass(frozen=True)
class Source:
    """Tell where the items of a pass are read from.

    Attributes:
        begin: Returns a loader of the items of some indices, in this order.
        find_unreadable: Returns which of some items cannot be read, and what was raised.
        batch_size: How many items a batch has.
        what: What the items are, for an error.
        remark: Returns an addition to the error for NaN scores of a module whose weights are NaN.
    """

    begin: Callable[[list[int]], DataLoader[Any]]
    find_unreadable: Callable[[list[int]], Mapping[int, Exception]]
    batch_size: int
    what: str
    remark: Callable[[], str]


class Predictions:
    """Predict batches of points, one after the other.

    Args:
        trainer: The Trainer.
        module: The module.
        source: Where the items are read from.
        predict: Maps batches to what is predicted of them.
        batches: The points of each batch.
        check: Is called with None where a module gives no logits.
        skip: Whether to continue after a batch that fails because some of its points cannot be read.
        is_each_loaded_alone: Whether each batch has a loader of its own, being smaller than those of the pool.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: nn.Module,
        source: Source,
        predict: Predict,
        batches: Sequence[list[int]],
        *,
        check: Check | None,
        skip: bool,
        is_each_loaded_alone: bool = False,
    ) -> None:
        self.trainer = trainer
        self.module = module
        self.source = source
        self.predict = predict
        self.batches = batches
        self.check = check
        self.skip = skip
        self.is_each_loaded_alone = is_each_loaded_alone
        self._number = 0
        self._rows = self._begin()

    def next(self) -> tuple[Rows, dict[int, str]]:
        """Return what is predicted of the next batch, and why some of its points cannot be scored.

        Raises:
            Exception: Whatever reading or predicting the batch raises, unless it is left out.
        """
        points = self.batches[self._number]
        self._number += 1
        try:
            rows = next_rows(self._rows, len(points), self.trainer, self.module, self.check)
        except Exception as error:
            is_of_points = self.skip and not isinstance(error, torch.cuda.OutOfMemoryError)
            found = self.source.find_unreadable(points) if is_of_points else {}
            if not found:
                raise
            # They hold the loader whose workers are to end.
            traceback.clear_frames(error.__traceback__)
        else:
            return rows, {points[place]: NAN for place in places_of_nan(rows)}
        self._rows = self._begin()
        return (), {index: said_shortly(error) for index, error in found.items()}

    def look_at_rest(self, advance: Callable[[], Any] = lambda: None) -> dict[int, str]:
        """Return why points of the batches that are left cannot be scored."""
        reasons: dict[int, str] = {}
        while self._number < len(self.batches):
            advance()
            reasons.update(self.next()[1])
        self.end()
        return reasons

    def end(self) -> None:
        """Let the loader's workers end with the last batch."""
        next(self._rows, None)

    def _begin(self) -> Iterator[Rows]:
        left = self.batches[self._number :]
        loaded_together = [[batch] for batch in left] if self.is_each_loaded_alone else [left]
        return self.predict(batch for batches in loaded_together if batches for batch in self._load(batches))

    def _load(self, batches: Sequence[list[int]]) -> Iterator[Any]:
        loaded = iter(self.source.begin([index for points in batches for index in points]))
        for points in batches:
            try:
                batch = next(loaded)
            except StopIteration:
                return
            except Exception as error:
                found = {} if self.skip else self.source.find_unreadable(points)
                for index, reason in found.items():
                    raise unreadable(index, reason) from error
                raise
            yield batch
        yield from loaded


def next_rows(predictions: Iterator[Rows], n: int, trainer: pl.Trainer, module: nn.Module, check: Check | None) -> Rows:
    """Return what is predicted of the next batch, in the Trainer's precision and stage.

    Raises:
        ValueError: If there is not one row for each of its n points.
    """
    try:
        with predicting(trainer), run_eagerly():
            rows = next(predictions)
    except OutputError:
        if check is not None:
            check(None)
        raise
    for values in rows:
        if len(values) != n:
            views = "for several views of a point, `module(batch[0]).unflatten(0, (len(batch[0]), -1)).mean(1)`"
            raise ValueError(
                f"The pool is scored by one row of logits for each point, but `{type(module).__name__}` gave "
                f"{len(values)} rows for a batch of {n} points. Pass `forward=`, a function of the module and the "
                f"batch that returns one row for each{f', such as, {views}' if len(values) > n else ''}, and let the "
                "collate function keep all points."
            )
    return rows


def places_of_nan(rows: Rows) -> list[int]:
    """Return which rows hold a NaN. An infinite logit becomes NaN too."""
    if not rows:
        return []
    has_nan_n = torch.stack([values.isnan().flatten(1).any(1) for values in rows]).any(0)
    return [int(place) for place in has_nan_n.nonzero().flatten()]


@contextmanager
def predicting(trainer: pl.Trainer) -> Iterator[None]:
    """Set the Trainer's stage to predicting and its precision for a forward pass, and put both back."""
    stage = trainer.state.stage
    trainer.predicting = True
    try:
        with trainer.precision_plugin.predict_step_context():
            yield
    finally:
        trainer.state.stage = stage
