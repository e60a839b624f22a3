"""The folders of a sweep's cells, and the errors of cells that failed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException

from lightning_al.cli.secrets import without_secrets
from lightning_al.run.files import read_text, replacing
from lightning_al.run.folder import ERROR

LONGEST = 200
"""The most characters of the overrides in a folder's name; file systems allow 255 bytes."""


def cell_folder(sweep: Path, overrides: str, settings: Mapping[str, Any], version: str) -> str:
    """Return the name of a cell's folder in the sweep's folder.

    The name ends in a hash of the cell's settings and the version of the package. A cell keeps its folder, even if the
    same settings are written differently.

    Args:
        sweep: The folder of the sweep.
        overrides: The overrides, to make the name readable.
        settings: The settings that the cell's results depend on, as plain data.
        version: Version of the package.

    >>> cell_folder(Path("sweep"), "acquisition-bald_seed-0", {"seed": 0}, "0.1.0")
    'acquisition-bald_seed-0_fec4471a30'
    """
    known_by = json.dumps([version, settings], sort_keys=True, default=str)
    digest = hashlib.sha256(known_by.encode()).hexdigest()[:10]
    for path in sorted(sweep.glob(f"*{digest}")):
        return path.name
    readable = re.sub(r"[^\w.+-]+", "-", overrides, flags=re.ASCII)[:LONGEST].strip("-._+")
    return f"{readable}_{digest}" if readable else digest


def write_error(folder: Path, error: BaseException) -> None:
    """Write an error into a cell's folder, first in one line and then with its traceback.

    The line of an error that a command would show alone is that line; another one begins with the error's type. If
    several processes of a cell fail, only the first error is kept: it may have caused the others.
    """
    said = " ".join(without_secrets(str(error)).split())
    if isinstance(error, CompactHydraException):
        line = said.removeprefix("lightning-al: ")
    else:
        line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if not os.path.lexists(folder / ERROR):
        with replacing(folder / ERROR) as path:
            text = without_secrets(line + "\n\n" + "".join(traceback.format_exception(error)))
            path.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_error(folder: Path) -> str:
    """Return the error of a failed cell in one line."""
    return read_text(folder / ERROR).partition("\n")[0]


def clear_error(folder: Path) -> None:
    """Remove the error of a cell before it runs again."""
    (folder / ERROR).unlink(missing_ok=True)


class Failures:
    """The cells of a sweep that fail from now on, in any process and on any machine.

    Args:
        sweep: The folder of the sweep.
    """

    def __init__(self, sweep: Path) -> None:
        self._sweep = sweep
        self._before = self._found()

    def since(self) -> dict[str, list[Path]]:
        """Return the errors of the cells that have failed since, each in one line, with the files that hold it."""
        files_of: dict[str, list[Path]] = {}
        for path, written in sorted(self._found().items()):
            if self._before.get(path) != written:
                files_of.setdefault(read_error(path.parent), []).append(path)
        return files_of

    def _found(self) -> dict[Path, tuple[int, int]]:
        status = {path: path.stat() for path in self._sweep.rglob(ERROR)}
        # Clocks of several machines cannot be compared.
        return {path: (found.st_ino, found.st_mtime_ns) for path, found in status.items()}
