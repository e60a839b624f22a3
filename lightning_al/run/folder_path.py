"""The path that a folder's name means, and whether there can be such a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

LONGEST_NAME = 255
"""Bytes of a file's or a folder's name, in common file systems."""


def folder_path(folder: Any, argument: str = "folder") -> Path:
    """Return the absolute path of a folder, which does not depend on the current directory later.

    A relative path starts from the current directory, and ``~`` stands for the home directory, as in a shell.

    Args:
        folder: The folder as a user gave it.
        argument: The name of the argument, for errors.

    Raises:
        ValueError: If it is not the name of a folder.

    >>> folder_path("runs/1") == Path.cwd() / "runs" / "1", folder_path("~/runs") == Path.home() / "runs"
    (True, True)
    """
    name = os.fspath(folder) if isinstance(folder, str | os.PathLike) else folder
    if not isinstance(name, str):
        raise ValueError(
            f"`{argument}` is the name of a folder, but got {folder!r}, of type {type(folder).__name__}. Pass a "
            "text, such as './5' for a folder named 5."
        )
    if not name.strip():
        raise ValueError(f"`{argument}` is the empty name. Pass the name of a folder, or leave `{argument}` out.")
    if "\0" in name:
        raise ValueError(f"`{argument}` has a zero byte in its name, {name!r:.200}. Choose another folder.")
    return Path(os.path.expanduser(name)).absolute()


def check_can_be_folder(folder: Path, argument: str = "folder", what: str = "a run's folder") -> None:
    """Refuse a path at which there is something else than a folder, or where no folder can be made.

    Args:
        folder: The path.
        argument: The name of the argument, for errors.
        what: What the folder would be.

    Raises:
        ValueError: If it is such a path; the message says what is in the way.
    """
    for path in reversed((folder, *folder.parents)):
        try:
            os.lstat(path)
        except FileNotFoundError:
            if len(os.fsencode(path.name)) > LONGEST_NAME:
                raise _impossible(folder, "File name too long", argument, what) from None
            continue
        except OSError as error:
            raise _impossible(folder, str(error.strerror), argument, what) from error
        if not path.is_dir():
            why = f"{path} {'leads to no folder' if path.is_symlink() else 'is no folder'}"
            raise _impossible(folder, why, argument, what)


def make_folder(folder: Path, argument: str = "folder", what: str = "a run's folder") -> None:
    """Make a folder and those above it, where they are missing.

    Args:
        folder: The path.
        argument: The name of the argument, for errors.
        what: What the folder is.

    Raises:
        ValueError: If that fails, or nothing may be written there; the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _impossible(folder, f"it cannot be made ({error.strerror})", argument, what) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _impossible(folder, "nothing may be written there", argument, what)


def _impossible(folder: Path, why: str, argument: str, what: str) -> ValueError:
    return ValueError(f"`{argument}` {str(folder)[:300]!r} cannot be {what}: {why}. Choose another folder.")
