"""The command line that changes a journal, as errors name it."""

from __future__ import annotations

import os
import shlex


def command(action: str, folder: str | os.PathLike[str], *arguments: object) -> str:
    """Return the command line that does something to the journal of a folder.

    >>> command("correct", "my runs/1", 14, 2)
    "lightning-al-journal correct 'my runs/1' 14 2"
    """
    return shlex.join(["lightning-al-journal", action, os.fspath(folder), *map(str, arguments)])
