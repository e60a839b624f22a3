"""The report as one self-contained HTML page: no network, no script, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_al import __version__
from lightning_al.report.drawing import Picture


@dataclass(frozen=True)
class Table:
    """A table of the page or the terminal.

    Attributes:
        name: Name of the table.
        headings: Headings of the columns.
        rows: Cells as text.
        notes: Notes below the table.
        text: Positions of the columns that hold text, besides the first.
    """

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    text: Sequence[int] = ()


@dataclass(frozen=True)
class Folded:
    """An image, by its URL, or a table that the reader can unfold."""

    summary: str
    image: str | None = None
    table: Table | None = None
    is_open: bool = False


@dataclass(frozen=True)
class Part:
    """A part of a task's section: pictures, tables, small pictures, and what is folded."""

    title: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    small: Sequence[Picture] = ()
    folded: Sequence[Folded] = ()


@dataclass(frozen=True)
class Task:
    """The section of a task.

    Attributes:
        title: Name of the task.
        headlines: A sentence for each method, with its evidence.
        caveats: Warnings that a reader needs before trusting these.
        parts: Pictures and tables.
    """

    title: str
    headlines: Sequence[tuple[str, str]]
    caveats: Sequence[str]
    parts: Sequence[Part] = field(default_factory=list)


def page(tasks: Sequence[Task], *, about: str, left_out: Sequence[str], command: str, made: datetime) -> str:
    """Return the page; all text in it is escaped.

    Args:
        tasks: The sections.
        about: Number of runs and seeds, in words.
        left_out: Folders that are not in the report, with reasons.
        command: The command that made the report.
        made: Time at which it was made.
    """
    # Nothing is escaped by hand: Jinja escapes everything but Markup.
    environment = Environment(
        loader=PackageLoader("lightning_al.report.page", ""), autoescape=True, undefined=StrictUndefined
    )
    assert environment.loader is not None
    style, _, _ = environment.loader.get_source(environment, "page.css")
    return environment.get_template("page.html").render(
        tasks=tasks,
        about=about,
        left_out=left_out,
        command=command,
        made=f"{made:%Y-%m-%d %H:%M}",
        title=f"Active learning report: {', '.join(task.title for task in tasks)}",
        version=__version__,
        style=Markup(style),
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
    )
