"""Score a few points before the first step, so that what cannot work fails at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al._lightning import pl, rank_zero_info
from lightning_al.acquisition.base import Acquisition, check_selection
from lightning_al.calls import OF_CODE
from lightning_al.candidates import Candidates
from lightning_al.datamodule import ActiveDataModule
from lightning_al.loaders import spread
from lightning_al.module_state import ModuleState
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.posterior.base import LogitsFunction
from lightning_al.scoring import Check, Rows, next_rows, not_finite_error, places_of_nan, to_device
from lightning_al.seeds import derive, generator, seeded

NUM_POINTS = 6
"""How many points are scored, spread over the pool: a first batch of 4 and a second of 2, which is padded otherwise."""

MOST_BYTES = 64 * 2**20
"""How large a table for an acquisition function may be that needs more points than these."""


def dry_pass(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: ActiveDataModule,
    *,
    acquisition: Acquisition,
    query_size: int,
    posterior: Posterior,
    last_layer: LastLayer,
    logits: LogitsFunction,
    check: Check,
    seed: int,
    number: int,
) -> None:
    """Let an acquisition function select among a few points of the pool, as it will after the fit, and forget it all.

    The points go the way that the whole pool goes, with every posterior sample, and only what the method reads is
    computed. Nothing is changed by it: neither weights, buffers, modes and attributes of the module nor the states of
    random generators. Hooks of the datamodule are called, and the dataset is read. All ranks score the same points.

    Args:
        trainer: The Trainer, which is about to take its first step.
        module: The module, on its device.
        data: The data.
        acquisition: The acquisition function. A copy of it selects; one that cannot be copied is not tried.
        query_size: How many points the next query has.
        posterior: How the weights are sampled.
        last_layer: How embeddings are read.
        logits: A function of the module and a batch.
        check: Is called with the number of classes, or None where there are no logits.
        seed: Seed of the run.
        number: Number of the round.

    Raises:
        Exception: Whatever the pass over the pool or the selection would raise; the message says when it was.
    """
    try:
        acquisition = copy.deepcopy(acquisition)
    except Exception:  # whatever an object may raise that cannot be copied
        return

    def predict(batches: Iterable[Any]) -> Iterator[Rows]:
        sample_seed = derive(seed, number, "posterior")
        return ((log_probs,) for log_probs in posterior.predict(module, batches, logits=logits, seed=sample_seed))

    def read(batches: Iterable[Any]) -> Iterator[Rows]:
        return last_layer.read(module, batches, logits=logits)

    def said_once(num_classes: int | None) -> None:
        said = check(num_classes)
        if said is not None:
            rank_zero_info(said)

    log_probs = _FewRows(trainer, module, data, predict, said_once)
    embeddings = _FewRows(trainer, module, data, read, said_once)

    def select(size: int) -> None:
        candidates = Candidates.stream(
            size, lambda: (rows for (rows,) in log_probs.chunks(size)), lambda: embeddings.chunks(size)
        )
        selection = acquisition.select(candidates, min(query_size, size), generator(seed, number, "dry pass"))
        positions, scores = selection.positions.tolist(), selection.scores.tolist()
        check_selection(acquisition, positions, scores, min(query_size, size), size)

    with _saying_when(number), unchanged(module), seeded(derive(seed, number, "dry pass")):
        few = len(log_probs.indices)
        try:
            select(few)
        except Exception:
            more = min(data.pool.num_unlabelled, log_probs.most_points(), embeddings.most_points())
            has_failed = log_probs.has_failed or embeddings.has_failed
            if has_failed or more <= few or type(acquisition).__module__.startswith("lightning_al."):
                raise
            # A method of the user's own may need as many points as the pool has.
            select(more)


class _FewRows:
    """What a pass over a few points gives, computed when it is first read.

    Attributes:
        indices: The points.
        has_failed: Whether the pass raised an exception.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        predict: Callable[[Iterable[Any]], Iterator[Rows]],
        check: Check,
    ) -> None:
        self.trainer = trainer
        self.module = module
        self.data = data
        self.predict = predict
        self.check = check
        unlabelled = data.pool.unlabelled
        self.indices = [unlabelled[place] for place in spread(len(unlabelled), NUM_POINTS)]
        self.has_failed = False
        self._batches: list[Rows] = []

    def chunks(self, size: int) -> Iterator[Rows]:
        """Yield rows for so many points: batch by batch, or those of the few points again and again."""
        if not self._batches:
            self.has_failed = True
            self._batches = list(self._compute())
            self.has_failed = False
        if size == len(self.indices):
            yield from self._batches
        else:
            repeated = torch.arange(size) % len(self.indices)
            yield tuple(torch.cat(rows)[repeated] for rows in zip(*self._batches, strict=True))

    def most_points(self) -> int:
        """Return of how many points the rows may be held."""
        sizes = [rows[:1].nbytes for batch in self._batches[:1] for rows in batch]
        return MOST_BYTES // max(1, sum(sizes))

    def _compute(self) -> Iterator[Rows]:
        # A second batch, of two points at least: a batch of one may be what the pool never has.
        first = 4 if len(self.indices) == NUM_POINTS else len(self.indices)
        loaders = [self.data.pool_dataloader(part) for part in (self.indices[:first], self.indices[first:]) if part]
        batch_size = loaders[0].batch_size or 1
        parts = [
            part[start : start + batch_size]
            for part in (self.indices[:first], self.indices[first:])
            for start in range(0, len(part), batch_size)
        ]
        batches = (to_device(self.trainer, self.module, batch) for loader in loaders for batch in loader)
        predictions = self.predict(batches)
        not_finite: list[int] = []
        computed: list[Rows] = []
        for part in parts:
            rows = next_rows(predictions, len(part), self.trainer, self.module, self.check)
            computed.append(tuple(values.cpu() for values in rows))
            not_finite += [part[place] for place in places_of_nan(rows)]
        next(predictions, None)  # so that the loader's workers end
        if not_finite:
            raise not_finite_error(self.module, not_finite, len(self.indices))
        self.check(computed[0][-1].shape[-1])
        return iter(computed)


@contextmanager
def _saying_when(number: int) -> Iterator[None]:
    """Let exceptions say that they come before the fit of a round."""
    try:
        yield
    except Exception as error:
        when = (
            f"This was found by the dry pass before round {number}, which scores a few points of the pool. To leave it "
            "out, pass `Trainer(num_sanity_val_steps=0)`."
        )
        is_ours = isinstance(error, ValueError) and type(error).__module__.startswith("lightning_al.")
        kind: Any = ValueError if is_ours else type(error)
        if kind not in OF_CODE:
            error.add_note(when)
            raise
        said = f"{error} {when}"
        raise kind(said) from error


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put a module back to what it was: its layers, modes, attributes, and what its tensors hold."""
    state = ModuleState(module)
    tensors = {id(tensor): tensor for tensor in _tensors_of(module)}.values()
    before = [(tensor, tensor.detach().cpu().clone()) for tensor in tensors]
    try:
        yield
    finally:
        state.put_back_all()
        with torch.no_grad():
            for tensor, values in before:
                if not torch.equal(tensor.detach().cpu(), values):
                    tensor.copy_(values)


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor))
