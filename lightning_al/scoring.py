"""Predict the pool with every posterior sample, on Lightning's devices and ranks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from rich.progress import track
from torch import Tensor, nn

from lightning_al._lightning import pl
from lightning_al.datamodule import ActiveDataModule
from lightning_al.posterior.base import LogitsFunction, Posterior
from lightning_al.target import Target


def predict_pool(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    posterior: Posterior,
    logits: LogitsFunction,
    seed: int,
) -> Tensor:
    """Return log-probabilities ``[N, K, C]`` of the N unlabelled points in index order, the same on every rank.

    Each rank predicts one stretch of the pool. Batches travel through the datamodule's or module's transfer hooks and
    the Trainer's precision, with the stage set to predicting, so that training-only augmentation stays out.

    Raises:
        ValueError: If the module gives NaN or Inf for some points; the message lists their indices.
    """
    unlabelled = data.pool.unlabelled
    ranks, rank = trainer.world_size, trainer.global_rank
    # Every rank has a point to predict; where the pool is smaller, some predict the same one and drop it again.
    first, last = rank * len(unlabelled) // ranks, (rank + 1) * len(unlabelled) // ranks
    stretch = unlabelled[first:last] or unlabelled[:1]
    loader = data.pool_dataloader(stretch)
    batches = track(
        loader, description="Scoring the pool", total=len(loader), transient=True, disable=not _shows_progress(trainer)
    )
    with predicting(trainer):
        on_device = (_to_device(trainer, module, batch) for batch in batches)
        parts = [part.cpu() for part in posterior.predict(module, on_device, logits=logits, seed=seed)]
    log_probs_N_K_C = _gather(torch.cat(parts)[: last - first], ranks)
    not_finite = log_probs_N_K_C.isnan().flatten(1).any(1).nonzero().flatten().tolist()
    if not_finite:
        indices = [unlabelled[position] for position in not_finite]
        raise ValueError(
            f"`{type(module).__name__}` gave NaN or Inf for {len(indices)} of {len(unlabelled)} unlabelled points, "
            f"whose dataset indices begin with {indices[:5]}. Check these inputs, or whether the training diverged."
        )
    return log_probs_N_K_C


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


def _to_device(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> Any:
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _gather(local: Tensor, ranks: int) -> Tensor:
    """Join the ranks' stretches of the pool, whose lengths differ, in the order of the ranks."""
    if ranks == 1:
        return local
    stretches: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(stretches, local)
    return torch.cat(stretches)


def _shows_progress(trainer: pl.Trainer) -> bool:
    bar = trainer.progress_bar_callback
    return bar is not None and bool(getattr(bar, "is_enabled", False)) and trainer.is_global_zero
