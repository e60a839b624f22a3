"""Predict the pool with every posterior sample, on Lightning's devices and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.loaders import to_device
from lightning_al.host.namespace import pl
from lightning_al.host.progress_bar import pass_progress
from lightning_al.host.ranks import in_step, meet
from lightning_al.posterior.base import Forward, evaluating
from lightning_al.prediction.predictions import Check, Predict, Predictions, Rows, Source, predicting
from lightning_al.prediction.unscorable import all_reasons, unscorable_error
from lightning_al.run.weights import uninitialised


def give_shapes(trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, *, forward: Forward) -> None:
    """Pass two labelled points through a module with lazy layers, so that they learn their shapes.

    Raises:
        ValueError: If that leaves parameters without a shape.
    """
    batch = next(iter(data.pool_dataloader(data.pool.labelled[:2])))
    with predicting(trainer), evaluating(module):
        forward(module, to_device(trainer, module, batch))
    left = uninitialised(module)
    if left:
        raise ValueError(
            f"`{type(module).__name__}` has {len(left)} parameters without a shape, such as {left[0]!r}, after a batch "
            "was scored, so no round could start from the same weights. Pass a batch through the whole module before "
            "`trainer.fit`, or build these layers with their sizes."
        )


def pass_over(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    source: Source,
    points: Sequence[int],
    predict: Predict,
    description: str,
    *,
    check: Check | None = None,
    skip: bool = False,
) -> Iterator[Rows]:
    """Yield what is predicted of points, in the order given, the same on every rank. Nothing is kept.

    Ranks take turns: each predicts one batch, and all get what all predicted. Batches travel through the transfer hooks
    of datamodule or module and the Trainer's precision, with the stage set to predicting, so that training-only
    augmentation stays out. Called again, it yields the same numbers.

    Args:
        trainer: The Trainer.
        module: The module.
        source: Where their items are read from.
        points: Indices of the points.
        predict: Maps batches to what is predicted of them.
        description: What the progress bar says.
        check: Is called once with the number of classes.
        skip: Whether to pass over points that cannot be read, and to name all of them at the end.

    Raises:
        UnscorableError: If the module gives NaN or Inf for some points, or with `skip` if some cannot be read; the
            message lists their indices.
        ValueError: If the module gives more or fewer rows than a batch has points.
        Exception: What the dataset raised for a point that cannot be read, with the point's index, without `skip`.
    """
    turns, predictions = _deal(trainer, module, source, predict, points, check=check, skip=skip)
    checked = check is None
    with pass_progress(trainer) as progress:
        task = progress.add_task(description, total=len(points))
        for turn in turns:
            # What the acquisition function does between two chunks is no part of a prediction.
            rows, reasons, failed = _next(predictions)
            lengths = [len(batch) for batch in turn]
            progress.advance(task, sum(lengths))
            if meet(trainer, failed, bool(reasons)):
                # The others are looked at too, to name all that cannot be scored.
                advance = partial(progress.advance, task, sum(lengths))
                reasons.update(in_step(trainer, partial(predictions.look_at_rest, advance)))
                raise unscorable_error(module, all_reasons(trainer, reasons), len(points), source.what, source.remark)
            if check is not None and not checked:
                in_step(trainer, partial(check, rows[-1].shape[-1]))
                checked = True
            own_length = lengths[trainer.global_rank]
            yield tuple(gather(trainer, values[:own_length], lengths).cpu() for values in rows)
        predictions.end()


def look_at(
    trainer: pl.Trainer, module: pl.LightningModule, source: Source, points: Sequence[int], predict: Predict
) -> dict[int, str]:
    """Pass over points, and return why some of them cannot be scored, the same on every rank."""

    def look() -> dict[int, str]:
        _, predictions = _deal(trainer, module, source, predict, points, check=None, skip=True)
        return predictions.look_at_rest()

    return all_reasons(trainer, in_step(trainer, look))


def _next(predictions: Predictions) -> tuple[Rows, dict[int, str], Exception | None]:
    """Return what is predicted of the next batch, which of its points cannot be scored, and what it failed by."""
    try:
        return *predictions.next(), None
    except Exception as error:  # whatever reading or predicting a batch may raise, on this rank alone
        return (), {}, error


def _deal(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    source: Source,
    predict: Predict,
    points: Sequence[int],
    *,
    check: Check | None,
    skip: bool,
) -> tuple[list[list[list[int]]], Predictions]:
    """Return which batches the ranks predict in each turn, and this rank's predictions."""
    turns = turns_of(list(points), source.batch_size, trainer.world_size)
    # Every rank has a batch in each turn; where none is left, it predicts one point and drops it again.
    own = [turn[trainer.global_rank] or list(points[:1]) for turn in turns]

    def on_device(batches: Iterable[Any]) -> Iterator[Rows]:
        return predict(to_device(trainer, module, batch) for batch in batches)

    return turns, Predictions(trainer, module, source, on_device, own, check=check, skip=skip)


def turns_of(indices: list[int], batch_size: int, ranks: int) -> list[list[list[int]]]:
    """Deal consecutive batches to the ranks, turn by turn; in the last turn some may get none.

    >>> turns_of([3, 4, 5, 6, 7], batch_size=2, ranks=2)
    [[[3, 4], [5, 6]], [[7], []]]
    """
    starts = range(0, len(indices), batch_size * ranks)
    return [
        [indices[start + rank * batch_size : start + (rank + 1) * batch_size] for rank in range(ranks)]
        for start in starts
    ]


def gather(trainer: pl.Trainer, local: Tensor, lengths: list[int]) -> Tensor:
    """Join the ranks' batches, whose lengths differ, in the order of the ranks."""
    if len(lengths) == 1:
        return local
    # Ranks exchange tensors of one shape, on the device that the strategy communicates by.
    sent = local.new_zeros(max(lengths), *local.shape[1:], device=trainer.strategy.root_device)
    sent[: len(local)] = local
    received = [torch.empty_like(sent) for _ in lengths]
    torch.distributed.all_gather(received, sent)
    return torch.cat([batch[:length] for batch, length in zip(received, lengths, strict=True)])
