"""The report as one page that needs nothing beside it: no network, no script, no other file."""

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
    """A table of the page, and of the terminal where it is short.

    Attributes:
        name: What it is.
        headings: Its columns.
        rows: Its cells, as they are shown.
        notes: What has to be said below it.
        text: The places of the columns that are no numbers, but for the first.
    """

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    text: Sequence[int] = ()


@dataclass(frozen=True)
class Folded:
    """What is seen once it is opened: an image, by its address, or a table."""

    summary: str
    image: str | None = None
    table: Table | None = None
    is_open: bool = False


@dataclass(frozen=True)
class Part:
    """A part of a task's section: pictures, then tables, then small pictures, then what is folded away."""

    title: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    small: Sequence[Picture] = ()
    folded: Sequence[Folded] = ()


@dataclass(frozen=True)
class Task:
    """The section of a task.

    Attributes:
        title: What is learnt.
        headlines: A sentence for each method, and what it rests on.
        caveats: What a reader has to know before these are believed.
        parts: Everything else.
    """

    title: str
    headlines: Sequence[tuple[str, str]]
    caveats: Sequence[str]
    parts: Sequence[Part] = field(default_factory=list)


def page(tasks: Sequence[Task], *, about: str, left_out: Sequence[str], command: str, made: datetime) -> str:
    """Return the page; all text in it is escaped.

    Args:
        tasks: Its sections.
        about: What it is a report of.
        left_out: What is not in it, and why.
        command: The command that made it.
        made: When.
    """
    # Nothing is escaped by hand: what is no Markup is escaped where it is put in.
    environment = Environment(
        loader=PackageLoader("lightning_al.report", ""), autoescape=True, undefined=StrictUndefined
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
