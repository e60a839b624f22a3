"""A label as plain data, an answer that is no label, and a change of a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Label = int | float | str | list[Any] | dict[str, Any] | None
"""A label as plain data. None stands for the dataset's own target."""

SET_ASIDE = "set aside"
"""The key of an answer that is no label, as plain data: ``{"set aside": "unusable", "reason": "blurred"}``."""

UNPAID = "skip"
"""The kind of such an answer that costs no label."""


def kind_of_aside(answer: Any) -> str | None:
    """Return the kind of a recorded answer that is no label (`skip`, `unusable` or `other`), or None for a label.

    >>> kind_of_aside({"set aside": "skip"}), kind_of_aside(3), kind_of_aside({"boxes": []})
    ('skip', None, None)
    """
    return answer.get(SET_ASIDE) if isinstance(answer, dict) else None


def note_of(answer: Any) -> str | None:
    """Return what was said beside an answer that is no label: why the point is unusable, or its class.

    >>> note_of({"set aside": "unusable", "reason": "blurred"}), note_of({"set aside": "skip"}), note_of(3)
    ('blurred', None, None)
    """
    if kind_of_aside(answer) is None:
        return None
    return answer.get("reason") or answer.get("text") or None


@dataclass(frozen=True)
class Change:
    """A change of a label that a point had.

    Attributes:
        index: The point.
        label: Its new label, or the answer that is no label, if it was corrected; None stands for the dataset's own
            target.
        given_back: Whether the point was given back to the pool, so that it has no label.
        after: The number of queries before the change.
    """

    index: int
    label: Label = None
    given_back: bool = False
    after: int = 0
