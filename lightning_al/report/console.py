"""What is printed on a terminal: text of a run, made safe to print, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from lightning_al.run.printable import printable

if TYPE_CHECKING:
    from lightning_al.report import tables
    from lightning_al.report.comparison import Method
    from lightning_al.report.metric import Mode
    from lightning_al.run.history import History


LONGEST_LINE = 16
"""Most characters in a line of a heading: as many as an interval has, so that names keep their room beside it."""


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


def rounds_table(history: History, metric: str | None, *, most: int = 20) -> Table:
    """Return a table with one row a round: labels, the metric if any, seconds, and the first of the indices queried.

    Labels are those paid for; where a fit trained on fewer, that number is shown too. Where any answer says how long it
    took, there is the time of all answers before the fit; where there are audit points, how many of them the model has
    right.
    """
    from lightning_al.report.tables import duration

    table = Table(header_style="bold")
    with_time = any(round.label_seconds for round in history)
    with_audit = any(round.audit for round in history)
    differ = any(round.labelled != round.spent for round in history)
    of_labels = ["labels", *(["trained on"] if differ else []), *(["labelling"] if with_time else [])]
    of_model = [*([] if metric is None else [printable(metric)]), *(["audit"] if with_audit else [])]
    for heading in ("round", *of_labels, *of_model, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("asked for, in order")
    for round in history:
        value = None if metric is None else round.metrics.get(metric)
        more = f" ... {len(round.indices)} in all" if len(round.indices) > most else ""
        table.add_row(
            str(round.number),
            str(round.spent),
            *([str(round.labelled)] if differ else []),
            *([duration(round.label_seconds)] if with_time else []),
            *([] if metric is None else ["" if value is None else f"{value:.4f}"]),
            *([_audit(round.audit)] if with_audit else []),
            f"{sum(round.seconds.values()):.1f}",
            " ".join(map(str, round.indices[:most])) + more,
        )
    return table


def _audit(audit: Mapping[str, float]) -> str:
    """Return how many audit points a model has right, and between what its accuracy lies."""
    if not audit.get("labels"):
        return ""
    return f"{audit['right']:.0f} of {audit['labels']:.0f} ({audit['low']:.2f} to {audit['high']:.2f})"


def comparison_table(methods: Sequence[Method], metric: str, *, mode: Mode | None = None) -> Table:
    """Return a table with one row a method: the area under its curve, and its difference to the baseline."""
    less = " (less is better)" if mode == "min" else ""
    table = Table(
        title=f"Normalised area under the {printable(metric)} curve over labels{less}",
        header_style="bold",
        show_lines=True,
    )
    table.add_column("method", overflow="fold")
    headings = ["mean ± sd"]
    if any(row.difference is not None for row in methods):
        baseline = printable(methods[0].name, most=2_000)
        minus = "\n".join(wrap(f"minus {baseline}", LONGEST_LINE))
        headings += [f"{minus}\n95 % interval", "sign-flip p\nt test p", "Holm-\ncorrected"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in methods:
        num_runs = len(row.runs)
        runs = f"{num_runs} run{'s' * (num_runs != 1)}" if row.is_complete else row.num_diverged
        cells = [f"{printable(row.title, most=2_000)}\n{runs}", row.height]
        against = row.difference
        if against is not None:
            interval = f"{against.low:+.3f} to {against.high:+.3f}" if isfinite(against.low) else "one pair only"
            few = "n too small"
            exact = (few, few) if row.n_too_small else (_p(against.p_sign_flip), _p(row.p_sign_flip_holm))
            of_t = (_p(against.p_t), _p(row.p_t_holm)) if against.n > 1 else (few, few)
            cells += [
                f"{against.mean:+.3f}\n{interval}",
                *("\n".join(both) for both in zip(exact, of_t, strict=True)),
            ]
        table.add_row(*cells)
    return table


def plain_table(table: tables.Table) -> Table:
    """Return a table of the page for the terminal, which is narrow."""
    drawn = Table(title=table.name, header_style="bold")
    for place, heading in enumerate(table.headings):
        drawn.add_column(heading.replace(" ", "\n"), justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


def _p(p: float | None) -> str:
    assert p is not None
    # Rounded, a small p would be shown as zero.
    return f"{p:.4f}" if p >= 0.0001 else "<.0001"


def _plain(text: str) -> str:
    return text if text.isprintable() else "\n".join(printable(line, most=len(line) * 10) for line in text.split("\n"))
