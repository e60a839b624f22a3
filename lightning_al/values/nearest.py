"""The known name that is most like a mistyped one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a mistyped one, or None if none is near.

    Case, blanks, underscores and dashes make no difference.

    >>> nearest("Core-Set", ["badge", "core_set"]), nearest("x", ["badge"])
    ('core_set', None)
    """
    by_letters: dict[str, str] = {}
    for one in known:
        by_letters.setdefault(letters(one), one)
    found = get_close_matches(letters(name), by_letters, n=1)
    return by_letters[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], *, by_last_name: bool = False) -> str:
    """Return the nearest known name as a question in brackets, or an empty text if none is near.

    Case, blanks, underscores and dashes make no difference. The text begins with a space.

    Args:
        name: The mistyped name.
        known: The names to choose from.
        by_last_name: Whether to compare only what follows the last dot of each known name.

    >>> did_you_mean("Core-Set", ["badge", "core_set"]), did_you_mean("x", ["badge"])
    (' (did you mean core_set?)', '')
    >>> did_you_mean("budgt", ["seed", "active.budget"], by_last_name=True)
    ' (did you mean active.budget?)'
    """
    whole: dict[str, str] = {}
    for one in known:
        whole.setdefault(one.rpartition(".")[2] if by_last_name else one, one)
    found = nearest(name, whole)
    return f" (did you mean {whole[found]}?)" if found else ""


def letters(name: str) -> str:
    """Return a name without what is often mistyped.

    >>> letters("Core-Set")
    'coreset'
    """
    return re.sub(r"[\s_-]", "", name).lower()
