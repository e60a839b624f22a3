"""What is meant by the name of a folder, when it is given, and whether there can be such a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

LONGEST_NAME = 255
"""Bytes of the name of a file or a folder, in the file systems that are in use."""


def meant(folder: Any) -> Path:
    """Return a folder's path, whatever the program's current directory is later.

    A relative one is taken from the current directory, and ``~`` for the home directory, as shells take it.

    Raises:
        ValueError: If it is no name of a folder.

    >>> meant("runs/1") == Path.cwd() / "runs" / "1", meant("~/runs") == Path.home() / "runs"
    (True, True)
    """
    name = os.fspath(folder) if isinstance(folder, str | os.PathLike) else folder
    if not isinstance(name, str):
        raise ValueError(
            f"`folder` is the name of a folder, but got {folder!r}, of type {type(folder).__name__}. Give it as a "
            "text, such as './5' for a folder named 5."
        )
    if not name.strip():
        raise ValueError(
            "`folder` is the empty name. Pass the name of a folder, or leave `folder` out to keep nothing."
        )
    if "\0" in name:
        raise ValueError(f"`folder` has a zero byte in its name, {name!r:.200}. Choose another folder.")
    return Path(os.path.expanduser(name)).absolute()


def check_can_be_folder(folder: Path) -> None:
    """Refuse a place at which there is something else than a folder, or where no folder can be made.

    Raises:
        ValueError: If it is such a place; the message says what is in the way.
    """
    for path in reversed((folder, *folder.parents)):
        try:
            os.lstat(path)
        except FileNotFoundError:
            if len(os.fsencode(path.name)) > LONGEST_NAME:
                raise _impossible(folder, "File name too long") from None
            continue
        except OSError as error:
            raise _impossible(folder, str(error.strerror)) from error
        if not path.is_dir():
            raise _impossible(folder, f"{path} {'leads to no folder' if path.is_symlink() else 'is no folder'}")


def _impossible(folder: Path, why: str) -> ValueError:
    return ValueError(f"`folder` {str(folder)[:300]!r} cannot be a run's folder: {why}. Choose another folder.")
