"""Start the page's process, which outlives the process that starts it."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from lightning_al.page.place import Place

PACKAGES = ("starlette", "uvicorn")

SECONDS = 60.0
"""How long the process may take to start."""

_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept until they have ended, since they outlive what would hold them."""


@atexit.register
def _leave() -> None:
    """Let Python end without a word about processes that are meant to outlive it."""
    for process in _STARTED:
        process.returncode = process.poll() or 0


def check_installed() -> None:
    """Refuse to go on without what serves the page.

    Raises:
        ImportError: If a package is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"`Page` serves its page by {' and '.join(missing)}, which this environment lacks. Install them by "
            "`pip install 'lightning_al[label]'`."
        )


def start(place: Place, port: int = 0) -> bool:
    """Start the page's process if none serves the page, and wait until it listens.

    Args:
        place: The page's files.
        port: The port, or 0.

    Returns:
        Whether it was started.

    Raises:
        ImportError: If a package is missing.
        RuntimeError: If it does not start.
    """
    _STARTED[:] = [earlier for earlier in _STARTED if earlier.poll() is None]
    if place.is_served():
        return False
    check_installed()
    place.make()
    command = [sys.executable, "-m", "lightning_al.page", str(place.run), "--port", str(port), "--quiet"]
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    descriptor = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        size = os.fstat(descriptor).st_size
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    finally:
        os.close(descriptor)
    _STARTED.append(process)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        if place.is_served() and (code is not None or place.served_by().get("pid") == process.pid) and _listens(place):
            return code is None
        if code is not None and not place.is_served():
            break
        time.sleep(0.02)
    said = place.log.read_bytes()[size:].decode(errors="replace").strip()
    raise RuntimeError(
        f"The page's process for the run in {place.run} did not start: {said[-1000:] or 'it said nothing'}. Run "
        f"`{sys.executable} -m lightning_al.page {place.run}` to see why."
    )


def _listens(place: Place) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", place.served_by()["port"]), timeout=1):
            return True
    except (OSError, KeyError):
        return False
