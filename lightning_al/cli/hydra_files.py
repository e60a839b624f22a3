"""Tell Hydra's files of this command, which may be overwritten, from those of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lightning_al.cli.configuration import PARTS
from lightning_al.run.files import LARGEST_SETTINGS, kind_of, read_text
from lightning_al.run.folder import CONFIG

NAMES = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""The files that Hydra writes in its folder for each run."""

_OURS = "lightning_al.cli."
"""The package of the callbacks in Hydra's part of this command's configuration."""


def is_of_command(path: Path) -> bool:
    """Return whether a file is a configuration of this command, or Hydra's part of one."""
    text = _text(path)
    if _OURS in text:
        return True
    try:
        settings: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and set(PARTS) <= set(settings)


def check_hydra_files(folder: Path, subfolder: str | None) -> None:
    """Check that a folder has no Hydra files of another program, and no folders in their place.

    Empty files are from a command that was interrupted.

    Args:
        folder: The run's folder.
        subfolder: Where Hydra writes in it, or None if it writes nothing.

    Raises:
        ValueError: If there are such files.
    """
    if subfolder is None:
        return
    home = folder / subfolder
    if kind_of(home) is None and home.exists():
        raise ValueError(f"{home} is a file, where Hydra needs a folder. Remove it, or choose another folder.")
    for name in NAMES:
        if kind_of(home / name) == "a folder":
            raise ValueError(
                f"{home / name} is a folder, where Hydra needs a file. Remove it, or choose another folder."
            )
    written = [home / name for name in NAMES if _text(home / name)]
    if written and not any(map(is_of_command, (*written, folder / CONFIG))):
        raise ValueError(
            f"{home} has {', '.join(path.name for path in written)} of another program that uses Hydra, which would "
            "be overwritten. Choose another folder."
        )


def _text(path: Path) -> str:
    """Return the text of a file, empty if there is none; a file that is not text is not ours."""
    try:
        return read_text(path, LARGEST_SETTINGS)
    except OSError:
        return ""
    except ValueError:
        return "unreadable"
