"""The labels of a run, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lightning_al.run.effort import Effort
from lightning_al.run.labels import Label, kind_of_aside
from lightning_al.run.records import INITIAL, OpenQuery, Records


@dataclass(frozen=True)
class RecordedLabel:
    """A label of a run, and where it came from.

    Attributes:
        index: The point.
        label: Its present label, or the answer that is no label; None stands for the dataset's own target.
        given: What was answered first.
        state: Whether the label is the first one, was corrected, or was given back; or how the point was set aside.
        round: Number of the round that queried it; None if the point was labelled before the first round.
        score: The acquisition function's score, if it was queried.
        effort: How long the first answer took, and who gave it, as far as it is known.
        is_audit: Whether it is that of an audit point, which is never trained on.
    """

    index: int
    label: Label
    given: Label
    state: Literal["given", "corrected", "given back", "skip", "unusable", "other"] = "given"
    round: int | None = None
    score: float | None = None
    effort: Effort = field(default_factory=Effort)
    is_audit: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the point has a label."""
        return self.state in ("given", "corrected")


def _answered(
    index: int,
    answers: Mapping[int, Label],
    efforts: Mapping[int, Effort],
    round: int | None = None,
    score: float | None = None,
    *,
    is_audit: bool = False,
) -> RecordedLabel:
    answer = answers.get(index)
    state: Any = kind_of_aside(answer) or "given"
    return RecordedLabel(index, answer, answer, state, round, score, efforts.get(index, Effort()), is_audit)


def recorded_labels(records: Records) -> list[RecordedLabel]:
    """Return all labels in the order in which they were given, those of an open query last.

    >>> from lightning_al.run.labels import Change
    >>> rounds = [{"number": 0, "indices": [7], "scores": [0.5]}]
    >>> records = Records({"initial": [3]}, rounds, [{7: 1}], [Change(7, label=2, after=1)])
    >>> [(found.index, found.given, found.label, found.state) for found in recorded_labels(records)]
    [(3, None, None, 'given'), (7, 1, 2, 'corrected')]
    """
    query = records.query
    first, by, lacking = records.initial, records.initial_efforts, set[int]()
    if query is not None and query.number == INITIAL:
        first, by, lacking = query.answers, query.efforts, set(query.rest)
    header = records.header or {}
    audit = set(header.get("audit", ()))
    found = [_answered(index, first, by) for index in header.get("initial", ()) if index not in lacking]
    found += [_answered(index, first, by, is_audit=True) for index in first if index in audit]
    asked = [round for round in records.rounds if round["indices"]]
    for number in range(len(asked) + 1):
        for change in records.changes:
            if change.after == number:
                place = places_of(found)[change.index]
                state: Any = "given back" if change.given_back else kind_of_aside(change.label) or "corrected"
                found[place] = replace(found[place], label=change.label, state=state)
        if number < len(asked):
            round, labels = asked[number], records.labels[number]
            by = records.efforts[number] if records.efforts else {}
            found += [
                _answered(index, labels, by, round["number"], score)
                for index, score in zip(round["indices"], round["scores"], strict=True)
            ]
            found += [
                _answered(index, labels, by, round["number"], is_audit=True) for index in round.get("audited", ())
            ]
    if query is not None and query.number != INITIAL:
        found += _of_query(query)
    return found


def _of_query(query: OpenQuery) -> list[RecordedLabel]:
    scores = dict(zip(query.indices, query.scores, strict=True))
    return [
        _answered(index, query.answers, query.efforts, query.number, scores.get(index), is_audit=index not in scores)
        for index in query.answers
    ]


def places_of(found: list[RecordedLabel]) -> dict[int, int]:
    """Return the place of each point that has a label."""
    return {one.index: place for place, one in enumerate(found) if one.state != "given back"}
