"""A bar that shows how far a pass over points is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.errors import LiveError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

from lightning_al.host.namespace import pl


@contextmanager
def pass_progress(trainer: pl.Trainer | None) -> Iterator[Progress]:
    """Show how far a pass over points is, at what rate and how long it takes yet, where the Trainer shows a bar.

    While another bar of rich is on the screen, nothing is shown.
    """
    bar = None if trainer is None else trainer.progress_bar_callback
    is_shown = trainer is not None and bool(getattr(bar, "is_enabled", False)) and trainer.is_global_zero
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        transient=True,
        disable=not is_shown,
    )
    try:
        progress.start()
    except LiveError:
        progress.disable = True
    try:
        yield progress
    finally:
        progress.stop()


class _RateColumn(ProgressColumn):
    """Points a second."""

    @override
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} points/s" if speed >= 10 else f"{speed:.2g} points/s")
