"""An earlier run as an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.query import Query
from lightning_al.oracle.set_aside import as_answer
from lightning_al.run.labels import Label


@final
@dataclass(frozen=True)
class EarlierRun(Oracle):
    """Answer as an earlier run was answered, and leave out what that was not asked.

    Args:
        answers: The recorded answers by index.

    >>> EarlierRun({7: 2}).label(Query(-1, [7, 3]))
    {7: 2}
    """

    answers: Mapping[int, Label]

    def label(self, query: Query) -> Mapping[int, Any]:
        """Return the recorded answers."""
        return {index: as_answer(self.answers[index]) for index in query if index in self.answers}
