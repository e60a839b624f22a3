"""What the fit says to the page's process, read again as soon as it changes."""

from __future__ import annotations

import errno
import os
import platform
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from lightning_al.page.place import Place
from lightning_al.run.files import kind_of, open_plain, read_json

LARGEST_PICTURE = 256 * 2**20
"""Bytes of the file of a picture that the fit wrote."""

PHASES = ("asking", "fitting", "done", "stopped")

_FILE = re.compile(r"\d+-\d+\.(png|jpg)")

_PROCESS_SECONDS = 1.0
"""How long it is believed that the fit's process lives."""


class Published:
    """Read what the fit publishes.

    Args:
        place: The page's files.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._plain: dict[str, Any] = {}
        self._state: tuple[int, int, int] | None = None
        self._items: dict[int, tuple[int, dict[str, Any]]] = {}
        self._lives = (0.0, False)

    @property
    def state(self) -> tuple[int, int, int] | None:
        """What the last file that was read is recognised by."""
        return self._state

    def read(self) -> dict[str, Any]:
        """Return what the fit published last. A file that cannot be read is as one that is not there."""
        try:
            found = os.stat(self.place.published)
        except OSError:
            self._state, self._plain = None, {}
            return self._plain
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if state != self._state:
            plain: Any = {}
            with suppress(OSError, ValueError):
                plain = read_json(self.place.published)
            self._state, self._plain = state, plain if isinstance(plain, dict) else {}
        return self._plain

    def lives(self) -> bool:
        """Return whether the fit's process lives, as far as this machine can tell."""
        asked, lives = self._lives
        if time.monotonic() - asked > _PROCESS_SECONDS:
            plain = self.read()
            lives = _is_alive(plain.get("process"), plain.get("machine"))
            self._lives = (time.monotonic(), lives)
        return lives

    def item(self, point: int) -> dict[str, Any] | None:
        """Return what is shown of a point, or None if the fit has not written it."""
        path = self.place.items / f"{point}.json"
        if kind_of(self.place.items) != "a folder":
            return None
        try:
            changed = os.lstat(path).st_mtime_ns
            if (known := self._items.get(point)) is not None and known[0] == changed:
                return known[1]
            item = read_json(path)
        except (OSError, ValueError):
            return None
        if not isinstance(item, dict):
            return None
        self._items[point] = (changed, item)
        return item

    def open_picture(self, point: int, number: int) -> BinaryIO:
        """Open the file of a picture of a point.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read.
            ValueError: If it is no plain file.
        """
        pictures = (self.item(point) or {}).get("pictures", [])
        if not 0 <= number < len(pictures):
            raise FileNotFoundError(errno.ENOENT, "No such picture", f"{point}-{number}")
        picture = pictures[number]
        if "path" in picture:  # a file of the user's own data, which may be a link
            return Path(picture["path"]).open("rb")
        if not _FILE.fullmatch(str(picture.get("file"))) or kind_of(self.place.items) != "a folder":
            raise FileNotFoundError(errno.ENOENT, "No such picture", f"{point}-{number}")
        return open_plain(self.place.items / picture["file"], LARGEST_PICTURE)


def outdated_in(plain: Mapping[str, Any]) -> dict[int, int]:
    """Return the last event of the old label of each point that was given back, from what the fit published.

    >>> outdated_in({"given_back": {"7": {"change": 0, "last": 12}}})
    {7: 12}
    """
    return {int(index): mark["last"] for index, mark in (plain.get("given_back") or {}).items()}


def _is_alive(process: Any, machine: Any) -> bool:
    """Return whether a process lives. Of another machine, and where it cannot be known, it is believed to."""
    if not isinstance(process, int) or process <= 0:
        return False
    if machine != platform.node() or os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
