"""An oracle whose queries people answer in Label Studio."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final
from urllib.parse import urlsplit

from lightning_al.host.namespace import rank_zero_warn
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.invitation import invite
from lightning_al.oracle.label_studio.client import TOKEN, Client, UnreachableError
from lightning_al.oracle.label_studio.finding import Found, enough_answers
from lightning_al.oracle.label_studio.project import Project
from lightning_al.oracle.label_studio.remembered import Remembered
from lightning_al.oracle.query import Query
from lightning_al.oracle.registry import register_oracle
from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import optional_whole_number, whole_number

MOST_NAMED = 10
"""The most annotations that a message names."""

_TOLD: set[str] = set()
"""The projects whose address this process has told, so that a run that is resumed tells it too."""


@register_oracle("label_studio")
@final
@dataclass(frozen=True)
class LabelStudio(Oracle):
    """Let people label in a Label Studio server, and take their annotations up.

    Each point becomes a task of one project, which is made with the name of the run's folder and remembered there in
    `label_studio.json`. A task shows the item's image, text or values. People choose a class, or `unusable` or `other`
    (a note says why, or which), or skip the task. Without named classes they write the label. An annotation that is
    changed after it was taken corrects the answer; it is taken up as long as a query is open. Empty annotations and
    classes that the run does not know are named in an error, and their points are still pending.

    It needs the extra `label-studio`, a server of version 1.20 or later, and a personal access token (Account &
    Settings) in the environment variable ``LABEL_STUDIO_TOKEN``. The token is written nowhere.

    Args:
        url: Address of the server.
        project: Number of a project to use, whose labelling configuration has to have `Choices` with all classes. By
            default one is made.
        wait: What `trainer.fit` does while answers are missing: end (`exit`), or look again after so many seconds. A
            server that cannot be reached is then a warning.
        accept_partial: How many answers of a query are enough for the next fit, or None for all.
        annotators: How many people answer each task. The answer of more than half of them counts, and `who` says who
            gave another one. Where no answer has a majority, one more person decides.
        suggestions: Whether people see what the model believes, as predictions with the class's probability as their
            score. People who see that agree with it more often than they would. Audit points never have any.

    Raises:
        TypeError: If `project` or `annotators` is not a number.
        ValueError: If one is not a whole number of at least 1, or `url` is no address, or has a password in it.

    >>> LabelStudio("http://localhost:8080", annotators=3).annotators
    3
    """

    leaves_open: ClassVar[bool] = True
    url: str = "http://localhost:8080"
    project: int | None = None
    wait: float | Literal["exit"] = "exit"
    accept_partial: int | None = None
    annotators: int = 1
    suggestions: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        whole_number("LabelStudio", "annotators", self.annotators)
        optional_whole_number("LabelStudio", "project", self.project)
        parts = None
        with suppress(ValueError, AttributeError, TypeError):
            parts = urlsplit(self.url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"`LabelStudio(url={self.url!r})` is no address. Pass one such as 'http://localhost:8080'."
            )
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "`LabelStudio(url=...)` got an address with more than host and path in it, such as a password, which "
                f"would be recorded with the run. Pass the address alone, and set {TOKEN} to the token."
            )

    def how_to_answer(self, query: Query) -> str:
        """Say where people label."""
        remembered = None
        with suppress(OSError, ValueError):
            remembered = None if query.folder is None else Remembered.read(query.folder)
        page = f"/projects/{remembered.project}" if remembered is not None and remembered.project is not None else ""
        return f"Label them in Label Studio at {self.url.rstrip('/')}{page}"

    def label(self, query: Query) -> Mapping[int, Any] | Iterator[tuple[int, Any]]:
        """Import tasks for points that have none, and return the answers in the annotations.

        Raises:
            ConnectionError: If the server cannot be reached, or fails. While `wait` is a number, that is a warning.
            ModuleNotFoundError: If httpx is missing.
            PermissionError: If there is no token, or the server refuses it.
            ValueError: If the run has no folder, the project does not fit, or annotations were refused. The other
                answers are yielded first. While `wait` is a number, refused annotations are a warning.
        """
        if query.folder is None:
            raise ValueError(
                "`LabelStudio` remembers its project in the run's folder, and this run has none. Pass "
                "`ActiveLearning(folder=...)`."
            )
        if not os.environ.get(TOKEN, "").strip():
            raise PermissionError(
                f"`LabelStudio` found no token. Set the environment variable {TOKEN} to a personal access token, which "
                "Label Studio makes at Account & Settings."
            )
        try:
            with Client(self.url, os.environ[TOKEN].strip()) as client:
                project = Project(
                    client,
                    query.folder,
                    query.classes,
                    number=self.project,
                    annotators=self.annotators,
                    suggestions=self.suggestions,
                )
                if project.add(query) or project.address not in _TOLD:
                    _TOLD.add(project.address)
                    invite(f"`LabelStudio`: label the tasks at {project.address}")
                enough = enough_answers(query, self.accept_partial)
                found = project.find(query, enough=enough, always_all=self.wait == "exit")
        except UnreachableError as error:
            if self.wait == "exit":
                raise
            rank_zero_warn(f"`LabelStudio` asks again in {self.wait} seconds: {error}")
            return {}
        # Before they are recorded: an answer that is not is still pending, and taken again.
        project.take(query, found)
        return self._yielded(found, project)

    def _yielded(self, found: Found, project: Project) -> Iterator[tuple[int, Any]]:
        yield from found.answers.items()
        for number, correction, changed in found.corrections:
            yield project.remembered.tasks[number].index, correction
            # After it is recorded: one that is not is found again.
            project.take_correction(number, correction, changed)
        if found.undecided:
            rank_zero_warn(
                f"`LabelStudio`: {len(found.undecided)} tasks at {project.address} are not decided: "
                f"{first_few(found.undecided, most=MOST_NAMED)}."
            )
        if not found.refused:
            return
        said = (
            f"`LabelStudio` could not take up {len(found.refused)} annotations of {project.address}: "
            f"{first_few(found.refused, most=MOST_NAMED)}. Correct them there and call `trainer.fit` again."
        )
        if self.wait == "exit":
            raise ValueError(said)
        rank_zero_warn(said)  # Python shows the same warning once
