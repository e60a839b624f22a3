"""The groups of the configuration, such as `acquisition`, and the options of each."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

NAMED = ("callbacks", "logger")
"""Groups of named parts, of which a command may choose several: logger=[csv,tensorboard]."""


def config_groups(folders: Sequence[Path] = ()) -> dict[str, list[str]]:
    """Return the options of each group in alphabetical order.

    Args:
        folders: Further folders of configurations, as by ``--config-dir``.

    >>> config_groups()["trainer"]
    ['default', 'gpu']
    """
    found: dict[str, set[str]] = {}
    for home in (files("lightning_al.conf"), *folders):
        for group in home.iterdir() if home.is_dir() else ():
            options = [one.name for one in group.iterdir()] if group.is_dir() else []
            if any(name.endswith(".yaml") for name in options):
                found.setdefault(group.name, set()).update(
                    name.removesuffix(".yaml") for name in options if name.endswith(".yaml")
                )
    return {group: sorted(options) for group, options in sorted(found.items())}
