"""An earlier run as an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from lightning_al.oracle.answer import Answer
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.query import Query
from lightning_al.oracle.set_aside import as_answer
from lightning_al.run.effort import Effort
from lightning_al.run.labels import Label


@final
@dataclass(frozen=True)
class EarlierRun(Oracle):
    """Answer as an earlier run was answered, and leave out what that was not asked.

    Args:
        answers: The recorded answers by index.
        efforts: How long each took, and who gave it, as far as it is known.

    >>> EarlierRun({7: 2}, {7: Effort(2.5)}).label(Query(-1, [7, 3]))
    {7: Answer(label=2, seconds=2.5, who=None)}
    """

    answers: Mapping[int, Label]
    efforts: Mapping[int, Effort] = field(default_factory=dict)

    def label(self, query: Query) -> Mapping[int, Any]:
        """Return the recorded answers."""
        found = {index: as_answer(self.answers[index]) for index in query if index in self.answers}
        by = {index: self.efforts.get(index, Effort()) for index in found}
        return {index: Answer(answer, by[index].seconds, by[index].who) for index, answer in found.items()}
