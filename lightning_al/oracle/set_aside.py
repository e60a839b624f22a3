"""Answers that are no label: the point leaves the pool, and nothing is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from lightning_al.run.labels import SET_ASIDE, UNPAID, Label, kind_of_aside
from lightning_al.values.encodable import encodable


class SetAside:
    """An answer that is no label."""

    def to_plain(self) -> dict[str, Any]:
        """Return the answer as the journal has it."""
        raise NotImplementedError


@final
@dataclass(frozen=True)
class Skip(SetAside):
    """Leave a point out, at no cost: nobody looked at it, or nobody could tell.

    >>> from lightning_al import Query
    >>> answers = {7: 2, 3: Skip(), 8: Unusable("blurred"), 5: Other("a fox")}
    """

    def to_plain(self) -> dict[str, Any]:
        """Return the answer as the journal has it."""
        return {SET_ASIDE: UNPAID}


@final
@dataclass(frozen=True)
class Unusable(SetAside):
    """Leave a point out that somebody looked at and that has no label, such as a blurred photo. It costs a label.

    Args:
        reason: Why.
    """

    reason: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return the answer as the journal has it."""
        return {SET_ASIDE: "unusable", "reason": encodable(str(self.reason))}


@final
@dataclass(frozen=True)
class Other(SetAside):
    """Leave a point out that is of a class which nobody listed. It costs a label, and the text is kept.

    Args:
        text: The class.
    """

    text: str

    def to_plain(self) -> dict[str, Any]:
        """Return the answer as the journal has it."""
        return {SET_ASIDE: "other", "text": encodable(str(self.text))}


def as_answer(recorded: Label) -> Any:
    """Return a recorded answer as an oracle gives it: an answer that is no label as an object.

    >>> as_answer({"set aside": "unusable", "reason": "blurred"}), as_answer(3)
    (Unusable(reason='blurred'), 3)
    """
    kind = kind_of_aside(recorded)
    if kind is None or not isinstance(recorded, dict):
        return recorded
    return {"unusable": Unusable(recorded.get("reason", "")), "other": Other(recorded.get("text", ""))}.get(
        kind, Skip()
    )
