"""Who labelled in a run: each person's answers, and how long they took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lightning_al.run.effort import Effort, total_seconds
from lightning_al.run.printable import printable
from lightning_al.run.recorded_labels import RecordedLabel, recorded_labels
from lightning_al.run.records import Records


@dataclass(frozen=True)
class Person:
    """A person who labelled.

    Attributes:
        name: The name, made safe to print; empty for all answers that do not name anybody.
        answers: Number of answers, those that are no label too.
        seconds: How long they took, as far as they say it, or None if none does.
    """

    name: str
    answers: int
    seconds: float | None


def people_in(records: Records) -> list[Person]:
    """Return who labelled in a run, as `people_of` does."""
    efforts = [records.initial_efforts, *records.efforts, *([] if records.query is None else [records.query.efforts])]
    if not any(effort.who is not None for known in efforts for effort in known.values()):
        return []
    return people_of(recorded_labels(records))


def people_of(labels: Iterable[RecordedLabel]) -> list[Person]:
    """Return who gave some labels, the most answers first; nobody if no answer names anybody.

    A label is that of whoever gave the first answer. Labels that a dataset has by itself are nobody's.

    >>> labels = [RecordedLabel(index, 0, 0, effort=Effort(2.0, "anna")) for index in range(3)]
    >>> people_of(labels)
    [Person(name='anna', answers=3, seconds=6.0)]
    """
    by_name: dict[str, list[Effort]] = defaultdict(list)
    for label in labels:
        if label.given is not None or label.effort.is_known:
            by_name[printable(label.effort.who or "")].append(label.effort)
    if not any(by_name):
        return []
    found = [
        Person(
            name,
            len(efforts),
            total_seconds(efforts) if any(effort.seconds is not None for effort in efforts) else None,
        )
        for name, efforts in by_name.items()
    ]
    return sorted(found, key=lambda person: -person.answers)
