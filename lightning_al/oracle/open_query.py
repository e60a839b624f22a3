"""What an oracle is shown of a query that is not fully answered yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from lightning_al.oracle.query import Query, Truth
from lightning_al.run.records import OpenQuery
from lightning_al.task.class_names import Classes


def rest_of(
    query: OpenQuery,
    *,
    items: Sequence[Any] = (),
    classes: Classes | None = None,
    folder: str | os.PathLike[str] | None = None,
    truth: Truth | None = None,
) -> Query:
    """Return the points of a query that have no answer yet.

    Args:
        query: The query as it is recorded.
        items: The items of these points, each read when it is accessed.
        classes: The classes that labels name.
        folder: The run's folder.
        truth: What the dataset itself says of its points.

    >>> rest_of(OpenQuery(0, [7, 3], [0.5, 0.2], keys=["a", "b"], answers={7: 1})).keys
    ['b']
    """
    places = [place for place, index in enumerate(query.indices) if index not in query.answers]

    def of_rest(values: Any) -> Any:
        return [values[place] for place in places] if values else values

    return Query(
        query.number,
        query.rest,
        keys=of_rest(query.keys),
        scores=of_rest(query.scores),
        probs=of_rest(query.probs),
        answers=query.answers,
        items=items,
        classes={} if classes is None else classes.names,
        folder=folder,
        truth=truth,
    )
