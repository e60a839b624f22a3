"""The base class of oracles, which answer queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning_al.oracle.progress import Progress
from lightning_al.oracle.query import Query


class Oracle(ABC):
    """Provide the labels of queried points.

    Attributes:
        reveals: Whether the answers are the dataset's own targets, so that nothing is recorded of them.
        leaves_open: Whether answers come between two calls of `trainer.fit`, as from people who work in a tool of their
            own. The run then needs a folder, where the query waits.
        accept_partial: How many answers of a query are enough for the next fit, or None for all. The other points of
            the query return to the pool. Initial points are all needed.
        wait: What `trainer.fit` does while answers are missing: end (`exit`), or ask again after so many seconds.
    """

    reveals: ClassVar[bool] = False
    leaves_open: ClassVar[bool] = False
    accept_partial: int | None = None
    wait: float | Literal["exit"] = "exit"

    @property
    def needs(self) -> Literal["labels", "classes"] | None:
        """What the dataset must have to be answered from: labels, or labels that are class numbers."""
        return None

    def how_to_answer(self, query: Query) -> str:
        """Say in an imperative how people answer a query that waits, such as where a file lies that they fill in."""
        return "Label them"

    def follow(self, progress: Progress) -> None:  # noqa: B027
        """Take note of where the run stands, such as to show it to the people who answer.

        It is called on the first rank when a fit begins, before a query is asked, and when the run is done or stops.
        """

    def answered_ahead(self, points: Collection[int], folder: Path | None) -> Collection[int]:
        """Return those of some points that have an answer already, although no query asked for them.

        They are audit points that `follow` was told of. The next query asks for them.

        Args:
            points: The audit points without an answer.
            folder: The run's folder, if it has one.
        """
        return ()

    def corrections(self, answered: Collection[int], folder: Path | None) -> Iterable[Mapping[int, Any]]:
        """Return corrections of earlier answers that came while no query was open, such as during a fit.

        It is called on the first rank when a run is resumed, and after its last fit, which is then repeated. What a
        generator yields is recorded before the generator goes on.

        Args:
            answered: The points that have an answer.
            folder: The run's folder, if it has one.

        Returns:
            Dicts of `Correction` by index.
        """
        return ()

    @abstractmethod
    def label(self, query: Query) -> Mapping[int, Any] | Iterable[tuple[int, Any]]:
        """Return labels for the points of a query, all together or one by one.

        Args:
            query: The points that have no label yet. If a query was only answered in part, the next one has the rest.
                It must not be changed.

        Returns:
            Labels by index: a dict, or pairs of index and label. Points that are left out are pending: `trainer.fit`
            ends, and the next call asks for them. The answers of a generator are recorded as they come, so none is lost
            if it is stopped or fails. Labels may be numbers of Python, NumPy or torch, names of the dataset's classes,
            or soft labels. None stands for the dataset's own target. `Skip()`, `Unusable(reason)` and `Other(text)`
            set a point aside. `Correction(label)` replaces the answer of a point that was answered before, in this
            query or an earlier one; such a point is not one of the query's. `Answer(label, seconds=2.5, who="anna")`
            says how long an answer took, and who gave it.
        """
