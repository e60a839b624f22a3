"""The points that were answered before, whose answers may be corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Pool
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_first_rank
from lightning_al.oracle import Oracle, name_of
from lightning_al.oracle.asking import Answered, ask
from lightning_al.rounds.accepted_labels import accepting
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change, Label
from lightning_al.run.records import OpenQuery, changes_since


def answered_points(pool: Pool) -> list[int]:
    """Return the points that have an answer which is recorded, of whatever kind."""
    lacking = set(pool.lacking)
    labelled = [index for index in pool.labelled if index not in lacking]
    return [*labelled, *pool.aside, *pool.audit.answers]


def earlier_answers(pool: Pool, query: OpenQuery, journal: Journal | None) -> Answered:
    """Return which points have an answer, and how to correct it: in the journal and in memory at once.

    Args:
        pool: The pool of the run.
        query: The open query. Its answers so far may be corrected too.
        journal: The journal, on the first rank, if the run has a folder.
    """

    def has(index: int) -> bool:
        return index in query.answers or index in answered_points(pool)

    def correct(labels: Mapping[int, Label]) -> None:
        earlier = {index: label for index, label in labels.items() if index not in query.answers}
        changes = [change for index, label in earlier.items() for change in _change_of(pool, index, label)]
        if journal is not None:
            now = {index: label for index, label in labels.items() if label != query.answers.get(index, label)}
            journal.change(*changes, *(Change(index, label) for index, label in now.items()))
        for change in changes:
            pool.change(change)

    return Answered(has, correct)


def catch_up(pool: Pool, changes: Sequence[Change]) -> None:
    """Make the changes of labels that the first rank made."""
    for change in changes_since(pool.changes, changes):
        pool.change(change)


def take_late(
    oracle: Oracle, trainer: pl.Trainer, data: ActiveDataModule, journal: Journal | None, folder: Path | None
) -> None:
    """Record on the first rank the corrections that came while no query was open, and tell the other ranks.

    Args:
        oracle: Who answers.
        trainer: The Trainer.
        data: The data.
        journal: The journal, on the first rank, if the run has a folder.
        folder: The folder.

    Raises:
        ValueError: If corrections were refused.
    """

    def find() -> tuple[ValueError | None, list[Change]]:
        nothing = OpenQuery(len(data.pool.rounds) - 1, [], [])
        num_outputs = None if journal is None else journal.records.num_outputs
        wrong = ask(
            lambda: oracle.corrections(answered_points(data.pool), folder),
            nothing,
            name=name_of(oracle),
            accept=accepting(data, num_outputs, reveals=False),
            record=lambda answers, efforts: None,  # none is asked for
            kept="for the next fit of this program" if folder is None else f"in {folder}",
            earlier=earlier_answers(data.pool, nothing, journal),
        )
        return wrong, data.pool.changes

    wrong, changes = from_first_rank(trainer, find)
    catch_up(data.pool, changes)
    if wrong is not None:
        raise wrong


def _change_of(pool: Pool, index: int, label: Label) -> list[Change]:
    """Return the change that gives a point another answer; none where it has that answer already."""
    known = {**pool.labels, **pool.audit.answers, **pool.aside}.get(index)
    return [] if label == known else [Change(index, label, after=len(pool.rounds) - 1)]
