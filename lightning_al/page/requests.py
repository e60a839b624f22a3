"""What a browser may say: the parts of its requests, checked. Each raises a `BadRequestError` for what is none."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from lightning_al.page.store import Event
from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS

LONGEST_TEXT = 2000
"""The most characters of a reason, or of the name of another class."""


class BadRequestError(ValueError):
    """A request that no page of ours sends."""


def points_in(given: Any) -> list[int]:
    """Return a list of points; empty where none is given."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in given):
        raise BadRequestError(f"`{given!r:.50}` is no list of points. Give their indices in a list.")
    return given


def client_in(body: Mapping[str, Any], default: str | None = None) -> str:
    """Return the name of a browser's tab."""
    client = body.get("client", default)
    if not isinstance(client, str) or not 0 < len(client) <= 100 or not client.isprintable():
        raise BadRequestError("`client` is no name of a browser. Give each tab a short text of its own.")
    return client


def who_in(body: Mapping[str, Any]) -> str | None:
    """Return who is at the browser, or None."""
    who = body.get("who")
    if who is not None and not (isinstance(who, str) and len(who) <= LONGEST_NAME and who.isprintable()):
        raise BadRequestError(
            f"`who` is not how somebody is called. Give at most {LONGEST_NAME} characters in one line."
        )
    return " ".join((who or "").split()) or None


def id_in(given: Any) -> str:
    """Return the name of an answer."""
    if not isinstance(given, str) or not 0 < len(given) <= 100 or not given.isprintable():
        raise BadRequestError("`id` is no name of an answer. Give each answer a short text of its own.")
    return given


def event_in(given: Any, client: str, who: str | None) -> Event:
    """Return an answer as the store keeps it."""
    if not isinstance(given, dict):
        raise BadRequestError(f"`{given!r:.50}` is no object that answers. Give `id`, `point` and `answer`.")
    name, point, seconds = id_in(given.get("id")), given.get("point"), given.get("seconds")
    if not isinstance(point, int) or isinstance(point, bool) or not 0 <= point < 2**62:
        raise BadRequestError(f"`point` is {point!r:.50}. Give the index of an item.")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if seconds is not None and not (is_number and 0 <= seconds <= MOST_SECONDS):
        raise BadRequestError(f"`seconds` is {seconds!r:.50}. Give how long the answer took, or null.")
    shown = given.get("suggestion_shown", False)
    if not isinstance(shown, bool):
        raise BadRequestError(f"`suggestion_shown` is {shown!r:.50}. Give true or false.")
    answer = _answer(given.get("answer"))
    took = None if seconds is None else float(seconds)
    return Event(name, "answer", point, answer, None, took, who, client, shown, time.time())


def _answer(given: Any) -> dict[str, Any]:
    if isinstance(given, dict) and len(given) == 1:
        ((kind, value),) = given.items()
        is_text = isinstance(value, str) and len(value) <= LONGEST_TEXT and "\0" not in value
        match kind:
            case "class" if isinstance(value, int) and not isinstance(value, bool):
                return {"class": value}
            case "skip" if value is True:
                return {"skip": True}
            case "unusable" if is_text:
                return {"unusable": _clean(value)}
            case "other" if is_text and value.strip():
                return {"other": _clean(value)}
    raise BadRequestError(
        f"`answer` is {given!r:.50}. Give one of `class` with a number, `skip` with true, `unusable` with a reason, "
        "and `other` with a text."
    )


def _clean(text: str) -> str:
    """Return a text without halves of characters, which JSON can hold and no file can."""
    return text.strip().encode("utf-8", "replace").decode()
