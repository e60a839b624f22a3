"""The cells of a sweep: in which folder each has its place, and what a cell that failed leaves there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_al.cli.secrets import without_secrets
from lightning_al.run.files import read_text, replacing
from lightning_al.run.folder import ERROR

LONGEST = 200
"""How much of what was overridden a folder's name shows; file systems allow 255 bytes."""


def cell_folder(sweep: Path, overrides: str, settings: Mapping[str, Any], version: str) -> str:
    """Return the name of the folder of a cell in that of its sweep.

    A cell is known by its settings and the version of the package, of which the name ends in a hash. It keeps the
    folder that it has, even where the same settings are written in other words.

    Args:
        sweep: The folder of the sweep.
        overrides: What makes the name readable.
        settings: What the cell's results depend on, as plain data.
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
    """Write an error into a cell's folder, in one line first and then with its traceback.

    Of several processes that fail together, the first one's error stays: the others may fail for its sake.
    """
    said = " ".join(without_secrets(str(error)).split())
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if not os.path.lexists(folder / ERROR):
        with replacing(folder / ERROR) as path:
            text = without_secrets(line + "\n\n" + "".join(traceback.format_exception(error)))
            path.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_error(folder: Path) -> str:
    """Return the error of a cell that failed, in one line."""
    return read_text(folder / ERROR).partition("\n")[0]


def clear_error(folder: Path) -> None:
    """Forget that a cell failed, before it is run again."""
    (folder / ERROR).unlink(missing_ok=True)


class Failures:
    """Which cells in a sweep's folder fail from now on, in whatever process or machine they run.

    Args:
        sweep: The folder of the sweep.
    """

    def __init__(self, sweep: Path) -> None:
        self._sweep = sweep
        self._before = self._found()

    def since(self) -> dict[Path, str]:
        """Return the file of each cell that failed since, with its error in one line."""
        return {
            path: read_error(path.parent)
            for path, written in sorted(self._found().items())
            if self._before.get(path) != written
        }

    def _found(self) -> dict[Path, tuple[int, int]]:
        status = {path: path.stat() for path in self._sweep.rglob(ERROR)}
        # Not compared with a clock, which may be another machine's.
        return {path: (found.st_ino, found.st_mtime_ns) for path, found in status.items()}
