"""An answer with what is known besides: how long it took, and who gave it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, final

from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS, Effort
from lightning_al.values.whole_numbers import LARGEST, plain, shown


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
    effort, unusable = Effort(), list[str]()
    while isinstance(answer, Answer):
        seconds, who = seconds_of(answer.seconds), name_in(answer.who)
        if isinstance(seconds, NotUsable):
            unusable.append(f"the seconds {shown(answer.seconds)}")
        elif seconds is not None:
            effort = replace(effort, seconds=seconds)
        if isinstance(who, NotUsable):
            unusable.append(f"the name {shown(answer.who)}")
        elif who is not None:
            effort = replace(effort, who=who)
        answer = answer.label
    return answer, effort, unusable


class NotUsable(Enum):
    """What stands in the place of a figure that cannot be used."""

    NOT_USABLE = "unusable"


def seconds_of(given: Any) -> float | NotUsable | None:
    """Return seconds as a float, None for what stands for not known, or `NOT_USABLE` for no number from 0 to a year.

    >>> seconds_of(3), seconds_of(float("nan")), seconds_of(-3).value
    (3.0, None, 'unusable')
    """
    number = plain(given)
    if number is None or _is_nan(number):
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= MOST_SECONDS:
        return NotUsable.NOT_USABLE
    return float(number)


def name_in(given: Any) -> str | NotUsable | None:
    """Return a name as text in one line, None for what stands for not known, or `NOT_USABLE` for no short text.

    A whole number is a name too.

    >>> name_in(" anna "), name_in(7), name_in(""), name_in(["anna"]).value
    ('anna', '7', None, 'unusable')
    """
    name = plain(given)
    if name is None or _is_nan(name):
        return None
    if isinstance(name, int) and not isinstance(name, bool) and abs(name) <= LARGEST:
        return str(int(name))
    if not isinstance(name, str):
        return NotUsable.NOT_USABLE
    text = " ".join(name.split())
    return (text or None) if len(text) <= LONGEST_NAME and text.isprintable() else NotUsable.NOT_USABLE


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
