"""The schemas of a journal's rows: which are read, and how an earlier one becomes the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 2

READ = (1, 2)
"""The schemas that are read. A folder of an earlier one is rewritten as a whole when it is opened for writing."""


def upgraded(bodies: Sequence[Mapping[str, Any]], run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a journal of schema 1 as those of schema 2, in which each query has a row of its own.

    Args:
        bodies: The rows.
        run_id: The run's id, used where its first row has none.

    >>> query = {"number": 0, "indices": [7], "scores": [0.5]}
    >>> [sorted(row) for row in upgraded([{"schema": 1}, {"answers": {"7": 2}, "query": query}], "f3")]
    [['id', 'schema'], ['query'], ['answers']]
    """
    rows = [{"id": run_id, **bodies[0], "schema": 2}]
    for body in bodies[1:]:
        query = {"query": body["query"]} if "query" in body else None
        rest = {name: value for name, value in body.items() if name != "query"}
        rows += [part for part in (query, rest) if part]
    return rows
