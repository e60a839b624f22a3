"""What is meant by the name of a folder, when it is given."""

from __future__ import annotations

import os
from pathlib import Path


def meant(folder: str | os.PathLike[str]) -> Path:
    """Return a folder's path, whatever the program's current directory is later.

    A relative one is taken from the current directory, and ``~`` for the home directory, as shells take it.

    Raises:
        ValueError: If the name is empty.

    >>> meant("runs/1") == Path.cwd() / "runs" / "1", meant("~/runs") == Path.home() / "runs"
    (True, True)
    """
    if not os.fspath(folder):
        raise ValueError(
            "`folder` is the empty name. Pass the name of a folder, or leave `folder` out to keep nothing."
        )
    return Path(os.path.expanduser(folder)).absolute()
