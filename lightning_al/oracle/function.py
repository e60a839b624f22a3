"""A plain function as an oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final, runtime_checkable

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.query import Query
from lightning_al.values.qualified_name import qualified_name
from lightning_al.values.whole_numbers import whole_number

Answers = Mapping[int, Any] | Iterable[tuple[int, Any]]
"""Labels by index: a mapping, or pairs that come one by one."""


@runtime_checkable
class Labels(Protocol):
    """Any object with the method of an `Oracle`."""

    def label(self, query: Query, /) -> Answers:
        """Return labels for the points of a `Query`, by index."""
        ...


OracleLike = Oracle | Labels | Callable[[Query], Answers]
"""An `Oracle`, an object with its method, or a function of the query that returns labels by index."""


@final
@dataclass(frozen=True)
class FunctionOracle(Oracle):
    """Ask a function of the query for labels.

    >>> FunctionOracle(lambda query: {index: index % 2 for index in query}).label(Query(0, [4, 7]))
    {4: 0, 7: 1}
    """

    function: Callable[[Query], Answers]

    def label(self, query: Query) -> Answers:
        """Return what the function answers."""
        return self.function(query)

    def __repr__(self) -> str:
        return qualified_name(self.function)


def as_oracle(oracle: OracleLike) -> Oracle | Labels:
    """Return an object with the method `label`. A plain function is wrapped in one.

    Raises:
        TypeError: If the object is not an oracle, or is the class of one.
    """
    if isinstance(oracle, type):
        raise TypeError(
            f"`ActiveLearning(oracle=...)` expected an object that labels, but got the class {oracle.__name__}. Pass "
            f"an object of it, `{oracle.__name__}(...)`."
        )
    if callable(getattr(oracle, "label", None)):
        return oracle  # type: ignore[return-value]
    if callable(oracle):
        return FunctionOracle(oracle)
    raise TypeError(
        "`ActiveLearning(oracle=...)` expected a registered name, an object with a method `label`, or a function of "
        f"the query, but got {type(oracle).__name__}. Pass `lambda query: {{index: labels[index] for index in "
        "query}}`, say."
    )


def enough_of(oracle: Oracle | Labels, query_size: int) -> int:
    """Return how many answers of a query are enough for the next fit.

    Raises:
        ValueError: If the oracle's `accept_partial` is not a whole number from 1 on.
    """
    given = _option(oracle, "accept_partial", None)
    return query_size if given is None else min(query_size, whole_number(name_of(oracle), "accept_partial", given))


def seconds_to_wait(oracle: Oracle | Labels) -> float | None:
    """Return after how many seconds an oracle is asked again for what is missing, or None where the call ends.

    Raises:
        ValueError: If its `wait` is neither "exit" nor a number above 0.
    """
    wait = _option(oracle, "wait", "exit")
    if wait == "exit":
        return None
    if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 < wait < math.inf:
        return float(wait)
    raise ValueError(f"`{name_of(oracle)}(wait={wait!r})` is no time. Pass 'exit', or a number of seconds above 0.")


def _option(oracle: Oracle | Labels, name: str, default: Any) -> Any:
    """Return an option of an oracle. In another class, its name may be that of something else, such as a method."""
    given = getattr(oracle, name, default)
    is_one = isinstance(oracle, Oracle) or isinstance(given, str | int | float)
    return given if is_one else default


def name_of(oracle: Oracle | Labels) -> str:
    """Return the name of an oracle in an error: that of its class, or of the function that answers."""
    return qualified_name(oracle.function) if isinstance(oracle, FunctionOracle) else type(oracle).__name__


def reveals(oracle: Oracle | Labels) -> bool:
    """Return whether an oracle's answers are the dataset's own targets."""
    return bool(getattr(oracle, "reveals", False))


def needs_of(oracle: Oracle | Labels) -> Literal["labels", "classes"] | None:
    """Return what the dataset must have for an oracle: labels, labels that are class numbers, or nothing."""
    needs = oracle.needs if isinstance(oracle, Oracle) else None
    return "labels" if needs is None and reveals(oracle) else needs
