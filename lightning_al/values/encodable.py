"""Text that UTF-8 can hold."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""Return a text with half surrogates written out, such as those of file names that are no UTF-8.

    >>> encodable("x\ud800"), encodable("cat")
    ('x\\ud800', 'cat')
    """
    return text.encode("utf-8", "backslashreplace").decode()
