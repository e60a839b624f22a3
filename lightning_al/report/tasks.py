"""Which runs are of one task: those with the same data, model and training.

A program may draw its data by the seed, as by `random_split`. What a journal then has of the data (`settings.DRAWN` and
each hash of contents) differs between the seeds of one task. So it tells runs apart only if it differs within one seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_al.report.runs import Run
from lightning_al.report.settings import differing, drawn, hashes, is_of_program, of_task, tells_apart

MOST_IN_TITLE = 3

NOT_IN_TITLE = ("data.labels", "pool.initial")
"""Settings that are long lists."""


@dataclass(frozen=True)
class Task:
    """The runs of a task.

    Attributes:
        title: Name of the data, with settings that tell the task from others of the report.
        runs: The runs, without the settings that differ only because their seeds do.
        by_seed: The names of these settings.
    """

    title: str
    runs: list[Run]
    by_seed: frozenset[str]


def make_tasks(runs: Iterable[Run]) -> list[Task]:
    """Group runs by task."""
    groups = [part for same in _alike(runs, of_task) for part in _told_apart(_with_seeds_of_pools(same))]
    found = [Task("", *_without_drawn(same)) for same in groups]
    return [replace(task, title=title) for title, task in zip(_titles(found), found, strict=True)]


def text_of(settings: Mapping[str, Any]) -> str:
    """Return settings as a text that is the same for the same settings."""
    return repr(sorted(settings.items()))


def _alike(runs: Iterable[Run], chosen: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[list[Run]]:
    """Group runs by some of their settings, without those that the seed may have drawn."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_seed = drawn(run.settings)
        fixed = {key: value for key, value in chosen(run.settings).items() if key not in by_seed}
        groups[text_of(fixed)].append(run)
    return list(groups.values())


def _told_apart(runs: list[Run]) -> list[list[Run]]:
    """Split runs by the first setting of the task that differs within one seed, and each part by the next."""
    for key in drawn(*(of_task(run.settings) for run in runs)):
        if _differs_within_seed(runs, key):
            parts: dict[Any, list[Run]] = defaultdict(list)
            for run in runs:
                parts[run.settings.get(key)].append(run)
            return [smaller for part in parts.values() for smaller in _told_apart(part)]
    return [runs]


def _differs_within_seed(runs: Sequence[Run], key: str) -> bool:
    """Return whether two runs of one seed have different values, as far as they are known."""
    known = {(run.seed, run.settings[key]) for run in runs if run.settings.get(key) is not None}
    return len({seed for seed, _ in known}) < len(known)


def _without_drawn(runs: list[Run]) -> tuple[list[Run], frozenset[str]]:
    """Leave out the settings of a task's runs that differ only because their seeds do, and return their names."""
    settings = [tells_apart(run.settings) for run in runs]
    methods = _alike(runs, tells_apart)
    varying = {*drawn(*settings)} & {*differing(settings)}
    by_seed = frozenset(key for key in varying if not any(_differs_within_seed(same, key) for same in methods))
    if not by_seed:
        return runs, by_seed
    kept = [{key: value for key, value in run.settings.items() if key not in by_seed} for run in runs]
    return [replace(run, settings=settings) for run, settings in zip(runs, kept, strict=True)], by_seed


def _with_seeds_of_pools(runs: list[Run]) -> list[Run]:
    """Let the seeds of the pools count where they differ and those of the runs do not."""
    pools = {run.settings.get("pool.seed") for run in runs}
    is_by_pool = len({run.seed for run in runs}) == 1 < len(pools) and all(isinstance(seed, int) for seed in pools)
    if not is_by_pool or not all(is_of_program(run.settings) for run in runs):
        return runs
    return [replace(run, seed=run.settings["pool.seed"]) for run in runs]


def _titles(tasks: Sequence[Task]) -> list[str]:
    """Name each task by its data, with some of the settings that differ where several tasks have the same data."""
    settings = [task.runs[0].settings for task in tasks]
    names = [
        str(one.get("data._target_", one.get("pool.data._target_", "One task"))).split(".")[-1] for one in settings
    ]
    titles = []
    for name, task, own in zip(names, tasks, settings, strict=True):
        namesakes = [of_task(other) for other, its in zip(settings, names, strict=True) if its == name]
        hidden = {*task.by_seed, *NOT_IN_TITLE, *(key for one in namesakes for key in hashes(one))}
        keys = [key for key in differing(namesakes) if key not in hidden]
        titles.append(" ".join([name, *(f"{key}={own.get(key)}" for key in keys[:MOST_IN_TITLE])]))
    return [
        title if titles.count(title) == 1 else f"{title} ({titles[:place].count(title) + 1})"
        for place, title in enumerate(titles)
    ]
