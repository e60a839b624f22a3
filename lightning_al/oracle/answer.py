"""An answer with what is known besides: how long it took, and who gave it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS, Effort
from lightning_al.values.whole_numbers import plain, shown


@final
@dataclass(frozen=True)
class Answer:
    """Answer with a label, and say how long it took and who gave it.

    The answer counts even if `seconds` or `who` cannot be used. A warning then says so, and that figure is not known.

    Args:
        label: The label, or an answer that is no label, such as `Skip()`.
        seconds: How long the answer took, from 0 to a year. None and NaN stand for not known.
        who: Who gave it: a name, or a number. None, NaN and an empty text stand for not known.

    >>> from lightning_al import Query, Skip
    >>> answers = {7: Answer("cat", seconds=2.5, who="anna"), 3: Answer(Skip(), seconds=8)}
    """

    label: Any
    seconds: Any = None
    who: Any = None


def opened(answer: Any) -> tuple[Any, Effort, list[str]]:
    """Return an answer as it is without an `Answer` around it, what that says, and what of it cannot be used.

    Of an `Answer` within another, the inner one counts, as far as it says something.

    >>> opened(Answer(Answer(1, who="anna"), seconds=2, who="ben"))
    (1, Effort(seconds=2.0, who='anna'), [])
    >>> opened(Answer(1, seconds=-2))
    (1, Effort(seconds=None, who=None), ['the seconds -2'])
    """
    seconds: float | None = None
    who: str | None = None
    unusable: list[str] = []
    while isinstance(answer, Answer):
        for given, name in ((answer.seconds, "seconds"), (answer.who, "name")):
            try:
                if name == "seconds":
                    seconds = seconds_of(given, seconds)
                else:
                    who = name_in(given, who)
            except Exception:  # whatever a type may raise that is neither a number nor a name
                unusable.append(f"the {name} {shown(given)}")
        answer = answer.label
    return answer, Effort(seconds, who), unusable


def seconds_of(given: Any, default: float | None = None) -> float | None:
    """Return seconds as a float, or the default for what stands for not known.

    Raises:
        ValueError: If they are no number from 0 to a year.

    >>> seconds_of(3), seconds_of(float("nan"))
    (3.0, None)
    """
    number = plain(given)
    if number is None or _is_nan(number):
        return default
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= MOST_SECONDS:
        raise ValueError("no number of seconds")
    return float(number)


def name_in(given: Any, default: str | None = None) -> str | None:
    """Return a name as text in one line, or the default for what stands for not known.

    Raises:
        ValueError: If it is neither a text nor a whole number, or if it is too long.

    >>> name_in(" anna "), name_in(7), name_in("")
    ('anna', '7', None)
    """
    name = plain(given)
    if name is None or _is_nan(name):
        return default
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError("no name")
    text = " ".join(str(name).split())
    if len(text) > LONGEST_NAME or not text.isprintable():
        raise ValueError("no name")
    return text or default


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
