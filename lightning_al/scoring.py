"""Predict the pool with every posterior sample, on Lightning's devices and ranks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor, nn

from lightning_al._lightning import pl
from lightning_al.datamodule import ActiveDataModule
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.posterior.base import LogitsFunction, evaluating
from lightning_al.target import Target
from lightning_al.weights import uninitialised

Rows = tuple[Tensor, ...]
"""What is predicted of a batch: tensors with a row for each of its points."""


def predict_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    posterior: Posterior,
    logits: LogitsFunction,
    seed: int,
) -> Iterator[Tensor]:
    """Yield log-probabilities ``[n, K, C]`` of the unlabelled points in index order, the same on every rank.

    Ranks take turns: each predicts one batch, and all get what all predicted. Nothing is kept. Batches travel through
    the datamodule's or module's transfer hooks and the Trainer's precision, with the stage set to predicting, so that
    training-only augmentation stays out. Called again, it yields the same numbers.

    Raises:
        ValueError: If the module gives NaN or Inf for some points; the message lists their indices.
    """

    def predict(batches: Iterable[Any]) -> Iterator[Rows]:
        return ((log_probs,) for log_probs in posterior.predict(module, batches, logits=logits, seed=seed))

    for (log_probs_n_K_C,) in _pass_over_pool(trainer, module, data, predict, "Scoring the pool"):
        yield log_probs_n_K_C


def read_last_layer(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    last_layer: LastLayer,
    logits: LogitsFunction,
) -> Iterator[Rows]:
    """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` of the unlabelled points, as `predict_pool` does.

    Raises:
        ValueError: As `predict_pool` and `LastLayer.read`.
    """

    def read(batches: Iterable[Any]) -> Iterator[Rows]:
        return last_layer.read(module, batches, logits=logits)

    yield from _pass_over_pool(trainer, module, data, read, "Embedding the pool")


def give_shapes(
    trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, *, logits: LogitsFunction
) -> None:
    """Pass two labelled points through a module with lazy layers, so that they learn their shapes.

    Raises:
        ValueError: If that leaves parameters without a shape.
    """
    batch = next(iter(data.pool_dataloader(data.pool.labelled[:2])))
    with predicting(trainer), evaluating(module):
        logits(module, to_device(trainer, module, batch))
    left = uninitialised(module)
    if left:
        raise ValueError(
            f"`{type(module).__name__}` has {len(left)} parameters without a shape, such as {left[0]!r}, after a batch "
            "was scored, so no round could start from the same weights. Pass a batch through the whole module before "
            "`trainer.fit`, or build these layers with their sizes."
        )


def _pass_over_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    predict: Callable[[Iterable[Any]], Iterator[Rows]],
    description: str,
) -> Iterator[Rows]:
    unlabelled = data.pool.unlabelled
    batch_size = data.pool_dataloader().batch_size or 1
    turns = _turns(unlabelled, batch_size, trainer.world_size)
    # Every rank has a batch in each turn; where none is left, it predicts one point and drops it again.
    own = [turn[trainer.global_rank] for turn in turns]
    loader = data.pool_dataloader([index for batch in own for index in batch or unlabelled[:1]])
    predictions = predict(to_device(trainer, module, batch) for batch in loader)
    not_finite: list[int] = []
    with _progress(trainer) as progress:
        task = progress.add_task(description, total=len(unlabelled))
        for turn, batch in zip(turns, own, strict=True):
            # What the acquisition function does between two chunks is no part of a prediction.
            with predicting(trainer):
                rows = next(predictions)
            lengths = [len(batch) for batch in turn]
            rows = tuple(_gather(trainer, values[: len(batch)], lengths).cpu() for values in rows)
            indices = [index for batch in turn for index in batch]
            progress.advance(task, len(indices))
            has_nan_n = torch.stack([values.isnan().flatten(1).any(1) for values in rows]).any(0)
            not_finite += [indices[place] for place in has_nan_n.nonzero().flatten()]
            if not not_finite:
                yield rows
        # The loader's workers end with the last batch.
        next(predictions, None)
    if not_finite:
        raise ValueError(
            f"`{type(module).__name__}` gave NaN or Inf for {len(not_finite)} of {len(unlabelled)} unlabelled points, "
            f"whose dataset indices begin with {not_finite[:5]}. Check these inputs, or whether the training diverged."
        )


def _turns(indices: list[int], batch_size: int, ranks: int) -> list[list[list[int]]]:
    """Deal consecutive batches to the ranks, turn by turn; in the last turn some may get none.

    >>> _turns([3, 4, 5, 6, 7], batch_size=2, ranks=2)
    [[[3, 4], [5, 6]], [[7], []]]
    """
    starts = range(0, len(indices), batch_size * ranks)
    return [
        [indices[start + rank * batch_size : start + (rank + 1) * batch_size] for rank in range(ranks)]
        for start in starts
    ]


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


def default_logits(target: Target) -> LogitsFunction:
    """Return the function that calls a module on the inputs of a batch: the batch without its label.

    One input is passed as it is, several of a tuple one after the other, several of a dict by name where `forward`
    has such parameters.
    """

    def logits(module: nn.Module, batch: Any) -> Tensor:
        inputs = target.inputs(batch)
        if isinstance(inputs, tuple):
            outputs = module(*inputs)
        elif isinstance(inputs, Mapping):
            outputs = _call_by_name(module, inputs)
        else:
            outputs = module(inputs)
        return outputs  # type: ignore[no-any-return]

    return logits


def _call_by_name(module: nn.Module, inputs: Mapping[str, Any]) -> Any:
    parameters = inspect.signature(module.forward).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if takes_all or set(inputs) <= {parameter.name for parameter in parameters}:
        return module(**inputs)
    if len(parameters) == 1:
        return module(inputs)
    raise ValueError(
        f"A batch has the inputs {', '.join(map(str, inputs))}, but `{type(module).__name__}.forward` takes "
        f"{', '.join(parameter.name for parameter in parameters)}. Pass `logits=`, a function of the module and the "
        "batch that returns logits [batch, classes]."
    )


def to_device(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    """Bring a batch to the module's device and precision, through the transfer hooks."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _gather(trainer: pl.Trainer, local: Tensor, lengths: list[int]) -> Tensor:
    """Join the ranks' batches, whose lengths differ, in the order of the ranks."""
    if len(lengths) == 1:
        return local
    # Ranks exchange tensors of one shape, on the device that the strategy communicates by.
    sent = local.new_zeros(max(lengths), *local.shape[1:], device=trainer.strategy.root_device)
    sent[: len(local)] = local
    received = [torch.empty_like(sent) for _ in lengths]
    torch.distributed.all_gather(received, sent)
    return torch.cat([batch[:length] for batch, length in zip(received, lengths, strict=True)])


def _progress(trainer: pl.Trainer) -> Progress:
    """Show how far a pass over the pool is, at what rate and how long it takes yet, where the Trainer shows a bar."""
    bar = trainer.progress_bar_callback
    is_shown = bar is not None and bool(getattr(bar, "is_enabled", False)) and trainer.is_global_zero
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        transient=True,
        disable=not is_shown,
    )


class _RateColumn(ProgressColumn):
    """Points a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} points/s" if speed >= 10 else f"{speed:.2g} points/s")
