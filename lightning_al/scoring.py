"""Predict the pool with every posterior sample, on Lightning's devices and ranks."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
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
from lightning_al.calls import CallError, said_clearly
from lightning_al.datamodule import ActiveDataModule
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.posterior.base import LogitsFunction, evaluating
from lightning_al.posterior.compiled import unwrapped
from lightning_al.predictions import Check, Predict, Predictions, Rows, predicting
from lightning_al.ranks import in_step, meet
from lightning_al.target import Target
from lightning_al.unscorable import all_reasons, unscorable_error
from lightning_al.weights import uninitialised


def predict_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    posterior: Posterior,
    logits: LogitsFunction,
    seed: int,
    check: Check | None = None,
    points: Sequence[int] | None = None,
    skip: bool = False,
) -> Iterator[Tensor]:
    """Yield log-probabilities ``[n, K, C]`` of the unlabelled points in index order, the same on every rank.

    Ranks take turns: each predicts one batch, and all get what all predicted. Nothing is kept. Batches travel through
    the datamodule's or module's transfer hooks and the Trainer's precision, with the stage set to predicting, so that
    training-only augmentation stays out. Called again, it yields the same numbers.

    Args:
        trainer: The Trainer.
        module: The module.
        data: The data.
        posterior: How the weights are sampled.
        logits: A function of the module and a batch.
        seed: Seed of the samples.
        check: Is called once with the number of classes.
        points: The points to predict, in place of all unlabelled ones.
        skip: Whether to pass over points that cannot be read, and to name all of them at the end.

    Raises:
        UnscorableError: If the module gives NaN or Inf for some points, or with `skip` if some cannot be read; the
            message lists their indices.
        ValueError: If the module gives more or fewer rows than a batch has points.
        Exception: What the dataset raised for a point that cannot be read, with the point's index, without `skip`.
    """
    predict = log_probs_of(module, posterior, logits, seed)
    for (log_probs_n_K_C,) in pass_over_pool(
        trainer, module, data, predict, "Scoring the pool", check, points, skip=skip
    ):
        yield log_probs_n_K_C


def log_probs_of(module: nn.Module, posterior: Posterior, logits: LogitsFunction, seed: int) -> Predict:
    """Return the function that predicts log-probabilities ``[n, K, C]`` of batches."""

    def predict(batches: Iterable[Any]) -> Iterator[Rows]:
        return ((log_probs,) for log_probs in posterior.predict(module, batches, logits=logits, seed=seed))

    return predict


def read_last_layer(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    last_layer: LastLayer,
    logits: LogitsFunction,
    check: Check | None = None,
    points: Sequence[int] | None = None,
    skip: bool = False,
) -> Iterator[Rows]:
    """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` of the unlabelled points, as `predict_pool` does.

    Raises:
        ValueError: As `predict_pool` and `LastLayer.read`.
    """
    read = embeddings_of(module, last_layer, logits)
    yield from pass_over_pool(trainer, module, data, read, "Embedding the pool", check, points, skip=skip)


def embeddings_of(module: nn.Module, last_layer: LastLayer, logits: LogitsFunction) -> Predict:
    """Return the function that reads embeddings ``[n, D]`` and residuals ``[n, C]`` of batches."""
    return lambda batches: last_layer.read(module, batches, logits=logits)


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


def pass_over_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    predict: Predict,
    description: str,
    check: Check | None,
    points: Sequence[int] | None,
    *,
    skip: bool,
) -> Iterator[Rows]:
    """Yield what is predicted of points of the pool, by default of all unlabelled ones, the same on every rank.

    Raises:
        UnscorableError: If some of them cannot be scored.
    """
    points = data.pool.unlabelled if points is None else list(points)
    turns, predictions = _deal(trainer, module, data, predict, points, check=check, skip=skip)
    checked = check is None
    with _progress(trainer) as progress:
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
                raise unscorable_error(module, all_reasons(trainer, reasons), len(points), data)
            if check is not None and not checked:
                in_step(trainer, partial(check, rows[-1].shape[-1]))
                checked = True
            own_length = lengths[trainer.global_rank]
            yield tuple(_gather(trainer, values[:own_length], lengths).cpu() for values in rows)
        predictions.end()


def look_at(
    trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, predict: Predict, points: Sequence[int]
) -> dict[int, str]:
    """Pass over points of the pool, and return why some of them cannot be scored, the same on every rank."""

    def look() -> dict[int, str]:
        _, predictions = _deal(trainer, module, data, predict, points, check=None, skip=True)
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
    data: ActiveDataModule,
    predict: Predict,
    points: Sequence[int],
    *,
    check: Check | None,
    skip: bool,
) -> tuple[list[list[list[int]]], Predictions]:
    """Return which batches the ranks predict in each turn, and this rank's predictions."""
    turns = _turns(list(points), data.pool_dataloader().batch_size or 1, trainer.world_size)
    # Every rank has a batch in each turn; where none is left, it predicts one point and drops it again.
    own = [turn[trainer.global_rank] or list(points[:1]) for turn in turns]

    def on_device(batches: Iterable[Any]) -> Iterator[Rows]:
        return predict(to_device(trainer, module, batch) for batch in batches)

    return turns, Predictions(trainer, module, data, on_device, own, check=check, skip=skip)


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


def logits_function(given: LogitsFunction | None, target: Target) -> LogitsFunction:
    """Return the function of a module and a batch that the pool is scored by: the one given, or the usual one.

    Of outputs that have them under a name, as those of transformers, it returns the logits. Where it fails, it says
    what the module was called with.
    """
    return said_clearly(given, None) if given is not None else said_clearly(default_logits(target), target.inputs)


def default_logits(target: Target) -> LogitsFunction:
    """Return the function that calls a module on the inputs of a batch: the batch without its label.

    Several inputs of a tuple are passed one after the other, several of a dict by name where `forward` has such
    parameters. One input is passed as it is, even where it is a tuple, unless `forward` takes several, or takes inputs
    by their names alone.
    """

    def logits(module: nn.Module, batch: Any) -> Tensor:
        arguments = target.arguments(batch)
        if len(arguments) == 1 and not (isinstance(arguments, Mapping) and _takes_names_alone(module)):
            inputs = target.inputs(batch)
            if isinstance(inputs, Mapping):
                outputs = _call_by_name(module, inputs)
            elif isinstance(inputs, tuple | list) and _takes_several(module):
                outputs = module(*inputs)
            else:
                outputs = module(inputs)
        elif isinstance(arguments, Mapping):
            outputs = _call_by_name(module, arguments)
        else:
            outputs = module(*arguments)
        return outputs  # type: ignore[no-any-return]

    return logits


def _takes_several(module: nn.Module) -> bool:
    """Return whether `forward` cannot be called with one input."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    in_order = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in in_order and one.default is one.empty]
    return len(needed) > 1


def _takes_names_alone(module: nn.Module) -> bool:
    """Return whether `forward` takes no input but by its name, as `forward(self, **inputs)` does."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    return all(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters)


def _call_by_name(module: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """Call a module on the inputs that its `forward` has parameters for, or on all as one where it has none for any."""
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    by_name = {one.name: one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    known = inputs if takes_all else {name: value for name, value in inputs.items() if name in by_name}
    needed = {name for name, parameter in by_name.items() if parameter.default is parameter.empty}
    if known and needed <= set(known):
        return module(**known)
    if len(needed) <= 1 and not known:
        return module(inputs)
    raise CallError(
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
