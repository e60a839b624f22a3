"""The fingerprint by which a resumed run recognises its training set: length, labels, form and contents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from lightning_al.data.class_numbers import as_class
from lightning_al.data.reading import UNREADABLE
from lightning_al.values.content_hash import content_hash, spread
from lightning_al.values.parts import form


def fingerprint(size: int, read_label: Callable[[int], Any], read_item: Callable[[int], Any]) -> dict[str, Any]:
    """Return the fingerprint of a dataset as plain data, by about 32 of its items that are spread over it.

    The contents are None if an item that is read twice differs, as under random augmentation: if it came out the same
    by chance, it would differ in the next process. They are also None if an item is `UNREADABLE`, because it may be
    repaired.

    >>> fingerprint(2, lambda index: index % 2, lambda index: (0.5, index % 2))["form"]
    '(float, int)'
    """
    places = spread(size)
    labels = [as_class(read_label(index)) for index in places]
    items = [read_item(index) for index in places]
    hashes = [content_hash(item) for item in items]
    readable = [item for item in items if item is not UNREADABLE]
    is_known = len(readable) == len(items) and hashes == [content_hash(read_item(index)) for index in places]
    return {
        "length": size,
        "classes": sorted({label for label in labels if label is not None}),
        "labels": labels,
        "form": form(readable[0]) if readable else "",
        "contents": hashlib.sha256("".join(hashes).encode()).hexdigest() if is_known else None,
    }
