"""Text as people compare it: spaces and the way that accents are stored make no difference."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """Return a text with each run of blanks as one space, and each letter with its accent as one character.

    >>> folded("cafe\u0301  au lait ") == "café au lait"
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
