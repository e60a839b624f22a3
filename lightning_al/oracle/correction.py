"""An answer that corrects an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True)
class Correction:
    """Replace the answer of a point that was answered before: an initial one, or one of this or an earlier query.

    The earlier answer stays in the journal, and the next fit uses the new one. A bare label for a point that is not
    queried is refused, and so is a correction of a point that has no answer, so a mistyped index changes nothing.

    Args:
        label: The new label, or `Unusable(reason)` or `Other(text)`, which set the point aside: it is not trained on
            any more. An answer to the open query may also be replaced by `Skip()`. A point that was set aside is
            labelled from then on.

    Raises:
        ValueError: If it is a correction itself.

    >>> answers = {7: 2, 3: Correction("dog")}
    """

    label: Any

    def __post_init__(self) -> None:
        """Check the label."""
        if isinstance(self.label, Correction):
            raise ValueError("`Correction` was given a correction. Pass it a label.")
