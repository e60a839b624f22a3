"""Select a query from the pool, with or without the points that cannot be scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al._lightning import pl
from lightning_al.acquisition.base import Acquisition, Selection
from lightning_al.candidates import Candidates
from lightning_al.datamodule import ActiveDataModule
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.posterior.base import LogitsFunction, evaluating
from lightning_al.posterior.batches import num_points
from lightning_al.predictions import Check, Predict, Rows
from lightning_al.scoring import embeddings_of, log_probs_of, look_at, pass_over_pool
from lightning_al.unscorable import leave_out, unscorable_error

Timed = Callable[[Iterator[Any]], Iterator[Any]]
"""Counts the time that an iterator takes."""


class PoolPasses:
    """Pass over the pool as often as an acquisition function reads it, and remember which passes it made.

    Args:
        trainer: The Trainer.
        module: The module.
        data: The data.
        posterior: How the weights are sampled.
        last_layer: How embeddings are read.
        logits: A function of the module and a batch.
        seed: Seed of the posterior samples.
        check: As for `predict_pool`.
        skip: Whether to leave out points that cannot be scored.
        timed: Counts the time that passes take.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        *,
        posterior: Posterior,
        last_layer: LastLayer,
        logits: LogitsFunction,
        seed: int,
        check: Check | None,
        skip: bool,
        timed: Timed,
    ) -> None:
        self.trainer = trainer
        self.module = module
        self.data = data
        self.check = check
        self.skip = skip
        self.timed = timed
        self._log_probs = log_probs_of(module, posterior, logits, seed)
        self._embeddings = embeddings_of(module, last_layer, logits)
        self._outputs = _outputs_of(module, logits)
        self._made: list[Predict] = []

    def select(
        self, acquisition: Acquisition, b: int, generator: Callable[[], torch.Generator], suspects: Sequence[int]
    ) -> tuple[Selection, list[int], dict[int, str]]:
        """Select b points, or all where fewer can be scored.

        Args:
            acquisition: Selects them.
            b: How many.
            generator: Makes the generator that the selection draws from.
            suspects: Indices of points that could not be scored in the round before.

        Returns:
            The selection, the indices of the candidates by position, and why other points were left out, by index.

        Raises:
            UnscorableError: If points cannot be scored, and are not to be left out or are all that there are.
        """

        def select(points: list[int]) -> Selection:
            self._made.clear()
            selection = acquisition.select(self._candidates(points), min(b, len(points)), generator())
            if self.skip and not self._made:
                # What a method does not look at may still not be readable, once its label is paid for.
                reasons = self._look_at(points)
                if reasons:
                    raise unscorable_error(self.module, reasons, len(points), self.data)
            return selection

        unlabelled = self.data.pool.unlabelled
        if not self.skip:
            return select(unlabelled), unlabelled, {}
        selection, left_out = leave_out(unlabelled, suspects, select, self._look_at)
        return selection, [index for index in unlabelled if index not in left_out], left_out

    def _candidates(self, points: list[int]) -> Candidates:
        def chunks() -> Iterator[Tensor]:
            for (log_probs_n_K_C,) in self._pass(self._log_probs, "Scoring the pool", points):
                yield log_probs_n_K_C

        def last_layer() -> Iterator[tuple[Tensor, ...]]:
            return self._pass(self._embeddings, "Embedding the pool", points)

        return Candidates.stream(len(points), chunks, last_layer)

    def _pass(self, predict: Predict, description: str, points: list[int]) -> Iterator[Rows]:
        yield from self.timed(
            pass_over_pool(
                self.trainer, self.module, self.data, predict, description, self.check, points, skip=self.skip
            )
        )
        self._made.append(predict)

    def _look_at(self, points: Sequence[int]) -> Mapping[int, str]:
        """Return why points cannot be scored by the passes that were made, or read where there were none."""

        def look() -> Iterator[dict[int, str]]:
            for predict in dict.fromkeys(self._made or [self._outputs]):
                yield look_at(self.trainer, self.module, self.data, predict, points)

        return {index: reason for found in self.timed(look()) for index, reason in found.items()}


def _outputs_of(module: nn.Module, logits: LogitsFunction) -> Predict:
    """Return the function that gives a network's outputs, or nothing where it gives none for each point."""

    def predict(batches: Iterable[Any]) -> Iterator[Rows]:
        for batch in batches:
            outputs = None
            try:
                with evaluating(module):
                    outputs = logits(module, batch)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception:  # whatever the module raises: the method that selects does without its outputs
                outputs = None
            if isinstance(outputs, Tensor) and outputs.dim() > 0 and len(outputs) == num_points(batch):
                rows = outputs.detach().float().reshape(len(outputs), -1)
                yield (rows.masked_fill(rows == torch.inf, torch.nan),)
            else:
                yield ()

    return predict
