"""Files that have another name on the disk, a hard link: each is made one of its own before a library writes to it.

What this library writes itself is put in place of a name (`files.replacing`), which leaves the other name alone. Hydra,
loggers and SQLite open a file by its name and write into it, so that a file elsewhere would change with it. A copy of a
run by ``cp -al`` or a backup tool has such names throughout, and resumes all the same.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from lightning_al.run.files import kind_of, read_descriptor, replacing


def break_links_below(place: Path) -> None:
    """Make each file at a place, or below it, one of its own; no link is followed, and what is no file is let be."""
    kind = kind_of(place)
    if kind == "a folder":
        for name in sorted(os.listdir(place)):
            break_links_below(place / name)
    elif kind is None:
        break_link(place)


def break_link(path: Path) -> None:
    """Put a copy of a file in its place, where it has another name, so that writing to it changes no other file.

    Raises:
        OSError: If it cannot be copied, or something wrote to it meanwhile.

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
