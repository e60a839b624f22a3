"""Whose a configuration of Hydra's is: one of this command's is written anew, one of another program's is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lightning_al.cli.configuration import PARTS
from lightning_al.run.files import LARGEST_SETTINGS, kind_of, read_text
from lightning_al.run.folder import CONFIG

NAMES = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""What Hydra writes in its folder beside each run."""

_OURS = "lightning_al.cli."
"""What Hydra's part of this command's configuration names: its callbacks."""


def is_of_command(path: Path) -> bool:
    """Return whether a file is one of this command: a run's configuration, Hydra's part of one, or both."""
    text = _text(path)
    if _OURS in text:
        return True
    try:
        settings: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and set(PARTS) <= set(settings)


def check_hydras_files(folder: Path, subfolder: str | None) -> None:
    """Refuse a folder in which another program has its Hydra's files, or that has folders in their place.

    Files without content are of a command that was cut off.

    Args:
        folder: The run's folder.
        subfolder: Where Hydra writes in it, or None where it does not.

    Raises:
        ValueError: If there are such files.
    """
    if subfolder is None:
        return
    home = folder / subfolder
    if kind_of(home) is None and home.exists():
        raise ValueError(f"{home} is a file, where Hydra keeps a folder. Remove it, or choose another folder.")
    for name in NAMES:
        if kind_of(home / name) == "a folder":
            raise ValueError(
                f"{home / name} is a folder, where Hydra keeps a file. Remove it, or choose another folder."
            )
    written = [home / name for name in NAMES if _text(home / name)]
    if written and not any(map(is_of_command, (*written, folder / CONFIG))):
        raise ValueError(
            f"{home} has {', '.join(path.name for path in written)} of another program that uses Hydra, which would "
            "be overwritten. Choose another folder."
        )


def _text(path: Path) -> str:
    """Return what a file says; what cannot be read as text still says something, and is none of ours."""
    try:
        return read_text(path, LARGEST_SETTINGS)
    except OSError:
        return ""
    except ValueError:
        return "unreadable"
