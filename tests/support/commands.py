"""A command without Hydra's start, which composes the configuration twice before the command's own code begins.

What Hydra itself does for a command (its files, its sweeps, what it prints of an error) needs `command` or `refused`
of tests/conftest.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.errors import CompactHydraException

from lightning_al import cli
from tests.support.stored import composed


def run(folder: Path, *overrides: str) -> float:
    """Run what `lightning-al folder=... ...` runs once Hydra has composed it, and return the area."""
    folder.mkdir(exist_ok=True)
    area: float = cli.main(composed(folder, *overrides))
    return area


def refusal(folder: Path, *overrides: str) -> str:
    """Return why a command is refused, by the kind of error that Hydra shows in a line, without a traceback."""
    with pytest.raises(CompactHydraException) as found:
        run(folder, *overrides)
    return str(found.value)
