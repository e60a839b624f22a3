"""Which settings of a run make another method, which make another task, and which make neither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from lightning_al.run.identity import indifferent_settings

MOST_SETTINGS = 5_000

METHOD = (
    "acquisition",
    "posterior",
    "active.acquisition",
    "active.posterior",
    "active.query_size",
    "active.last_layer",
)
"""Settings that make another method in a comparison. Settings in neither this list nor the one below make another task.
Whether a folder holds the same run is another question, which `lightning_al.run.identity` answers."""

ONLY_SHOWN = ("metric", "mode", "name")
"""Settings that only show a run; they may change in an existing run."""

PLACED = (
    "folder",
    "logger",
    "callbacks.progress",
    "data.root",
    "data.download",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
)
"""Settings of the command line for where files lie, and what is logged or shown."""

INDIFFERENT = indifferent_settings()
"""Settings of the loop and the data that do not change a run's results."""

NEITHER = (*ONLY_SHOWN, *PLACED, *INDIFFERENT, "allow", "threads")
"""Settings that make neither another method nor another task."""


def flat(plain: Mapping[Any, Any]) -> dict[str, Any]:
    """Return all settings that are set, by their dotted name.

    Raises:
        ValueError: If there are more than 5000.

    >>> flat({"active": {"query_size": 10, "budget": None}, "seed": 0})
    {'active.query_size': 10, 'seed': 0}
    """
    found = list(islice(((key, value) for key, value in leaves(plain) if value is not None), MOST_SETTINGS + 1))
    if len(found) > MOST_SETTINGS:
        raise ValueError(f"it has more than {MOST_SETTINGS} settings. Put back its `config.yaml` from before.")
    return dict(found)


def tells_apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make another method or another task: no seeds, budgets or paths."""
    return {
        key: value
        for key, value in settings.items()
        if value is not None
        and key.split(".")[-1] != "seed"
        and not any(is_part(key, name) for name in NEITHER)
        # A path that Hydra chose for the run.
        and "${hydra:" not in str(value)
    }


def of_task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make another task: the data, the model and how it is trained and tested."""
    return {
        key: value for key, value in tells_apart(settings).items() if not any(is_part(key, name) for name in METHOD)
    }


def differing(several: list[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that differ; of settings that refer to each other, one.

    >>> differing([{"a.b": 1, "x.a.b": 1, "c": 0}, {"a.b": 2, "x.a.b": 2, "c": 0}])
    ['a.b']
    """
    keys = sorted({key for settings in several for key in settings})
    found = [key for key in keys if len({repr(settings.get(key)) for settings in several}) > 1]
    return [key for key in found if not any(key.endswith(f".{other}") for other in found)]


def leaves(plain: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its dotted name.

    >>> list(leaves({"active": {"query_size": 10, "budget": None}, "seed": 0}))
    [('active.query_size', 10), ('active.budget', None), ('seed', 0)]
    """
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def is_part(name: str, whole: str) -> bool:
    """Return whether a setting is another one or a part of it.

    >>> is_part("data.root", "data"), is_part("database", "data")
    (True, False)
    """
    return name == whole or name.startswith(f"{whole}.")
