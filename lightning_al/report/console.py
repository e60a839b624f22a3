"""A terminal that prints text of a run safely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lightning_al.report.printable import printable


class PlainConsole(Console):
    """Print text with control characters written out, since names and settings may come from a folder somebody sent.

    The colours and lines of rich itself are kept.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments to print, each made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_plain(segment.text), segment.style)


def _plain(text: str) -> str:
    return text if text.isprintable() else "\n".join(printable(line, most=len(line) * 10) for line in text.split("\n"))
