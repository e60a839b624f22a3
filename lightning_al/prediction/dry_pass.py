"""Score a few points before the first step, so that what cannot work fails immediately."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.acquisition.base import Acquisition, check_selection, plain_metrics
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.features.points import (
    features_at,
    has_target_features,
    labelled_features_at,
    lacking_features,
    target_features_at,
)
from lightning_al.host.loaders import to_device
from lightning_al.host.module_state import ModuleState
from lightning_al.host.namespace import rank_zero_info
from lightning_al.points import Candidates, Points
from lightning_al.prediction.calls import OF_CODE
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.predictions import Check, Predict, Predictions, Rows, Source
from lightning_al.prediction.unscorable import unscorable_error
from lightning_al.run.seeds import derive, generator, seeded
from lightning_al.values.content_hash import spread

NUM_POINTS = 6
"""How many points are scored, spread over the pool: a first batch of 4 and a second of 2, which is padded otherwise."""

FEW_LABELLED = 64
"""How many labelled points a posterior may read then."""

MOST_TRIES = 10
"""How often points are tried, where those that cannot be scored are left out."""

FeaturesAt = Callable[[ActiveDataModule, Sequence[int]], Tensor]
"""Returns the features of some points."""

MOST_BYTES = 64 * 2**20
"""How large a table for an acquisition function may be that needs more points than these."""


def dry_pass(
    fitted: Fitted,
    *,
    acquisition: Acquisition,
    query_size: int,
    check: Check,
    seed: int,
    number: int,
    skip: bool = False,
) -> None:
    """Let an acquisition function select among a few points of the pool, as it will after the fit, and discard that.

    The points are scored exactly as the whole pool is, with every posterior sample, and only what the method reads is
    computed. Nothing changes: neither weights, buffers, modes and attributes of the module nor the states of random
    generators. Hooks of the datamodule are called, and the dataset is read. All ranks score the same points.

    Args:
        fitted: Predicts batches with the module, which is on its device and about to take its first step.
        acquisition: The acquisition function. A copy of it selects; one that cannot be copied is not tried.
        query_size: How many points the next query has.
        check: Is called with the number of classes, or None where there are no logits.
        seed: Seed of the run.
        number: Number of the round.
        skip: Whether to leave out points that cannot be scored, if others can.

    Raises:
        Exception: Whatever the pass over the pool or the selection would raise; the message says when it was.
    """
    try:
        acquisition = copy.deepcopy(acquisition)
    except Exception:  # whatever an object may raise that cannot be copied
        return

    def said_once(num_classes: int | None) -> None:
        said = check(num_classes)
        if said is not None:
            rank_zero_info(said)

    data = fitted.data
    unlabelled = data.pool.unlabelled
    if skip and data.features is not None:
        lacking = set(lacking_features(data, unlabelled))
        unlabelled = [index for index in unlabelled if index not in lacking] or unlabelled
    pool = fitted.pool, unlabelled
    log_probs = _FewRows(fitted, fitted.log_probs, *pool, said_once, skip)
    check_embeddings = said_once if fitted.reads_predictions else None
    embeddings = _FewRows(fitted, fitted.embeddings, *pool, check_embeddings, skip)

    def points(source: Source, indices: list[int], **others: Any) -> Points:
        few = _FewRows(fitted, fitted.log_probs, source, indices)
        few_embeddings = _FewRows(fitted, fitted.embeddings, source, indices)
        size = len(few.indices)
        return Points.stream(size, lambda: _only(few.chunks(size)), lambda: few_embeddings.chunks(size), **others)

    def tables_of(indices: Sequence[int], features_at: FeaturesAt = features_at) -> dict[str, Any]:
        groups = {} if data.groups is None else {"groups": lambda: data.group_numbers(indices)}
        return groups | ({} if data.features is None else {"features": lambda: features_at(data, indices)})

    def labelled() -> Points:
        few = _spread_over(fitted.labelled)
        return points(
            fitted.labelled_points, few, labels=lambda: fitted.labels(few), **tables_of(few, labelled_features_at)
        )

    def target_inputs() -> Points:
        places = list(range(len(data.target_inputs_dataset())))
        few = _spread_over(places)
        features = {"features": lambda: target_features_at(data, few)} if has_target_features(data) else {}
        return points(fitted.target_inputs, places, **features)

    def select(size: int) -> None:
        candidates = Candidates.stream(
            size,
            lambda: _only(log_probs.chunks(size)),
            lambda: embeddings.chunks(size),
            labelled=labelled,
            target_inputs=None if data.target_inputs is None else target_inputs,
            **tables_of([log_probs.indices[place % len(log_probs.indices)] for place in range(size)]),
        )
        selection = acquisition.select(candidates, min(query_size, size), generator(seed, number, "dry pass"))
        positions, scores = selection.positions.tolist(), selection.scores.tolist()
        check_selection(acquisition, positions, scores, min(query_size, size), size)
        plain_metrics(acquisition, selection.metrics)

    with _saying_when(number), unchanged(fitted.module), seeded(derive(seed, number, "dry pass")):
        few = len(log_probs.indices)
        try:
            select(few)
        except Exception:
            more = min(len(unlabelled), log_probs.most_points(), embeddings.most_points())
            has_failed = log_probs.has_failed or embeddings.has_failed
            if has_failed or more <= few or type(acquisition).__module__.startswith("lightning_al."):
                raise
            # A method of the user's own may need as many points as the pool has.
            select(more)


def _only(chunks: Iterator[Rows]) -> Iterator[Tensor]:
    return (rows for (rows,) in chunks)


class _FewRows:
    """Compute what a pass over a few points returns, when it is first read.

    Attributes:
        indices: The points.
        has_failed: Whether the pass raised an exception.
    """

    def __init__(
        self,
        fitted: Fitted,
        predict: Predict,
        source: Source,
        points: list[int],
        check: Check | None = None,
        skip: bool = False,
    ) -> None:
        self.trainer = fitted.trainer
        self.module = fitted.module
        self.source = source
        self.points = points
        self.predict = predict
        self.check = check
        self.skip = skip
        self.indices = _spread_over(points)
        self.has_failed = False
        self._batches: list[Rows] = []

    def chunks(self, size: int) -> Iterator[Rows]:
        """Yield rows for so many points: batch by batch, or those of the few points again and again."""
        if not self._batches:
            self.has_failed = True
            self._batches = self._compute()
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

    def _compute(self) -> list[Rows]:
        left = self.points
        for tries_left in reversed(range(MOST_TRIES)):
            computed, reasons = self._try()
            if not reasons:
                break
            left = [index for index in left if index not in reasons]
            if not self.skip or not left or not tries_left:
                size = len(self.indices)
                raise unscorable_error(self.module, reasons, size, self.source.what, self.source.remark)
            self.indices = [index for index in self.indices if index not in reasons] or _spread_over(left)
        if self.check is not None:
            self.check(computed[0][-1].shape[-1])
        return computed

    def _try(self) -> tuple[list[Rows], dict[int, str]]:
        """Return what is predicted of the points, and why some of them cannot be scored."""
        # A second batch, of two points at least: a batch of one may be what the pool never has.
        first = 4 if len(self.indices) == NUM_POINTS else len(self.indices)
        batch_size = self.source.batch_size
        batches = [
            part[start : start + batch_size]
            for part in (self.indices[:first], self.indices[first:])
            for start in range(0, len(part), batch_size)
        ]

        def predict(loaded: Iterable[Any]) -> Iterator[Rows]:
            return self.predict(to_device(self.trainer, self.module, batch) for batch in loaded)

        predictions = Predictions(
            self.trainer,
            self.module,
            self.source,
            predict,
            batches,
            check=self.check,
            skip=self.skip,
            is_each_loaded_alone=True,
        )
        computed: list[Rows] = []
        reasons: dict[int, str] = {}
        for _ in batches:
            rows, found = predictions.next()
            computed.append(tuple(values.cpu() for values in rows))
            reasons.update(found)
        predictions.end()
        return computed, reasons


def _spread_over(indices: list[int]) -> list[int]:
    return [indices[place] for place in spread(len(indices), NUM_POINTS)]


@contextmanager
def _saying_when(number: int) -> Iterator[None]:
    """Let exceptions say that the dry pass of a round raised them."""
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
    """Restore a module afterwards: its layers, modes, attributes, and the values of its tensors."""
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
