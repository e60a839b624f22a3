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
from lightning_al.calls import CallError, said_clearly
from lightning_al.datamodule import ActiveDataModule
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.posterior.base import LogitsFunction, evaluating
from lightning_al.posterior.compiled import run_eagerly, unwrapped
from lightning_al.posterior.outputs import OutputError
from lightning_al.target import Target
from lightning_al.weights import uninitialised

Rows = tuple[Tensor, ...]
"""What is predicted of a batch: tensors with a row for each of its points."""

Check = Callable[[int | None], Any]
"""Is called with the number of classes C before the first rows are given out; with None where there are no logits."""


def predict_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    posterior: Posterior,
    logits: LogitsFunction,
    seed: int,
    check: Check | None = None,
) -> Iterator[Tensor]:
    """Yield log-probabilities ``[n, K, C]`` of the unlabelled points in index order, the same on every rank.

    Ranks take turns: each predicts one batch, and all get what all predicted. Nothing is kept. Batches travel through
    the datamodule's or module's transfer hooks and the Trainer's precision, with the stage set to predicting, so that
    training-only augmentation stays out. Called again, it yields the same numbers.

    Raises:
        ValueError: If the module gives NaN or Inf for some points; the message lists their indices. If it gives more
            or fewer rows than a batch has points.
    """

    def predict(batches: Iterable[Any]) -> Iterator[Rows]:
        return ((log_probs,) for log_probs in posterior.predict(module, batches, logits=logits, seed=seed))

    for (log_probs_n_K_C,) in _pass_over_pool(trainer, module, data, predict, "Scoring the pool", check):
        yield log_probs_n_K_C


def read_last_layer(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    last_layer: LastLayer,
    logits: LogitsFunction,
    check: Check | None = None,
) -> Iterator[Rows]:
    """Yield embeddings ``[n, D]`` and residuals ``[n, C]`` of the unlabelled points, as `predict_pool` does.

    Raises:
        ValueError: As `predict_pool` and `LastLayer.read`.
    """

    def read(batches: Iterable[Any]) -> Iterator[Rows]:
        return last_layer.read(module, batches, logits=logits)

    yield from _pass_over_pool(trainer, module, data, read, "Embedding the pool", check)


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
    check: Check | None,
) -> Iterator[Rows]:
    unlabelled = data.pool.unlabelled
    batch_size = data.pool_dataloader().batch_size or 1
    turns = _turns(unlabelled, batch_size, trainer.world_size)
    # Every rank has a batch in each turn; where none is left, it predicts one point and drops it again.
    own = [turn[trainer.global_rank] for turn in turns]
    loader = data.pool_dataloader([index for batch in own for index in batch or unlabelled[:1]])
    predictions = predict(to_device(trainer, module, batch) for batch in loader)
    not_finite: list[int] = []
    checked = check is None
    with _progress(trainer) as progress:
        task = progress.add_task(description, total=len(unlabelled))
        for turn, own_batch in zip(turns, own, strict=True):
            # What the acquisition function does between two chunks is no part of a prediction.
            rows = next_rows(predictions, len(own_batch) or 1, trainer, module, check)
            if check is not None and not checked:
                check(rows[-1].shape[-1])
                checked = True
            lengths = [len(batch) for batch in turn]
            rows = tuple(_gather(trainer, values[: len(own_batch)], lengths).cpu() for values in rows)
            indices = [index for batch in turn for index in batch]
            progress.advance(task, len(indices))
            not_finite += [indices[place] for place in places_of_nan(rows)]
            if not not_finite:
                yield rows
        # The loader's workers end with the last batch.
        next(predictions, None)
    if not_finite:
        raise not_finite_error(module, not_finite, len(unlabelled))


def next_rows(predictions: Iterator[Rows], n: int, trainer: pl.Trainer, module: nn.Module, check: Check | None) -> Rows:
    """Return what is predicted of the next batch, in the Trainer's precision and stage.

    Raises:
        ValueError: If there is not one row for each of its n points.
    """
    try:
        with predicting(trainer), run_eagerly(module):
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
                f"{len(values)} rows for a batch of {n} points. Pass `logits=`, a function of the module and the batch "
                f"that returns one row for each{f', such as, {views}' if len(values) > n else ''}, and let the "
                "collate function keep all points."
            )
    return rows


def places_of_nan(rows: Rows) -> list[int]:
    """Return which rows hold a NaN, which an infinite logit becomes too."""
    has_nan_n = torch.stack([values.isnan().flatten(1).any(1) for values in rows]).any(0)
    return [int(place) for place in has_nan_n.nonzero().flatten()]


def not_finite_error(module: nn.Module, indices: list[int], size: int) -> ValueError:
    """Say for which of so many points a module gave NaN or Inf, and where that may come from."""
    seen = (
        f"`{type(module).__name__}` gave NaN or Inf for {len(indices)} of {size} unlabelled points, whose dataset "
        f"indices begin with {indices[:5]}"
    )
    if all(bool(weight.isfinite().all()) for weight in module.parameters()):
        return ValueError(
            f"{seen}. Its weights are finite. Check these inputs, the learning rate, and what the module divides by."
        )
    return ValueError(
        f"{seen}. Its weights are NaN or Inf as well, so the training diverged. Lower the learning rate, or clip "
        "gradients by `Trainer(gradient_clip_val=1.0)`."
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
