"""What the rows of a journal say: the rounds, the labels and their changes, and an open query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_al.run.effort import Effort
from lightning_al.run.history import History, Round
from lightning_al.run.journal_rows import (
    check_answers,
    check_change,
    check_classes,
    check_efforts,
    check_items,
    check_member,
    check_query,
    check_round,
    check_taken_back,
    contradiction,
)
from lightning_al.run.labels import Change, Label

INITIAL = -1
"""The number of the query of the initial points, before the first fit."""


@dataclass
class OpenQuery:
    """A query that is not fully answered yet.

    Attributes:
        number: Number of the round; -1 for the initial points.
        indices: Dataset indices in the order of choice.
        scores: The acquisition function's score for each.
        details: What the acquisition function reports about them.
        warning: Its warning, or None.
        unscorable: Dataset indices of the points that could not be scored.
        num_outputs: How many outputs the network has, if that is known.
        probs: The model's probability of each class for each point ``[b][C]``, if that is known.
        keys: The key of each point that is asked for, where items have keys.
        round: The round as plain data, as far as it is known before the answers; None in a query of schema 1.
        answers: The labels given so far, by index.
        efforts: How long these answers took and who gave them, by index, as far as anything is known.
        asked: All points that are asked for, in the order in which they are: `indices` and, mixed among them, audit
            points. Empty where there are no audit points.
    """

    number: int
    indices: list[int]
    scores: list[float]
    details: dict[str, float | list[float]] = field(default_factory=dict)
    warning: str | None = None
    unscorable: list[int] = field(default_factory=list)
    num_outputs: int | None = None
    probs: list[list[float]] | None = None
    round: dict[str, Any] | None = None
    answers: dict[int, Label] = field(default_factory=dict)
    keys: list[str | int] | None = None
    efforts: dict[int, Effort] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    @property
    def points(self) -> list[int]:
        """All points that are asked for, in the order in which they are."""
        return self.asked or self.indices

    @property
    def audited(self) -> list[int]:
        """The audit points among them."""
        chosen = set(self.indices)
        return [index for index in self.points if index not in chosen]

    @property
    def is_of_a_fit(self) -> bool:
        """Whether the query's fit is fully recorded, or none was needed, so that it need not be repeated."""
        return self.round is not None or self.number == INITIAL

    @property
    def rest(self) -> list[int]:
        """The points without an answer, in the order in which they are asked for."""
        return [index for index in self.points if index not in self.answers]

    def to_dict(self) -> dict[str, Any]:
        """Return the query as plain data, without its answers."""
        plain = asdict(self)
        del plain["answers"], plain["efforts"]
        return plain


@dataclass(frozen=True)
class Records:
    """What a journal holds.

    Attributes:
        header: What the run is, or None if it has not begun. Its classes are the present ones, which are `changed` if
            they are others than the run began with.
        initial: The labels given to initial points for which the dataset has none, and those of audit points that were
            asked for with them, by index.
        rounds: The rounds as plain data.
        labels: The labels given after each round, by index, before any change; those of audit points too.
        changes: The changes of labels, in order.
        query: The open query, if any.
        num_outputs: How many outputs the network has, if a query recorded it.
        items: The key and the hash of each labelled point, by index, where items have keys. Where their features are
            those of an array, the hash of its row comes third.
        members: The finished fits of the next round as plain data, if a round takes several.
        efforts: How long the answers of each round took and who gave them, by index, as far as anything is known.
        initial_efforts: The same of the answers for initial points.
    """

    header: dict[str, Any] | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[int, Label]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    query: OpenQuery | None = None
    num_outputs: int | None = None
    initial: dict[int, Label] = field(default_factory=dict)
    members: list[dict[str, Any]] = field(default_factory=list)
    items: dict[int, list[Any]] = field(default_factory=dict)
    efforts: list[dict[int, Effort]] = field(default_factory=list)
    initial_efforts: dict[int, Effort] = field(default_factory=dict)

    @property
    def answered(self) -> frozenset[int]:
        """All points that were labelled, set aside, queried, or drawn for the audit, at any time."""
        asked = [index for round in self.rounds for index in (*round["indices"], *round.get("audited", ()))]
        open_now = [] if self.query is None else self.query.points
        header = self.header or {}
        return frozenset([*header.get("initial", ()), *header.get("audit", ()), *asked, *open_now])

    @property
    def history(self) -> History:
        """The rounds."""
        return History(Round.from_dict(plain) for plain in self.rounds)

    @property
    def queries(self) -> list[list[int]]:
        """The points that each round queried, without a round that queried none."""
        return [round["indices"] for round in self.rounds if round["indices"]]


