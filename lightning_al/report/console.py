"""A terminal on which text of a run can do nothing but be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lightning_al.report.printable import printable


class PlainConsole(Console):
    """Print text as it is, but for what cannot be seen, which is written out.

    Names, metrics and settings may come from a folder that somebody sent. Colours and lines of rich's own stay.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed, with each text of it fit to be shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_plain(segment.text), segment.style)


def _plain(text: str) -> str:
    return text if text.isprintable() else "\n".join(printable(line, most=len(line) * 10) for line in text.split("\n"))
