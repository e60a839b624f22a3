"""What a run asks of its oracle: the query under way, the answers so far, and what an answer may be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

from torch import Tensor

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl, rank_zero_info
from lightning_al.host.ranks import from_first_rank
from lightning_al.oracle import Labels, Oracle, Query, enough_of, name_of, reveals, seconds_to_wait
from lightning_al.oracle.asking import ask
from lightning_al.oracle.open_query import rest_of
from lightning_al.oracle.query import LazyItems, Truth
from lightning_al.posterior.base import Forward
from lightning_al.prediction.fitted import Fitted
from lightning_al.prediction.scoring import pass_over
from lightning_al.rounds.accepted_labels import (
    accepting,
    check_changes,
    num_outputs,
    rules_of,
    truth_of,
    why_of_labels,
)
from lightning_al.rounds.earlier_answers import catch_up, earlier_answers
from lightning_al.run.effort import Effort, known_efforts
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change, Label
from lightning_al.run.records import INITIAL, OpenQuery, changes_since
from lightning_al.run.seeds import GlobalStates


class Labelling:
    """Ask an oracle for the labels of a query, and keep its answers until the round is recorded.

    Attributes:
        query: The last query, with the answers so far. None once its round is recorded.
        weights: The weights of the fit before it, while it is open. None if only the run's folder has them.
    """

    def __init__(self) -> None:
        self.query: OpenQuery | None = None
        self.weights: dict[str, Tensor] | None = None
        self._data: ActiveDataModule | None = None
        self._folder: str | os.PathLike[str] | None = None
        self._num_outputs: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the data, which belong to another object."""
        return {**vars(self), "_data": None}

    @property
    def is_pending(self) -> bool:
        """Whether an open query can be answered without another fit."""
        return self.query is not None and self.query.is_of_a_fit and len(self.query.rest) > 0

    @property
    def pending(self) -> Query | None:
        """What an oracle is asked next, without another fit, or None."""
        return self._shown() if self.is_pending else None

    def recall(self, trainer: pl.Trainer, number: int) -> OpenQuery | None:
        """Return the query of a round if it is open already, so that it is not selected again.

        That happens with folders of an earlier version, which recorded the query without its fit, and with checkpoints.
        """
        self.query = trainer.strategy.broadcast(self.query)
        if self.query is None or self.query.number != number:
            return None
        rank_zero_info(
            f"The query of round {number} has {len(self.query.answers)} of {len(self.query.points)} answers already, "
            "so the oracle is asked only for the others."
        )
        return self.query

    def look_at(
        self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, forward: Forward
    ) -> None:
        """Find out how many outputs the module has, while it is on its device."""
        if self._num_outputs is None:
            self._num_outputs = num_outputs(trainer, module, data, forward)

    def check_outputs(
        self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, forward: Forward
    ) -> None:
        """Refuse a module with fewer outputs than classes, of which some were added after the run had begun.

        Raises:
            ValueError: If it has fewer.
        """
        self.look_at(trainer, module, data, forward)
        classes = data.training_points.classes
        needed = 1 + max(*classes.numbers.values(), *(classes.allowed or ()), 0)
        if self._num_outputs is not None and self._num_outputs < needed:
            raise ValueError(
                f"The run has {needed} classes since some were added, but `{type(module).__name__}` has "
                f"{self._num_outputs} outputs. Make the model with {needed} outputs; the weights of the others are "
                "kept."
            )

    def begin(
        self,
        query: OpenQuery,
        weights: dict[str, Tensor] | None,
        journal: Journal | None,
    ) -> None:
        """Take a new query, and record it before anybody is asked.

        Args:
            query: The query. Answers that part of it has already are taken over.
            weights: The weights of the fit before it, if there was one.
            journal: The journal, on the first rank, if the run has a folder.
        """
        if self.query is not None and self.query.points == query.points:
            query.answers.update(self.query.answers)
            query.efforts.update(self.query.efforts)
        query.num_outputs = self._num_outputs
        self.query, self.weights = query, weights
        if journal is not None:
            if weights is not None:
                journal.save_weights(weights_name(query.number), weights)
            journal.ask(query)

    def ask(
        self,
        oracle: Oracle | Labels,
        trainer: pl.Trainer,
        data: ActiveDataModule,
        journal: Journal | None,
        folder: str | os.PathLike[str] | None,
        *,
        says_pending: bool = True,
        seed: int = 0,
    ) -> Mapping[int, Label] | None:
        """Ask on the first rank for what the query lacks, record each good answer at once, and tell the other ranks.

        Args:
            oracle: Who answers.
            trainer: The Trainer.
            data: The data.
            journal: The journal, on the first rank, if the run has a folder.
            folder: The folder.
            says_pending: Whether to say which answers are missing. Others may be asked for them next.
            seed: Seed of the run.

        Returns:
            The answers by index, or None if not enough are there.

        Raises:
            ValueError: If answers were refused.
        """
        assert self.query is not None
        data.training_points.check_length(data.pool)
        self._data, self._folder, asked = data, folder, self.query

        def record(answers: Mapping[int, Label], efforts: Mapping[int, Effort]) -> None:
            # What is revealed can be revealed again.
            if journal is not None and not reveals(oracle):
                journal.answer(answers, efforts)

        def find() -> tuple[dict[int, Label], dict[int, Effort], ValueError | None, list[Change]]:
            told = reveals(oracle)
            accept = accepting(data, asked.num_outputs, reveals=told, asked=() if told else asked.rest)
            kept = "for the next fit of this program" if folder is None else f"in {folder}"
            pause = seconds_to_wait(oracle)
            truth = truth_of(data, cache(lambda: rules_of(data, asked.num_outputs)), seed)
            while True:
                shown = self._shown(truth)
                wrong = ask(
                    lambda shown=shown: oracle.label(shown),  # type: ignore[misc]
                    asked,
                    name=name_of(oracle),
                    accept=accept,
                    record=record,
                    kept=kept,
                    earlier=None if told else earlier_answers(data.pool, asked, journal),
                )
                if wrong is not None or is_enough() or pause is None:
                    return asked.answers, asked.efforts, wrong, data.pool.changes
                time.sleep(pause)

        def is_enough() -> bool:
            enough = len(asked.points) if asked.number == INITIAL else enough_of(oracle, len(asked.points))
            answered = sum(index in asked.answers for index in asked.indices)
            return not asked.rest or (enough < len(asked.points) and answered >= min(enough, len(asked.indices)))

        answers, efforts, wrong, changes = from_first_rank(trainer, find)
        asked.answers.update(answers)
        asked.efforts.update(efforts)
        catch_up(data.pool, changes)
        if wrong is not None:
            data.training_points.check_length(data.pool)  # a dataset that changed meanwhile is the better explanation
            raise wrong
        if not is_enough():
            if says_pending:
                tell_pending(asked, oracle, self._shown())
            return None
        return answers

    def take_answers(self, folder: str | os.PathLike[str]) -> None:
        """Take over the answers of the query that were recorded in the run's folder since the last call."""
        with suppress(OSError, RuntimeError):  # the next call reads the folder, and says what is wrong with it
            records = Journal.read(folder)
            known, efforts = records.initial, records.initial_efforts
            if records.query is not None:
                known, efforts = records.query.answers, records.query.efforts
            if self.query is not None:
                self.query.answers.update({index: known[index] for index in self.query.points if index in known})
                self.query.efforts.update(known_efforts(efforts, self.query.points))

    def end(self) -> None:
        """Forget the query, whose round is recorded."""
        self.query = self.weights = None

    def _shown(self, truth: Truth | None = None) -> Query:
        query, data = self.query, self._data
        assert query is not None
        if data is None:
            return rest_of(query, folder=self._folder)
        items = LazyItems(data.pool_item, query.rest)
        classes = data.training_points.classes
        return rest_of(
            query,
            items=items,
            classes=classes,
            folder=self._folder,
            truth=truth,
            paths=[data.path_of(index) for index in query.rest],
        )

    def take_changes(
        self, data: ActiveDataModule, journal: Journal | None, folder: str | os.PathLike[str] | None, told: int
    ) -> None:
        """Check labels that were changed in the pool since the last fit, and write them to the journal.

        Args:
            data: The data.
            journal: The journal, on the first rank, if the run has a folder.
            folder: The folder.
            told: How many changes the history tells of.

        Raises:
            ValueError: If a label was corrected to an invalid one, or labels were changed in the folder too.
        """
        check_changes(data, told, self._num_outputs, folder)
        if journal is not None and journal.header is not None:
            for change in changes_since(journal.records.changes, data.pool.changes):
                journal.change(change)

    def explain(
        self,
        error: BaseException,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        forward: Forward,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        """Let an error of a fit say which recorded labels it may come from, and how to correct them."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(error, Exception) or not isinstance(data, ActiveDataModule):
            return
        with suppress(Exception):  # the error itself is what matters
            if data.pool.labels:
                known = self._num_outputs
                outputs = num_outputs(trainer, module, data, forward) if known is None else known
                why = why_of_labels(error, data, outputs, folder)
                if why is not None:
                    error.add_note(why)


def weights_name(number: int) -> str:
    """Return the name under which a folder keeps the weights of a round's fit while its query is open."""
    return f"fit-{number}"


def tell_pending(query: OpenQuery, oracle: Oracle | Labels, shown: Query) -> None:
    """Say in a line which answers are missing, how they are given, and how to resume."""
    of = "the initial points" if query.number == INITIAL else f"round {query.number}"
    rest = ", ".join(map(str, query.rest[:10])) + (", ..." if len(query.rest) > 10 else "")
    then = "Call `trainer.fit` again to query them. The run resumes once all are there."
    if getattr(oracle, "leaves_open", False) and isinstance(oracle, Oracle):
        then = f"{oracle.how_to_answer(shown)}, then call `trainer.fit` again."
    rank_zero_info(
        f"`ActiveLearning`: {len(query.rest)} of {len(query.points)} labels of {of} are pending (indices {rest}). "
        f"{then}"
    )


def believed(fitted: Fitted, indices: Sequence[int]) -> list[list[float]] | None:
    """Return what the model believes of points: the probability of each class ``[b][C]``, the same on every rank.

    It is the posterior mean if samples were drawn for the selection, else the module's own prediction.

    Returns:
        The probabilities, or None if the module's outputs are not classes.
    """
    predict = partial(fitted.log_probs_by, sampled="samples" in vars(fitted))
    try:
        chunks = pass_over(fitted.trainer, fitted.module, fitted.pool, indices, predict, "beliefs")
        return [row for (log_probs,) in chunks for row in log_probs.double().exp().mean(dim=1).tolist()]
    except Exception:  # of a module whose outputs mean something else, nothing is told
        return None


@contextmanager
def without_drawing() -> Iterator[None]:
    """Restore the global generators afterwards, since an oracle may draw from them."""
    before = GlobalStates()
    try:
        yield
    finally:
        before.put_back()
