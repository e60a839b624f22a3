"""What an oracle is shown of a query that is not fully answered yet."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
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
    paths: Sequence[Path | None] = (),
) -> Query:
    """Return the points of a query that have no answer yet.

    Args:
        query: The query as it is recorded.
        items: The items of these points, each read when it is accessed.
        classes: The classes that labels name.
        folder: The run's folder.
        truth: What the dataset itself says of its points.
        paths: The files of these points, as far as they have some.

    >>> rest_of(OpenQuery(0, [7, 3], [0.5, 0.2], keys=["a", "b"], answers={7: 1})).keys
    ['b']
    """
    rest = query.rest
    keys = {} if query.keys is None else dict(zip(query.points, query.keys, strict=True))
    scores = dict(zip(query.indices, query.scores, strict=False))  # the first query has none
    probs = {} if query.probs is None else dict(zip(query.indices, query.probs, strict=True))
    return Query(
        query.number,
        rest,
        keys=[keys[index] for index in rest] if keys else None,
        scores=[scores.get(index, math.nan) for index in rest] if scores else (),
        probs=[probs.get(index) for index in rest] if probs else None,
        answers=query.answers,
        items=items,
        classes={} if classes is None else classes.names,
        folder=folder,
        truth=truth,
        paths=paths,
    )
