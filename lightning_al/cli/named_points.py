"""Points as they are named on the command line: by index, or by the key of their item."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

BY_INDEX, BY_KEY = "index:", "key:"
HOW_NAMED = (
    "the point, by its index or by the key of its item, such as its path; where a number is the index of one point and "
    "the key of another, write index:7 or key:7"
)


def indices_of(words: Sequence[str], keys: Sequence[str | int], folder: Path) -> list[int]:
    """Return the indices of points that are named by index or by key.

    Args:
        words: The names. A text that begins with `index:` or `key:` says which of the two it is, unless it is itself a
            key.
        keys: The key of each index; none where items have none.
        folder: The run's folder, for errors.

    Raises:
        ValueError: If a name is neither, or is the index of one point and the key of another.

    >>> indices_of(["a.png", "1", "index:0"], ["a.png", "b.png"], Path("run"))
    [0, 1, 0]
    """
    by_key = {str(key): index for index, key in enumerate(keys)}
    strange: list[str] = []
    unclear: list[str] = []
    found: list[int] = []
    for word in words:
        prefix = next((one for one in (BY_INDEX, BY_KEY) if word.startswith(one) and word not in by_key), "")
        name = word.removeprefix(prefix)
        key = None if prefix == BY_INDEX else by_key.get(name)
        index = int(name) if prefix != BY_KEY and re.fullmatch(r"-?\d{1,18}", name, re.ASCII) else None
        if key is None and index is None:
            strange.append(word)
        elif key is not None and index not in (None, key) and 0 <= int(index or 0) < len(keys):
            unclear.append(word)
        else:
            found.append(key if key is not None else int(index or 0))
    if strange:
        from lightning_al.run.journal_command import command

        expected = "an index or the key of an item" if keys else "an index"
        raise ValueError(
            f"{', '.join(map(repr, strange))} came where {expected} of the run in {folder} is expected. Give one that "
            f"`{command('export', folder)}` lists."
        )
    if unclear:
        name = unclear[0]
        raise ValueError(
            f"{name} is the index of one point of the run in {folder} and the key of another. Write {BY_INDEX}{name} "
            f"or {BY_KEY}{name}."
        )
    return found
