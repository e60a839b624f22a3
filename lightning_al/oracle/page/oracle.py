"""An oracle that asks people on a page in their browser."""

from __future__ import annotations

import os
import sqlite3
import sys
import webbrowser
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.invitation import invite
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.oracle.page.taking import corrections, taken
from lightning_al.oracle.progress import Progress
from lightning_al.oracle.query import Query
from lightning_al.oracle.registry import register_oracle
from lightning_al.page.place import Place
from lightning_al.page.starting import check_installed, start
from lightning_al.values.whole_numbers import whole_number

_TOLD: set[str] = set()


@register_oracle("page")
@final
@dataclass(frozen=True)
class Page(Oracle):
    """Ask people on a page in their browser, which shows one item after the other while the model trains beside it.

    The page is served on this machine by a process of its own, ``python -m lightning_al.page FOLDER``. Its address has
    a secret token and is printed once. Each answer is on disk before the browser is told so. The page stays if
    `trainer.fit` ends or fails, and `trainer.fit` waits if the page is closed. While the model fits, people answer the
    next audit points, which depend on no model.

    It needs Starlette and uvicorn: ``pip install 'lightning_al[label]'``.

    Args:
        who: Who answers, where the page is not told a name.
        port: The port of the page. By default that of last time, or any that is free.
        hosts: Names besides those of this machine by which the page is reached, such as that of a JupyterHub.
        open_browser: Whether to open the page in a browser, where there is a display.
        accept_partial: How many answers of a query are enough for the next fit, or None for all.
        wait: What `trainer.fit` does while answers are missing: look for them again after so many seconds, or end
            (`exit`).
        suggestions: Whether the page can show what the model believes. People who see that agree with it more often
            than they would. It is never shown for audit points.
        descriptions: What each class is, by its name.

    Raises:
        ValueError: If the port is no port.

    >>> page = Page(who="anna", port=8000)
    >>> page.wait, page.suggestions
    (0.2, False)
    """

    leaves_open: ClassVar[bool] = True
    who: str | None = None
    port: int = 0
    hosts: Sequence[str] | None = None
    open_browser: bool = True
    accept_partial: int | None = None
    wait: float | Literal["exit"] = 0.2
    suggestions: bool = False
    descriptions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the port."""
        if whole_number("Page", "port", self.port, least=0) > 65_535:
            raise ValueError(f"`Page(port={self.port})` is no port. Pass a number up to 65535, or 0 for any.")

    def how_to_answer(self, query: Query) -> str:
        """Say which address to open."""
        return super().how_to_answer(query) if query.folder is None else f"Open {Place(query.folder).address()}"

    def follow(self, progress: Progress) -> None:
        """Publish where the run stands, and serve the page.

        Raises:
            ImportError: If Starlette or uvicorn is missing.
            RuntimeError: If the page's process does not start.
        """
        if progress.folder is not None:
            place = Place(progress.folder)
            check_installed()
            Publishing(place).tell(progress, title=progress.folder.name, **self._options)
            if progress.phase in ("fitting", "asking"):
                self._serve(place)

    def answered_ahead(self, points: Collection[int], folder: Path | None) -> Collection[int]:
        """Return those of some audit points that were answered while the model was fitted."""
        if folder is None:
            return ()
        try:
            ledger = Publishing(Place(folder)).ledger()
        except sqlite3.Error:  # its process was killed; these points are asked for like the others
            return ()
        return [index for index in points if index in ledger.answers]

    def corrections(self, answered: Collection[int], folder: Path | None) -> Iterator[dict[int, Any]]:
        """Yield the corrections that came during a fit."""
        if folder is not None and (publishing := Publishing(Place(folder))).read():
            yield from corrections(publishing, answered)

    def label(self, query: Query) -> Iterator[dict[int, Any]]:  # type: ignore[override]
        """Show a query on the page, and yield the answers and the corrections that are there.

        Raises:
            ValueError: If the run has no folder, or its labels are no classes.
            ImportError: If Starlette or uvicorn is missing.
            RuntimeError: If the page's process does not start.
        """
        if query.folder is None:
            raise ValueError("`Page` keeps its answers in the run's folder. Pass `ActiveLearning(folder=...)`.")
        publishing = Publishing(Place(query.folder))
        if not query.classes and not publishing.read().get("classes"):
            raise ValueError(
                "`Page` shows the classes of the data, but they have none with names. Pass "
                "`ActiveDataModule(classes=[...])`, or choose another oracle."
            )
        check_installed()
        is_new = publishing.ask(query, suggestions=self.suggestions, **self._options)
        self._serve(publishing.place)
        if is_new:
            publishing.show(query)
        yield from taken(publishing, query, self.who)

    @property
    def _options(self) -> dict[str, Any]:
        about = {str(name): str(text) for name, text in (self.descriptions or {}).items()}
        return {"hosts": [str(host) for host in self.hosts or ()], "descriptions": about}

    def _serve(self, place: Place) -> None:
        is_started = start(place, self.port)
        address = place.address()
        if is_started and self.open_browser and _has_display():
            webbrowser.open(address)
        if address not in _TOLD:
            _TOLD.add(address)
            invite(f"`Page`: label at {address}")


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
