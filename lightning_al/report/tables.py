"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from rich.table import Table

from lightning_al.history import History
from lightning_al.report.comparison import Method


def rounds_table(history: History, metric: str, *, most: int = 20) -> Table:
    """Return a table with a line for each round: labels, the metric, seconds, and what was asked for.

    Args:
        history: The rounds.
        metric: Which metric to show.
        most: How many of the indices asked for to show of each round.
    """
    table = Table(header_style="bold")
    for heading in ("round", "labels", metric, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("asked for, in order")
    for round in history:
        value = round.metrics.get(metric)
        more = f" ... {len(round.indices)} in all" if len(round.indices) > most else ""
        table.add_row(
            str(round.number),
            str(round.spent),
            "" if value is None else f"{value:.4f}",
            f"{sum(round.seconds.values()):.1f}",
            " ".join(map(str, round.indices[:most])) + more,
        )
    return table


def comparison_table(methods: Sequence[Method], metric: str) -> Table:
    """Return a table with a line for each method: its area under the curve, and the difference to the baseline."""
    table = Table(title=f"Mean height of the {metric} curve over labels", header_style="bold", show_lines=True)
    table.add_column("method")
    table.add_column("mean ± sd", justify="right", no_wrap=True)
    if any(row.difference is not None for row in methods):
        table.add_column(f"minus {methods[0].name}\n95 % interval", justify="right", no_wrap=True)
        table.add_column("p sign-flip\nby Holm", justify="right", no_wrap=True)
        table.add_column("p t test\nby Holm", justify="right", no_wrap=True)
    for row in methods:
        sd = "" if row.sd_area is None else f" ± {row.sd_area:.3f}"
        cells = [f"{row.name}\n{len(row.runs)} run{'s' * (len(row.runs) != 1)}", f"{row.mean_area:.3f}{sd}"]
        against = row.difference
        if against is not None:
            interval = f"{against.low:+.3f} to {against.high:+.3f}" if isfinite(against.low) else "one pair only"
            exact = f"{against.p_sign_flip:.4f}\n{row.p_sign_flip_holm:.4f}"
            cells += [
                f"{against.mean:+.3f}\n{interval}",
                "n too small" if row.n_too_small else exact,
                f"{against.p_t:.4f}\n{row.p_t_holm:.4f}" if against.n > 1 else "n too small",
            ]
        table.add_row(*cells)
    return table
