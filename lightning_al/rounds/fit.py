"""One fit under way: what is known of it before it is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.evaluation import PosteriorTest
from lightning_al.host.namespace import pl
from lightning_al.host.timers import time_is_up
from lightning_al.prediction.fitted import Fitted
from lightning_al.rounds.members import Member
from lightning_al.run.history import Round
from lightning_al.run.memory import peak_bytes
from lightning_al.run.records import OpenQuery

Chunk = TypeVar("Chunk")


@dataclass
class CurrentFit:
    """Gather the results of a fit, until it is recorded as a `Round` or as a `Member` of one.

    Attributes:
        member: Which fit of its round it is, from 0.
        steps: Optimiser steps.
        cut_short: Whether `max_time` ended it, so that it is not recorded.
        indices: The query that was selected after it, in the order of choice.
        unscorable: Points that could not be scored.
        scores, details, warning: What the acquisition function says of the query.
        probs: What the model predicts for each point of the query ``[b][C]``, where an oracle is shown it.
        audit: How good the model is by the audit points, as `Round.audit`.
        pseudo_labels: The predicted classes, by index, on which the next round trains.
        metrics: What the module logged, by name.
        seconds, peak_bytes: Wall time and memory of each part.
        validation_labels: Number of validation labels that it used.
        fitted: What predicts with the weights that it ended with, until it is recorded.
        weights: What it ended with, where it is not the last of its round.
        posterior_test: What gathers the posterior's scores, while the module is tested.
        seeded: The seeds of the fit, until it ends.
        until_first_step: What holds until its first step.
    """

    member: int = 0
    steps: int = 0
    cut_short: bool = False
    indices: list[int] = field(default_factory=list)
    unscorable: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    details: dict[str, float | list[float]] = field(default_factory=dict)
    warning: str | None = None
    probs: list[list[float]] | None = None
    audit: dict[str, float] = field(default_factory=dict)
    pseudo_labels: dict[int, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    validation_labels: int = 0
    fitted: Fitted | None = None
    weights: dict[str, Tensor] | None = None
    posterior_test: PosteriorTest | None = None
    seeded: ExitStack = field(default_factory=ExitStack)
    until_first_step: ExitStack = field(default_factory=ExitStack)
    _began: float = 0.0

    def begin_training(self) -> None:
        """Start the clock, before the first step."""
        self._began = time.perf_counter()

    def end_training(self, trainer: pl.Trainer) -> None:
        """Note what the Trainer knows of the fit, after its last step."""
        self.seconds["fit"] = time.perf_counter() - self._began
        self.peak_bytes.update(peak_bytes("fit"))
        self.steps = trainer.global_step
        self.cut_short = time_is_up(trainer)
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if value.numel() == 1}

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Count the time and memory of a part."""
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began
        self.peak_bytes.update(peak_bytes(part))

    def timed(self, chunks: Iterator[Chunk], part: str, check_stopped: Callable[[], None]) -> Iterator[Chunk]:
        """Count the time that chunks take, but not what is done with them in between."""
        while True:
            check_stopped()
            with self.clock(part):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def take_query(self, query: OpenQuery) -> None:
        """Take over a query that is open already, so that it is not selected again."""
        self.indices, self.scores, self.details = query.indices, query.scores, query.details
        self.warning, self.unscorable = query.warning, query.unscorable

    def to_member(self, round: int, seed: int) -> Member:
        """Return what is recorded of a fit that is not the last of its round."""
        return Member(
            round=round,
            number=self.member,
            seed=seed,
            metrics=self.metrics,
            seconds=self.seconds,
            peak_bytes=self.peak_bytes,
            steps=self.steps,
            validation_labels=self.validation_labels,
        )

    def to_round(self, round: int, data: ActiveDataModule, tested_with: Any, audited: list[int]) -> Round:
        """Return what the history records of the fit, once its query and the audit points beside it are answered."""
        changes = data.pool.changes
        return Round(
            number=round,
            labelled=data.pool.num_labelled,
            indices=self.indices,
            scores=self.scores,
            class_counts=data.class_counts(),
            metrics=self.metrics,
            seconds=self.seconds,
            steps=self.steps,
            validation_labels=self.validation_labels,
            tested_with=tested_with,
            details=self.details,
            warning=self.warning,
            peak_bytes=self.peak_bytes,
            unscorable=self.unscorable,
            corrected=[change.index for change in changes if not change.given_back],
            given_back=[change.index for change in changes if change.given_back],
            skipped=data.pool.skipped,
            unusable=data.pool.unusable,
            audit=self.audit,
            audited=audited,
            label_seconds=data.pool.label_seconds,
            pseudo_labels=len(data.pseudo_labelled),
        )
