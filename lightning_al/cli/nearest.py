"""The known name that is most like a mistyped one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, by_last_name: bool = False) -> str:
    """Return the nearest known name as a question in brackets, or an empty text if none is near.

    Case, underscores and dashes make no difference. The text begins with a space.

    Args:
        name: The mistyped name.
        known: The names to choose from.
        by_last_name: Whether to compare only what follows the last dot of each known name.

    >>> did_you_mean("Core-Set", ["badge", "core_set"]), did_you_mean("x", ["badge"])
    (' (did you mean core_set?)', '')
    >>> did_you_mean("budgt", ["seed", "active.budget"], by_last_name=True)
    ' (did you mean active.budget?)'
    """
    by_letters: dict[str, str] = {}
    for one in known:
        by_letters.setdefault(_letters(one.rpartition(".")[2] if by_last_name else one), one)
    found = get_close_matches(_letters(name), by_letters, n=1)
    return f" (did you mean {by_letters[found[0]]}?)" if found else ""


def _letters(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()
