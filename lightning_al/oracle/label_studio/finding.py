"""Find the answers and corrections in the annotations of a run's project in Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_al.oracle.answer import Answer
from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.label_studio.answers import Reader, UndecidedError
from lightning_al.oracle.label_studio.client import Client
from lightning_al.oracle.label_studio.labelling_config import Labelling
from lightning_al.oracle.label_studio.remembered import Remembered
from lightning_al.oracle.query import Query
from lightning_al.run.records import INITIAL

MOST_BY_NUMBER = 500
"""Up to so many tasks are exported by their numbers."""


@dataclass(frozen=True)
class Found:
    """What the annotations of a project say.

    Attributes:
        answers: The answers to the query, by index.
        corrections: What replaces an earlier answer: the task, the correction, and when it was changed.
        refused: What cannot be an answer, in words.
        undecided: Which answers have no majority, in words.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    corrections: list[tuple[int, Correction, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)


class Finder:
    """Find what people said about the points of a run.

    Args:
        client: The server.
        remembered: The tasks of the run.
        labelling: Where people answer.
        classes: The names of the classes by their numbers.
        annotators: How many people answer each task.
    """

    def __init__(
        self,
        client: Client,
        remembered: Remembered,
        labelling: Labelling,
        classes: Mapping[int, str],
        annotators: int,
    ) -> None:
        self._client = client
        self._remembered = remembered
        self._reader = Reader(labelling, classes, annotators, self._name_of)
        self._names: dict[int, str] | None = None

    def find(self, query: Query, *, enough: int, always_all: bool) -> Found:
        """Return what the annotations say.

        Args:
            query: The query.
            enough: How many answers to it are enough.
            always_all: Whether the answers of earlier queries are read too, where the query has not enough answers.
        """
        asked = set(query)
        own = [number for number, task in self._remembered.tasks.items() if task.round == query.round]
        if not always_all and len(own) <= MOST_BY_NUMBER:
            found = self._found(query, asked, own)
            if len(found.answers) < enough:
                return found
        return self._found(query, asked, None)

    def _found(self, query: Query, asked: set[int], numbers: Sequence[int] | None) -> Found:
        newest, found = self._remembered.newest(), Found()
        for exported in self._annotated(numbers):
            number = exported["id"]
            task = self._remembered.tasks.get(number)
            if task is None or newest[task.index] != number:
                continue
            is_asked = task.index in asked
            is_recorded = task.is_taken or (task.round == query.round and task.index in query.answers)
            changed = max((str(one.get("updated_at")) for one in exported["annotations"]), default="")
            if not is_asked and (not is_recorded or changed == task.changed):
                continue
            try:
                verdict = self._reader.verdict(exported["annotations"])
            except AnswerError as error:
                said = f"task {number} (index {task.index}): {error}".rstrip(".")
                (found.undecided if isinstance(error, UndecidedError) or not is_asked else found.refused).append(said)
                continue
            if verdict is None:
                continue
            if is_asked:
                found.answers[task.index] = Answer(verdict.answer, verdict.seconds, verdict.who)
                task.changed = changed
            elif str(verdict.plain) != str(task.answer if task.is_taken else query.answers[task.index]):
                found.corrections.append((number, Correction(verdict.answer), changed))
        return found

    def _annotated(self, numbers: Sequence[int] | None) -> list[Mapping[str, Any]]:
        """Return the tasks with annotations, all or of some numbers."""
        if numbers is not None and not numbers:
            return []
        chosen = {} if numbers is None else {"ids[]": list(numbers)}
        return (
            self._client.get(
                f"/api/projects/{self._remembered.project}/export",
                exportType="JSON",
                download_all_tasks="false",
                **chosen,
            )
            or []
        )

    def _name_of(self, number: int) -> str:
        """Return the name of a user."""
        if self._names is None:
            try:
                users = self._client.get("/api/users/") or []
            except (PermissionError, ValueError):
                users = []
            self._names = {user["id"]: _name(user) for user in users}
        return self._names.get(number) or f"user {number}"


def enough_answers(query: Query, accept_partial: int | None) -> int:
    """Return how many new answers end a query.

    >>> enough_answers(Query(0, [7, 3, 5], answers={2: 1}), 3), enough_answers(Query(-1, [7, 3]), 1)
    (2, 2)
    """
    if accept_partial is None or query.round == INITIAL:
        return len(query)
    return min(len(query), max(0, accept_partial - len(query.answers)))


def _name(user: Mapping[str, Any]) -> str:
    whole: Iterator[str] = (str(user.get(part) or "").strip() for part in ("first_name", "last_name"))
    return " ".join(filter(None, whole)) or str(user.get("username") or user.get("email") or "")
