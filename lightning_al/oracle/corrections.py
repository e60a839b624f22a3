"""Correct recorded labels, or give their points back, while no process runs the run.

The old label remains in the journal. The next fit uses the new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_al.oracle.answers import AnswerError, plain_answer
from lightning_al.oracle.label_rules import LabelRules, rules_for
from lightning_al.oracle.set_aside import Skip
from lightning_al.run.journal import Journal
from lightning_al.run.journal_command import command
from lightning_al.run.journal_reading import check_is_there
from lightning_al.run.labels import Change, Label
from lightning_al.run.recorded_labels import RecordedLabel, places_of, recorded_labels
from lightning_al.run.records import Records
from lightning_al.task.class_names import Classes
from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import whole_number

MOST_NAMED = 5
"""The most changes whose errors are shown in full."""


def correct(folder: str | os.PathLike[str], index: int, label: Any) -> RecordedLabel:
    """Correct a recorded label, which may be that of an initial point.

    If the run had finished, its last round is fitted again when it is next started.

    Args:
        folder: The run's folder.
        index: The point.
        label: Its label, of any type that an oracle may return, or `Unusable(reason)` or `Other(text)`, which set the
            point aside. None stands for the dataset's own target.

    Returns:
        The label before the correction.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        TypeError: If the index is not a number.
        ValueError: If the point has no label, or the new one cannot be its label.
    """
    return correct_by(folder, {index: lambda rules: _plain(label, rules)})[0]


def correct_by(
    folder: str | os.PathLike[str], reads: Mapping[int, Callable[[LabelRules], Label]]
) -> list[RecordedLabel]:
    """Correct labels as `correct` does, all or none. Each new label is read by the rules for labels of the run."""
    reads = {whole_number("correct", "index", index, least=None): read for index, read in reads.items()}
    with opened(folder) as journal:
        before: list[RecordedLabel] = []
        changes: list[Change] = []
        wrong: dict[int, ValueError] = {}
        for index, read in reads.items():
            try:
                before.append(_labelled(journal, index))
                changes.append(Change(index, _read(journal, index, read)))
            except ValueError as error:
                wrong[index] = error
        _refuse(wrong, len(reads), folder)
        journal.change(*changes)
    return before


def _plain(label: Any, rules: LabelRules) -> Label:
    if isinstance(label, Skip):
        raise AnswerError("a label that was used cannot be skipped, but given back")
    return None if label is None else plain_answer(label, rules)


def _read(journal: Journal, index: int, read: Callable[[LabelRules], Label]) -> Label:
    try:
        label = read(rules_of(journal.records, index))
        check_own(journal.records, index, label)
        return label
    except AnswerError as error:
        raise ValueError(
            f"The label of index {index} in {journal.folder} cannot be corrected: {error}. Give a label of this "
            "dataset."
        ) from error


def give_back(folder: str | os.PathLike[str], index: int) -> RecordedLabel:
    """Take a recorded label away, so that its point can be queried again. A budget still counts the label.

    Args:
        folder: The run's folder.
        index: The point.

    Returns:
        The label that was taken away.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        TypeError: If the index is not a number.
        ValueError: If the point has no label, is the only labelled one, or belongs to an open query.
    """
    return give_back_all(folder, [index])[0]


def give_back_all(folder: str | os.PathLike[str], indices: Iterable[int]) -> list[RecordedLabel]:
    """Take recorded labels away as `give_back` does: all or none.

    Args:
        folder: The run's folder.
        indices: The points.

    Returns:
        The labels that were taken away.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        TypeError: If an index is not a number.
        ValueError: If a point has no label, comes twice, or belongs to an open query, or if no labelled point would be
            left.
    """
    points = [whole_number("give_back", "index", index, least=None) for index in indices]
    with opened(folder) as journal:
        left = {found.index for found in recorded_labels(replace(journal.records, query=None)) if found.is_there}
        before: list[RecordedLabel] = []
        wrong: dict[int, ValueError] = {}
        for index in points:
            try:
                before.append(_given_back(journal, index, left))
            except ValueError as error:
                wrong[index] = error
            left.discard(index)
        _refuse(wrong, len(points), folder)
        journal.change(*(Change(index, given_back=True) for index in points))
    return before


def _given_back(journal: Journal, index: int, left: set[int]) -> RecordedLabel:
    """Return the label of a point to give back.

    Args:
        journal: The journal.
        index: The point.
        left: The points that are still labelled after those before it are given back.
    """
    before = _labelled(journal, index)
    if before.state not in ("given", "corrected"):
        raise ValueError(
            f"Index {index} in {journal.folder} was answered by {before.state!r}, so there is no label to give back. "
            "Name a labelled point, or give this one a label by `correct`."
        )
    how = f"`{command('correct', journal.folder, index, 'LABEL')}`"
    if before.is_audit:
        raise ValueError(
            f"Index {index} in {journal.folder} is an audit point, which is never trained on, so there is nothing to "
            f"give back. Correct its label, {how}."
        )
    query = journal.records.query
    if query is not None and index in query.answers:
        raise ValueError(
            f"Index {index} in {journal.folder} belongs to a query that is not fully answered, so it cannot be given "
            f"back yet. Correct its label, {how}, or start the run again first."
        )
    if index not in left:
        raise ValueError(f"Index {index} in {journal.folder} was named twice. Name it once.")
    if left == {index}:
        raise ValueError(
            f"Index {index} in {journal.folder} is the only labelled point, so there would be nothing to train on. "
            f"Correct its label, {how}."
        )
    return before


def _refuse(wrong: Mapping[int, ValueError], number: int, folder: str | os.PathLike[str]) -> None:
    """Raise an error if some of several changes cannot be made. Then none is made."""
    if not wrong:
        return
    if number == 1:
        raise next(iter(wrong.values()))
    said = " ".join(map(str, list(wrong.values())[:MOST_NAMED]))
    raise ValueError(
        f"None of the {number} labels in {folder} was changed, because of [{first_few(list(wrong), most=20)}]. Name "
        f"only the others, or give right labels. {said}"
    )


@contextmanager
def opened(folder: str | os.PathLike[str]) -> Iterator[Journal]:
    """Open the journal of a run that no process runs, to write to it.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
    """
    check_is_there(Path(folder))  # `Journal` would make one
    with closing(Journal(folder)) as journal:
        yield journal


def _labelled(journal: Journal, index: int) -> RecordedLabel:
    found = recorded_labels(journal.records)
    places = places_of(found)
    if index not in places:
        raise ValueError(
            f"Index {index} in {journal.folder} has no label. Name one of the {len(places)} that have, which "
            f"`{command('show', journal.folder)}` lists."
        )
    return found[places[index]]


def check_own(records: Records, index: int, label: Label) -> None:
    """Refuse None, which stands for the dataset's own label, for a point of a dataset that seems to have none.

    Raises:
        AnswerError: If somebody else labelled the point, and the run saw no class in the dataset.
    """
    found = recorded_labels(records)
    if label is None and found[places_of(found)[index]].given is not None and not own_classes(records):
        raise AnswerError("None stands for the dataset's own label, but the dataset seems to have none")


def own_classes(records: Records) -> list[int]:
    """Return the classes that the run saw in the dataset, which may have a placeholder for points without a label."""
    labels = (records.header or {}).get("data", {}).get("labels", ())
    return [label for label in labels if label is not None and label >= 0]


def rules_of(records: Records, but: int | None = None) -> LabelRules:
    """Return what a label may be, inferred from the other labels of the run, the classes and the number of outputs."""
    header = records.header or {}
    others = [found for found in recorded_labels(records) if found.index != but and found.is_there]
    given = [found.label for found in others if found.label is not None]
    return rules_for(own_classes(records) or given, Classes.from_dict(header.get("classes")), records.num_outputs)
