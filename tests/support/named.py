"""Names of test cases that are the same in every process."""

from __future__ import annotations

import re
from typing import Any


def shown(value: Any) -> str:
    """Return what an object shows of itself, without its address and not too long."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:60]
