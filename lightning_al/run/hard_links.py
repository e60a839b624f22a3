"""Hard links, files with another name on the disk: they are broken before another library writes to the file.

This library writes a new file and moves it to the name (`files.replacing`), which does not change the other name. But
Hydra, loggers and SQLite open a file by its name and write into it, so a file elsewhere would change too. A copy of a
run by ``cp -al`` or a backup tool consists of hard links, and can be resumed as well.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from lightning_al.run.files import kind_of, read_descriptor, replacing


def break_links_below(place: Path) -> None:
    """Break the hard links of each file at a place or below it. Symbolic links and other things are left alone."""
    kind = kind_of(place)
    if kind == "a folder":
        for name in sorted(os.listdir(place)):
            break_links_below(place / name)
    elif kind is None:
        break_link(place)


def break_link(path: Path) -> None:
    """Replace a file that has another name by a copy, so that writing to it changes no other file.

    Raises:
        OSError: If it cannot be copied, or was written to meanwhile.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, other = Path(folder, "one"), Path(folder, "other")
    ...     _ = one.write_text("mine")
    ...     os.link(one, other)
    ...     break_link(other)
    ...     _ = other.write_text("written by its name")
    ...     one.read_text()
    'mine'
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink == 1:
        return
    with replacing(path) as copy:
        with os.fdopen(read_descriptor(path), "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        os.chmod(copy, stat.S_IMODE(found.st_mode) & 0o777)
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
        now = os.lstat(path)
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (found.st_size, found.st_mtime_ns, found.st_ino):
            raise OSError(
                f"{path} was written to under another name while it was copied. Let nothing else write to it."
            )
