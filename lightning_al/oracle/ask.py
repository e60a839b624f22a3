"""An oracle for those who ask and tell with a tool of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.query import Query
from lightning_al.oracle.registry import register_oracle
from lightning_al.run.labels import Label


@register_oracle("ask")
@final
@dataclass(frozen=True)
class Ask(Oracle):
    """Answer nothing: `trainer.fit` ends, and the answers come by `ActiveLearning.tell`.

    Args:
        accept_partial: How many answers of a query are enough for the next fit, or None for all.

    >>> Ask().label(Query(0, [4, 2]))
    {}
    """

    leaves_open: ClassVar[bool] = True
    accept_partial: int | None = None

    def how_to_answer(self, query: Query) -> str:
        """Say where the answers are awaited."""
        return "Tell them by `ActiveLearning(...).tell`"

    def label(self, query: Query) -> Mapping[int, Label]:
        """Return no answer."""
        return {}
