"""Text from run folders made safe to show: it cannot move the cursor, reverse a line or be endless."""

from __future__ import annotations

from hashlib import sha256

MOST = 160


def printable(text: object, *, most: int = MOST) -> str:
    r"""Return the text with control characters written out; a long text is cut and ends in a hash of the whole.

    >>> printable("bald\n\x1b[31m"), printable("größe"), len(printable("x" * 10_000))
    ('bald\\n\\x1b[31m', 'größe', 160)
    """
    whole = str(text)
    seen = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in whole[: most + 1])
    if len(seen) <= most:
        return seen
    return f"{seen[: most - 10]}… {sha256(whole.encode(errors='backslashreplace')).hexdigest()[:8]}"
