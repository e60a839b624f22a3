"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from rich.table import Table

from lightning_al.report.comparison import Method, baseline_of
from lightning_al.report.direction import Mode, guess_mode
from lightning_al.report.printable import printable
from lightning_al.run.history import History


def rounds_table(history: History, metric: str | None, *, most: int = 20) -> Table:
    """Return a table with one row a round: labels, the metric, seconds, and the indices queried.

    Args:
        history: The rounds.
        metric: Which metric to show, or None for none.
        most: How many of the queried indices to show of each round.
    """
    table = Table(header_style="bold")
    headings = ["round", "labels", *([] if metric is None else [printable(metric)]), "seconds"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("asked for, in order")
    for round in history:
        value = None if metric is None else round.metrics.get(metric)
        more = f" ... {len(round.indices)} in all" if len(round.indices) > most else ""
        table.add_row(
            str(round.number),
            str(round.spent),
            *([] if metric is None else ["" if value is None else f"{value:.4f}"]),
            f"{sum(round.seconds.values()):.1f}",
            " ".join(map(str, round.indices[:most])) + more,
        )
    return table


def comparison_table(methods: Sequence[Method], metric: str, *, mode: Mode | None = None) -> Table:
    """Return a table with one row a method: the area under its curve, and its difference to the baseline.

    Args:
        methods: The methods, as `compare` returns them.
        metric: Name of the metric.
        mode: Whether less or more of it is better; by default as its name says.
    """
    less = " (less is better)" if (mode or guess_mode(metric)) == "min" else ""
    table = Table(
        title=f"Mean height of the {printable(metric)} curve over labels{less}", header_style="bold", show_lines=True
    )
    table.add_column("method")
    table.add_column("mean ± sd", justify="right", no_wrap=True)
    baseline = baseline_of(methods)
    if baseline is not None and any(row.difference is not None for row in methods):
        table.add_column(f"minus {printable(baseline.name, most=2_000)}\n95 % interval", justify="right", no_wrap=True)
        table.add_column("p sign-flip\nby Holm", justify="right", no_wrap=True)
        table.add_column("p t test\nby Holm", justify="right", no_wrap=True)
    for row in methods:
        num_runs = len(row.runs)
        runs = f"{num_runs} run{'s' * (num_runs != 1)}" if row.is_complete else row.num_diverged
        cells = [f"{printable(row.title, most=2_000)}\n{runs}", row.height]
        against = row.difference
        if against is not None:
            interval = f"{against.low:+.3f} to {against.high:+.3f}" if isfinite(against.low) else "one pair only"
            assert row.p_sign_flip_holm is not None
            assert row.p_t_holm is not None
            exact = f"{_p(against.p_sign_flip)}\n{_p(row.p_sign_flip_holm)}"
            cells += [
                f"{against.mean:+.3f}\n{interval}",
                "n too small" if row.n_too_small else exact,
                f"{_p(against.p_t)}\n{_p(row.p_t_holm)}" if against.n > 1 else "n too small",
            ]
        table.add_row(*cells)
    return table


def _p(p: float) -> str:
    # Rounded, a small p would be shown as zero.
    return f"{p:.4f}" if p >= 0.0001 else "<.0001"