def replay(bodies: Iterable[Mapping[str, Any]]) -> Records:
    """Read the rows of a journal in order.

    If a label is changed after the last round, which queried nothing, the round is taken back: its figures are those of
    the old label, and it is fitted again.

    Raises:
        ValueError: If a row is of an unknown kind, or contradicts those before.
        KeyError, TypeError, AttributeError: If a row lacks a field, or has one of another type.

    >>> query = {"number": 0, "indices": [7, 3], "scores": [0.5, 0.5]}
    >>> replay([{"schema": 1}, {"answers": {"7": 2}, "query": query}]).query.rest
    [3]
    """
    header: dict[str, Any] | None = None
    rounds: list[dict[str, Any]] = []
    labels: list[dict[int, Label]] = []
    changes: list[Change] = []
    query: OpenQuery | None = None
    asked_for: frozenset[int] = frozenset()
    num_outputs: int | None = None
    initial: dict[int, Label] = {}
    members: list[dict[str, Any]] = []
    items: dict[int, list[Any]] = {}
    efforts: list[dict[int, Effort]] = []
    initial_efforts: dict[int, Effort] = {}
    for body in bodies:
        if "items" in body:
            items |= check_items(by_index(body["items"]))
        if header is None:
            header = dict(body)
        elif "round" in body:
            given = by_index(body["labels"])
            asked = None if query is None else (query.indices, query.audited)
            check_round(body["round"], len(rounds), given, header, asked)
            points = (*body["round"]["indices"], *body["round"].get("audited", ()))
            efforts.append(check_efforts(by_index(body.get("by", {})), points))
            rounds.append(body["round"])
            labels.append(given)
            query, members = None, []
        elif "member" in body:
            check_member(body["member"], len(rounds), len(members))
            members = [*members[: body["member"]["number"]], body["member"]]
        elif "query" in body or "answers" in body:
            if "query" in body:
                check_query(body["query"], len(rounds), header, before=query, is_initial_known=bool(initial))
                answers, known = ({}, {}) if query is None else (query.answers, query.efforts)
                query = OpenQuery(**body["query"], answers=answers, efforts=known)
                num_outputs = query.num_outputs
                asked_for = frozenset(query.points)  # once, since each of many answers may have a row
            if query is None:
                raise contradiction("it has answers, but no query is open")
            answers = by_index(body.get("answers", {}))
            check_answers(answers, asked_for)
            query.answers.update(answers)
            query.efforts.update(check_efforts(by_index(body.get("by", {})), answers))
            if query.number == INITIAL and len(query.answers) == len(asked_for):
                initial, initial_efforts, query = query.answers, query.efforts, None
        elif "change" in body:
            check_change(body["change"], header, rounds, initial if query is None else initial | query.answers)
            if rounds and not rounds[-1]["indices"]:
                del rounds[-1], labels[-1], efforts[-1]
            changes.append(Change(**body["change"], after=len(rounds)))
            members = []  # they were fitted to the old label
        elif "classes" in body:
            check_classes(body["classes"], header.get("classes"))
            header["classes"] = {**body["classes"], "changed": True}
            num_outputs, members = None, []  # of the network before
            if query is not None:
                query.num_outputs = None
        elif "taken_back" in body:
            check_taken_back(body["taken_back"], len(rounds))
            del rounds[-1], labels[-1], efforts[-1]
            members = []
        else:
            kind = ", ".join(map(repr, body)) or "empty"
            raise ValueError(
                f"The journal holds an unknown kind of row, {kind}. Use the version of lightning_al that wrote it."
            )
    return Records(
        header, rounds, labels, changes, query, num_outputs, initial, members, items, efforts, initial_efforts
    )


def by_index(labels: Mapping[str, Label]) -> dict[int, Label]:
    """Return labels by index, from a row that has them by the index as text.

    Earlier versions wrote indices in any type, such as ``14.0`` or ``tensor(14)``.

    >>> by_index({"14.0": 2, "tensor(3)": 1, "5": 0})
    {14: 2, 3: 1, 5: 0}
    """
    return {int(re.sub(r"^tensor\((\d+)\)$|\.0$", r"\1", index)): label for index, label in labels.items()}


def changes_since(known: Sequence[Change], now: Sequence[Change]) -> list[Change]:
    """Return the changes that came after the known ones; none if more are known.

    Raises:
        ValueError: If different changes were made on both sides.
    """
    shared = min(len(known), len(now))
    if list(now[:shared]) != list(known[:shared]):
        raise ValueError(
            "Labels were changed both in `ActiveDataModule.pool` and in the run folder, in different ways. Start a new "
            "process, in which the labels are those of the folder."
        )
    return list(now[len(known) :])
