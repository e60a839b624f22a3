"""The files of runs and reports: written whole or not at all, and read only if they are plain files of a sane size."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MEBIBYTE = 2**20

LARGEST_TEXT = 100 * MEBIBYTE
"""Bytes of a file for people: history, summary, error, the names of loggers."""

LARGEST_TABLE = 1024 * MEBIBYTE
"""Bytes of the table that a CSVLogger keeps."""

LARGEST_SETTINGS = MEBIBYTE
"""Bytes of a configuration."""

LARGEST_ROW = 256 * MEBIBYTE
"""Bytes of a row of the journal: a round with a million picks."""

LARGEST_JOURNAL = 4 * 1024 * MEBIBYTE
"""Bytes of a whole journal."""

LARGEST_WEIGHTS = 256 * 1024 * MEBIBYTE
"""Bytes of the weights of a module."""

LARGEST_NUMBER = 2**64
"""All whole numbers that a run records are smaller: seeds and checksums have 64 bits."""

LARGEST_FIGURE = 1e100
"""All finite figures that a run records are smaller."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # to open a pipe otherwise waits for its other end

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_PART = re.compile(r"\.(?P<of>.+?)(\.[0-9a-f]{16})?\.part(-journal)?", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file to write to, and move it to `path` when it is complete and on disk.

    The file has a new name, so no link is followed and nothing else is written to. A link, a pipe or a hard link at
    `path` is replaced, and what it leads to does not change.

    Raises:
        OSError: If the file cannot be written, or was replaced while it was written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "notes.txt")) as path:
    ...         _ = path.write_text("whole")
    ...     Path(folder, "notes.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        try:
            yield temporary
            found, made = os.lstat(temporary), os.fstat(descriptor)
            if not os.path.samestat(found, made):
                raise OSError(f"{temporary} was replaced while it was written. Let nothing else write to its folder.")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Write the content of a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parts_in(folder: Path, of: re.Pattern[str]) -> list[Path]:
    """Return what processes that were killed inside `replacing` left in a folder, of the files with some names."""
    names = [name for name in os.listdir(folder) if (part := _PART.fullmatch(name)) and of.fullmatch(part["of"])]
    return [folder / name for name in sorted(names)]


def kind_of(path: Path) -> str | None:
    """Return what is at a path, such as "a link" or "a pipe", or None for a plain file or nothing.

    >>> kind_of(Path("/dev/null")), kind_of(Path("/")), kind_of(Path("/no/such/file"))
    ('a device', 'a folder', None)
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def check_plain(path: Path, largest: int) -> None:
    """Refuse to read what is not a plain file, or too large. It is not opened.

    Args:
        path: Its path. No link is followed.
        largest: How many bytes it may have.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is not a plain file, or too large.
    """
    kind, size = kind_of(path), os.lstat(path).st_size
    if kind is not None:
        raise ValueError(f"{path} is {kind}, where a file is expected. Remove it, or put back a copy of the file.")
    if size > largest:
        raise ValueError(
            f"{path} has {size} bytes, but such a file has at most {largest}. Put back a copy of it from before."
        )


def open_plain(path: Path, largest: int) -> BinaryIO:
    """Open a file to read, if `check_plain` accepts it."""
    check_plain(path, largest)
    return os.fdopen(read_descriptor(path), "rb")


def read_descriptor(path: Path) -> int:
    """Open a path to read, without following a link or waiting for the other end of a pipe."""
    return os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Read a file as `open_plain` opens it."""
    with open_plain(path, largest) as file:
        return file.read(largest)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Read a text file as `open_plain` opens it."""
    return read_bytes(path, largest).decode()


def read_json(path: Path) -> Any:
    """Read plain data from a file as `open_plain` opens it and `parse_json` parses it."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """Parse plain data.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, or has a whole number that is too large.

    >>> parse_json("[1, 2.5, null]")
    [1, 2.5, None]
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError(f"`{text[:20]}...` is nested too deeply to be read. Put back a copy from before.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"`{text[:20]}...` is no JSON: {error}. Put back a copy from before.") from None


def is_absurd(value: Any) -> bool:
    """Return whether a number is larger than all that a run records.

    >>> is_absurd(2**70), is_absurd(-1e300), is_absurd(float("inf")), is_absurd(3)
    (True, True, False, False)
    """
    if isinstance(value, int):
        return abs(value) > LARGEST_NUMBER
    return isinstance(value, float) and LARGEST_FIGURE < abs(value) < float("inf")


def _whole_number(digits: str) -> int:
    if len(digits) > len(str(LARGEST_NUMBER)) + 1 or is_absurd(int(digits)):
        raise ValueError(
            f"a whole number of {len(digits)} digits is larger than {LARGEST_NUMBER}, the most that a run records. Put "
            "back a copy from before."
        )
    return int(digits)
