"""Select a query from the pool, with or without the points that cannot be scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, ScoreAcquisition, Selection, checked_scores
from lightning_al.data.features.points import (
    features_at,
    has_target_features,
    labelled_features_at,
    target_features_at,
)
from lightning_al.information import posterior_mean
from lightning_al.points import Candidates, Points
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.predictions import Check, Predict, Rows, Source
from lightning_al.prediction.scoring import look_at, pass_over
from lightning_al.prediction.unscorable import leave_out, unscorable_error

Timed = Callable[[Iterator[Any]], Iterator[Any]]
"""Counts the time that an iterator takes."""


@dataclass(frozen=True)
class ScoredPool:
    """What a pass over the pool says of N points.

    Attributes:
        indices: Their dataset indices, in increasing order.
        scores_N: Their scores ``[N]``.
        log_probs_N_C: Log-probabilities ``[N, C]`` of the posterior mean, in nats.
        left_out: Why other points could not be scored, by index.
    """

    indices: list[int]
    scores_N: Tensor
    log_probs_N_C: Tensor
    left_out: dict[int, str]


class PoolPasses:
    """Pass over the pool as often as an acquisition function reads it, and remember which passes it made.

    Args:
        fitted: Predicts batches.
        check: As for `pass_over`.
        skip: Whether to leave out points that cannot be scored.
        timed: Counts the time that passes take.
    """

    def __init__(self, fitted: Fitted, *, check: Check | None, skip: bool, timed: Timed) -> None:
        self.fitted = fitted
        self.check = check
        self.skip = skip
        self.timed = timed
        self._made: list[Predict] = []

    def select(
        self, acquisition: Acquisition, b: int, generator: Callable[[], torch.Generator], suspects: Sequence[int]
    ) -> tuple[Selection, list[int], dict[int, str]]:
        """Select b points, or all if fewer can be scored.

        Args:
            acquisition: Selects them.
            b: How many.
            generator: Makes the generator that the selection draws from.
            suspects: Indices of points that could not be scored in the round before.

        Returns:
            The selection, the indices of the candidates by position, and why other points were left out, by index.

        Raises:
            UnscorableError: If points cannot be scored and may not be left out, or if no point can be scored.
        """

        def select(points: list[int]) -> Selection:
            self._made.clear()
            selection = acquisition.select(self._candidates(points), min(b, len(points)), generator())
            if self.skip and not self._made:
                # What a method does not look at may still not be readable, once its label is paid for.
                reasons = self._look_at(points)
                if reasons:
                    raise unscorable_error(self.fitted.module, reasons, len(points), remark=self.fitted.pool.remark)
            return selection

        unlabelled = self.fitted.data.pool.unlabelled
        if not self.skip:
            return select(unlabelled), unlabelled, {}
        selection, left_out = leave_out(unlabelled, suspects, select, self._look_at)
        return selection, [index for index in unlabelled if index not in left_out], left_out

    def score(self, acquisition: ScoreAcquisition, generator: Callable[[], torch.Generator]) -> ScoredPool:
        """Score all points, and predict their classes in the same pass, if the method reads predictions.

        Args:
            acquisition: Scores them.
            generator: Makes the generator that the scores draw from.

        Raises:
            UnscorableError: If points cannot be scored and may not be left out, or if no point can be scored.
        """

        def score(points: list[int]) -> tuple[Tensor, Tensor]:
            self._made.clear()
            means: list[Tensor] = []

            def keep_means(log_probs: Iterator[Tensor]) -> Iterator[Tensor]:
                means.clear()
                for log_probs_n_K_C in log_probs:
                    means.append(posterior_mean(log_probs_n_K_C.detach()))
                    yield log_probs_n_K_C

            candidates = self._candidates(points, keep_means)
            scores_N = checked_scores(acquisition, candidates, generator())
            if sum(map(len, means)) < len(points):
                for _ in candidates.chunks():
                    pass
            return scores_N, torch.cat(means)

        unlabelled = self.fitted.data.pool.unlabelled
        if not self.skip:
            return ScoredPool(unlabelled, *score(unlabelled), {})
        scored, left_out = leave_out(unlabelled, [], score, self._look_at)
        return ScoredPool([index for index in unlabelled if index not in left_out], *scored, left_out)

    def _candidates(
        self,
        points: list[int],
        kept: Callable[[Iterator[Tensor]], Iterator[Tensor]] = iter,
        whole: Candidates | None = None,
    ) -> Candidates:
        """Return candidates, or some of the `whole` of them, which stay the target inputs if there are no others."""
        data = self.fitted.data
        source = self.fitted.pool
        candidates: Candidates = Candidates.stream(
            len(points),
            lambda: kept(self._log_probs(source, points, "Scoring the pool", self.check)),
            lambda: self._embeddings(source, points, "Embedding the pool", self.check),
            features=None if data.features is None else lambda: self._features(points),
            groups=None if data.groups is None else lambda: data.group_numbers(points),
            labelled=self._labelled,
            target_inputs=whole if data.target_inputs is None else self._target_inputs,
            at=lambda places: self._candidates(
                [points[place] for place in places], whole=candidates if whole is None else whole
            ),
        )
        return candidates

    def _labelled(self) -> Points:
        data, points = self.fitted.data, self.fitted.labelled
        source = self.fitted.labelled_points
        return Points.stream(
            len(points),
            lambda: self._log_probs(source, points, "Scoring the labelled points"),
            lambda: self._embeddings(source, points, "Embedding the labelled points"),
            features=None if data.features is None else lambda: labelled_features_at(data, points),
            groups=None if data.groups is None else lambda: data.group_numbers(points),
            labels=lambda: self.fitted.labels(points),
        )

    def _features(self, points: list[int]) -> Tensor:
        """Return the features of candidates.

        Raises:
            UnscorableError: If some have none since they cannot be read, and may be left out.
        """
        features_N_D = features_at(self.fitted.data, points)
        has_none = [points[place] for place in (~features_N_D.isfinite().all(1)).nonzero().flatten().tolist()]
        if has_none and self.skip:
            raise unscorable_error(
                self.fitted.module, dict.fromkeys(has_none, "it has no features"), len(points), self.fitted.pool.what
            )
        return features_N_D

    def _target_inputs(self, places: list[int] | None = None) -> Points:
        data, source = self.fitted.data, self.fitted.target_inputs
        points = list(range(len(data.target_inputs_dataset()))) if places is None else places
        return Points.stream(
            len(points),
            lambda: self._log_probs(source, points, "Scoring the target inputs"),
            lambda: self._embeddings(source, points, "Embedding the target inputs"),
            features=(lambda: target_features_at(data, points)) if has_target_features(data) else None,
            at=lambda some: self._target_inputs([points[place] for place in some]),
        )

    def _log_probs(
        self, source: Source, points: list[int], description: str, check: Check | None = None
    ) -> Iterator[Tensor]:
        for (log_probs_n_K_C,) in self._pass(self.fitted.log_probs, source, points, description, check):
            yield log_probs_n_K_C

    def _embeddings(
        self, source: Source, points: list[int], description: str, check: Check | None = None
    ) -> Iterator[Rows]:
        check = check if self.fitted.reads_predictions else None
        return self._pass(self.fitted.embeddings, source, points, description, check)

    def _pass(
        self, predict: Predict, source: Source, points: list[int], description: str, check: Check | None
    ) -> Iterator[Rows]:
        trainer, module = self.fitted.trainer, self.fitted.module
        is_pool = source is self.fitted.pool
        yield from self.timed(
            pass_over(trainer, module, source, points, predict, description, check=check, skip=self.skip and is_pool)
        )
        if is_pool:
            self._made.append(predict)

    def _look_at(self, points: Sequence[int]) -> Mapping[int, str]:
        """Return why points cannot be scored by the passes that were made, or read where there were none."""

        def look() -> Iterator[dict[int, str]]:
            for predict in dict.fromkeys(self._made or [self.fitted.outputs]):
                yield look_at(self.fitted.trainer, self.fitted.module, self.fitted.pool, points, predict)

        return {index: reason for found in self.timed(look()) for index, reason in found.items()}
