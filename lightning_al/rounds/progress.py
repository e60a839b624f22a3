"""Tell an oracle where the run stands, so that it can show it to the people who answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_first_rank, on_first_rank
from lightning_al.oracle import Oracle, Query
from lightning_al.oracle.progress import Phase, Progress
from lightning_al.oracle.query import LazyItems
from lightning_al.rounds.earlier_answers import answered_points
from lightning_al.rounds.labelling import without_drawing
from lightning_al.rounds.run import Run
from lightning_al.run.history import History, Round
from lightning_al.run.records import INITIAL

MOST_AHEAD = 24
"""The most audit points that are offered before a query asks for them."""

MOST_EXAMPLES = 3
"""The most examples of a class."""

MOST_CLASSES = 40
"""With more classes, none has examples."""

PREFERRED = ("audit_acc", "test_acc", "val_acc")
"""The metrics of the curve, the first of which that a round has."""


def tell_progress(run: Run, trainer: pl.Trainer, data: ActiveDataModule, phase: Phase) -> None:
    """Tell the oracle on the first rank where the run stands, if it wants to know."""
    if follows(run):
        with without_drawing():
            on_first_rank(trainer, lambda: _follow(run, progress_of(run, data, phase)))


def tell_end(run: Run, data: object) -> None:
    """Tell the oracle that the run stops, in whichever state. No error comes of it."""
    with suppress(Exception):
        if follows(run) and isinstance(data, ActiveDataModule) and run.journal is not None:  # the first rank has it
            _follow(run, progress_of(run, data, "stopped"))


def follows(run: Run) -> bool:
    """Return whether the oracle wants to know where the run stands."""
    oracle = run.active.oracle
    return isinstance(oracle, Oracle) and type(oracle).follow is not Oracle.follow


def answered_ahead(run: Run, trainer: pl.Trainer, data: ActiveDataModule) -> list[int]:
    """Return the audit points that have an answer, although no query asked for them, the same on every rank."""
    oracle = run.active.oracle
    if not isinstance(oracle, Oracle) or type(oracle).answered_ahead is Oracle.answered_ahead:
        return []
    waiting = data.pool.audit.waiting

    def find() -> list[int]:
        found = set(oracle.answered_ahead(waiting, run.active.folder))
        return [index for index in waiting if index in found]

    return from_first_rank(trainer, find)


def progress_of(run: Run, data: ActiveDataModule, phase: Phase) -> Progress:
    """Return where a run stands."""
    active, pool = run.active, data.pool
    classes = data.training_points.classes
    names = {number: str(number) for number in classes.allowed or ()} | classes.names
    counts = data.class_counts() or {}
    query = run.labelling.query
    now = [] if query is None or query.round is None else [Round.from_dict(query.round)]  # measured, not yet recorded
    history = History([*run.history, *now])
    metric = _metric(history)
    curve = [] if metric is None else list(zip(*history.curve(metric), strict=True))
    return Progress(
        phase=phase,
        round=run.round if query is None else query.number,
        folder=active.folder,
        classes=names,
        counts={number: counts.get(number, 0) for number in names} | counts,
        spent=pool.num_spent,
        budget=active.budget,
        seconds=pool.label_seconds,
        budget_seconds=active.budget_seconds,
        metric=metric,
        curve=curve,
        audit=history[-1].audit if len(history) else {},
        answered=answered_points(pool),
        ahead=data.training_points.first_readable(pool.audit.waiting, MOST_AHEAD),
        examples=_examples(data, names) if 0 < len(names) <= MOST_CLASSES else {},
        given_back={change.index: place for place, change in enumerate(pool.changes) if change.given_back},
        show=lambda points: _shown(data, points, active.folder),
    )


def _follow(run: Run, progress: Progress) -> None:
    oracle = run.active.oracle
    assert isinstance(oracle, Oracle)
    oracle.follow(progress)


def _metric(history: History) -> str | None:
    """Return the metric of the curve: one that the last round has."""
    metrics = history[-1].metrics if len(history) else {}
    return next((name for name in (*PREFERRED, *(name for name in metrics if "acc" in name)) if name in metrics), None)


def _examples(data: ActiveDataModule, names: object) -> dict[int, list[int]]:
    """Return the first labelled points of each class, which do not change while the run grows."""
    lacking = set(data.pool.lacking)
    found: dict[int, list[int]] = {}
    for index in data.pool.labelled:
        number = None if index in lacking else data.class_of(index)
        if number is not None and len(found.setdefault(number, [])) < MOST_EXAMPLES:
            found[number].append(index)
    return found


def _shown(data: ActiveDataModule, points: Sequence[int], folder: Path | None) -> Query:
    return Query(
        INITIAL,
        points,
        keys=data.keys_of(points),
        items=LazyItems(data.pool_item, points),
        folder=folder,
        paths=[data.path_of(index) for index in points],
    )
