"""Runs that other runs repeat and continue, as with a larger budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import isnan

from lightning_al.report.runs import LeftOut, Run
from lightning_al.report.settings import is_of_program, tells_apart
from lightning_al.report.tasks import text_of


def without_repeats(runs: Sequence[Run], left_out: list[LeftOut]) -> list[Run]:
    """Leave out runs that another run with the same settings and seed continues.

    Raises:
        ValueError: If two such runs queried different points or, as programs' runs, recorded different results.
    """
    longest: dict[tuple[str, int, str], Run] = {}
    repeats: list[LeftOut] = []
    for run in sorted(runs, key=lambda run: len(run.history), reverse=True):
        other = longest.setdefault((run.name, run.seed, text_of(tells_apart(run.settings))), run)
        if other is run:
            continue
        clash = _clash(run, other)
        if clash:
            raise ValueError(
                f"Two runs of {run.name} have the seed {run.seed} and the same settings, but {clash}: {other.folder} "
                f"and {run.folder}. {_hint(run, other)}Leave one of them out, or make a report of each folder alone."
            )
        repeats.append(LeftOut(run.folder, f"it is part of the run in {other.folder}"))
    left_out += repeats
    kept = {id(run) for run in longest.values()}
    return [run for run in runs if id(run) in kept]


def _clash(run: Run, longer: Run) -> str:
    """Return in what a run is not the beginning of a longer one, or an empty text."""
    queried, all_queried = list(chain(*run.indices)), list(chain(*longer.indices))
    if queried != all_queried[: len(queried)]:
        return "queried different points"
    # A configuration has all that a run depends on. Of a program, the model may be another one.
    if is_of_program(run.settings) and any(one != other for one, other in _results(run, longer)):
        return "recorded different results"
    return ""


def _results(run: Run, longer: Run) -> Iterator[tuple[object, object]]:
    """Yield the counts of classes, and the metrics that both have, in each round of both."""
    for one, other in zip(run.history, longer.history, strict=False):
        yield one.class_counts, other.class_counts
        for name in one.metrics.keys() & other.metrics.keys():
            here, there = one.metrics[name], other.metrics[name]
            yield here, here if isnan(here) and isnan(there) else there


def _hint(run: Run, other: Run) -> str:
    """Return why runs of programs may differ although their settings do not."""
    if not is_of_program(run.settings):
        return ""
    pool, other_pool = run.settings.get("pool.seed"), other.settings.get("pool.seed")
    if pool != other_pool:
        return f"Their `ActiveDataModule`s have the seeds {other_pool} and {pool}. "
    return (
        "The journal of a program does not record the model, its training, the oracle or the test, in which the runs "
        "may differ. "
    )
