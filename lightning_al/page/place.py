"""The page's folder in that of a run, which the fit and the page's process share."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from lightning_al.run.files import kind_of, read_json, replacing
from lightning_al.run.lock import NAME
from lightning_al.run.lock_file import locked

PAGE = "page"
"""The page's folder in the run's folder."""

_TOKEN = re.compile(r"[\w-]{40,100}")


class Place:
    """The files of the page of a run.

    Args:
        folder: The run's folder.

    Attributes:
        folder: The page's folder in it.
        published: What the fit says, which it alone writes.
        items: The folder of what is shown of each point, which the fit alone writes.
        store: The answers, which the page's process alone writes.
        server: Which process serves the page, and on which port.
        token: What a browser must know. Only its owner can read it.
        log: What the page's process prints.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.run = Path(folder)
        self.folder = self.run / PAGE
        self.published = self.folder / "published.json"
        self.items = self.folder / "items"
        self.store = self.folder / "answers.sqlite"
        self.server = self.folder / "server.json"
        self.token = self.folder / "token"
        self.log = self.folder / "server.log"

    def make(self) -> None:
        """Make the folders.

        Raises:
            ValueError: If a link or a file is in the place of one.
            OSError: If they cannot be made.
        """
        for folder in (self.folder, self.items):
            kind = kind_of(folder)
            if kind not in (None, "a folder") or (kind is None and folder.exists()):
                raise ValueError(
                    f"{folder} is {kind or 'a file'}, where the page of a run keeps its files. Remove it, or choose "
                    "another folder for the run."
                )
            folder.mkdir(parents=True, exist_ok=True)

    def is_served(self) -> bool:
        """Return whether a process serves the page now."""
        try:
            file = locked(self.folder / NAME, os.O_RDONLY, is_shared=True)
        except OSError:
            return False
        if file is not None:
            os.close(file)
        return file is None

    def served_by(self) -> dict[str, Any]:
        """Return the number and the port of the process that serves the page, or served it last; empty if unknown."""
        try:
            known = read_json(self.server)
            return {"pid": int(known["pid"]), "port": int(known["port"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def address(self) -> str:
        """Return the page's address with the token.

        Raises:
            OSError: If no process has served it yet.
        """
        return f"http://127.0.0.1:{self.served_by().get('port', 0)}/?token={self.known_token() or ''}"

    def known_token(self) -> str | None:
        """Return the token, unless others may have read it or there is none."""
        try:
            found = os.lstat(self.token)
            if not stat.S_ISREG(found.st_mode) or (os.name == "posix" and _is_open(found)):
                return None
            text = self.token.read_text()
        except (OSError, ValueError):
            return None
        return text if _TOKEN.fullmatch(text) else None

    def keep_token(self) -> str:
        """Return the token, which is made where there is none."""
        token = self.known_token()
        if token is None:
            token = secrets.token_urlsafe(32)
            with replacing(self.token) as draft:
                draft.chmod(0o600)
                draft.write_text(token)
        return token


def _is_open(found: os.stat_result) -> bool:
    return bool(found.st_mode & 0o077) or found.st_uid != os.getuid()
