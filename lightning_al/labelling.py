"""What a run asks of its oracle: the query under way, the answers so far, and what an answer may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from lightning_al._lightning import pl, rank_zero_info
from lightning_al.accepted_labels import accepting, check_changes, num_outputs, why_of_labels
from lightning_al.datamodule import ActiveDataModule
from lightning_al.journal import Journal
from lightning_al.oracle import Labels, Oracle, name_of
from lightning_al.oracle.asking import ask
from lightning_al.pool import Label
from lightning_al.posterior.base import Forward
from lightning_al.ranks import from_first_rank
from lightning_al.records import Query, changes_since


def reveals(oracle: Oracle | Labels) -> bool:
    """Return whether an oracle's answers are the dataset's own targets."""
    return bool(getattr(oracle, "reveals", False))


class Labelling:
    """Ask an oracle for the labels of a query, and keep what it answered until the round is recorded.

    Attributes:
        query: The query that was asked last, with the answers that it has so far.
    """

    def __init__(self) -> None:
        self.query: Query | None = None
        self._num_outputs: int | None = None

    def recall(self, trainer: pl.Trainer, number: int) -> Query | None:
        """Return a round's query where some of it was answered before, so that it is not selected again."""
        self.query = trainer.strategy.broadcast(self.query)
        if self.query is None or self.query.number != number or not self.query.answers:
            return None
        rank_zero_info(
            f"The query of round {number} has {len(self.query.answers)} of {len(self.query.indices)} answers already, "
            "so the oracle is asked for the others alone."
        )
        return self.query

    def look_at(
        self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, forward: Forward
    ) -> None:
        """Find out how many outputs the module has, while it is on its device."""
        if self._num_outputs is None:
            self._num_outputs = num_outputs(trainer, module, data, forward)

    def ask(
        self,
        oracle: Oracle | Labels,
        query: Query,
        trainer: pl.Trainer,
        data: ActiveDataModule,
        journal: Journal | None,
        folder: str | os.PathLike[str] | None,
    ) -> Mapping[int, Label]:
        """Ask on the first rank for what the query lacks, record each good answer at once, and tell the other ranks.

        Args:
            oracle: Who answers.
            query: What was selected; where it was answered in part before, `recall` gave it.
            trainer: The Trainer.
            data: The data.
            journal: The journal, on the first rank, where the run has a folder.
            folder: The folder.

        Returns:
            A label for each index of the query.

        Raises:
            ValueError: If answers were refused or are missing.
        """
        data._check_length()
        if self.query is None or self.query.number != query.number or not self.query.answers:
            query.num_outputs = self._num_outputs
            self.query = query
        asked = self.query

        def record(answers: Mapping[int, Label]) -> None:
            # What is revealed can be revealed again.
            if journal is not None and not reveals(oracle):
                journal.answer(asked, answers)

        def find() -> tuple[dict[int, Label], ValueError | None]:
            told = reveals(oracle)
            accept = accepting(data, self._num_outputs, reveals=told, asked=() if told else asked.rest)
            kept = "for the next fit of this program" if folder is None else f"in {folder}"
            label: Callable[[Any], Any] = oracle.label
            wrong = ask(label, asked, name=name_of(oracle), accept=accept, record=record, kept=kept)
            return asked.answers, wrong

        answers, wrong = from_first_rank(trainer, find)
        if wrong is not None:
            data._check_length()  # what changed meanwhile is said, and not that an answer does not fit to it
            raise wrong
        return answers

    def take_changes(
        self, data: ActiveDataModule, journal: Journal | None, folder: str | os.PathLike[str] | None, told: int
    ) -> None:
        """Check labels that were changed in the pool since the last fit, and write them to the journal.

        Args:
            data: The data.
            journal: The journal, on the first rank, where the run has a folder.
            folder: The folder.
            told: How many changes the history tells of.

        Raises:
            ValueError: If a label was corrected to one that can be none, or labels were changed in the folder too.
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
