"""Take the answers of the page's store into the run.

A point that is asked for takes the answer that the store has, whenever it came. If it was given back, its earlier
answers no longer count. A later answer for a point that has one in the run is a correction. Corrections are taken
before the page is told how far the fit has read, and again where the process was killed in between: the same correction
changes nothing. Answers are taken after that, and a point whose answer was not recorded is still asked for.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lightning_al.host.namespace import rank_zero_warn
from lightning_al.oracle.answer import Answer
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.oracle.query import Query
from lightning_al.oracle.set_aside import Other, Skip, Unusable
from lightning_al.page.starting import start
from lightning_al.page.store import Event, Ledger, last_event

_READ: dict[tuple[int, Path], tuple[int, int]] = {}
"""For each process and page, the round and the last event up to which all is recorded."""


def taken(publishing: Publishing, query: Query, who: str | None) -> Iterator[dict[int, Any]]:
    """Yield the corrections, then the answers for points of a query that the store has.

    Args:
        publishing: What was published.
        query: The query.
        who: Who gave those answers that do not say it.
    """
    store = publishing.place.store
    read = (os.getpid(), store)
    try:
        if _READ.get(read) == (query.round, last_event(store)):
            return
        ledger = publishing.ledger()
    except sqlite3.Error:  # its process was killed in the middle, and the next one repairs it
        return
    answered = {*publishing.read().get("answered", ()), *query.answers}
    yield from _corrections(publishing, ledger, answered - set(query), query.answers)
    answers = {index: _answer(ledger.answers[index], who) for index in query if index in ledger.answers}
    if answers:
        yield answers
    _READ[read] = (query.round, ledger.last)


def corrections(publishing: Publishing, answered: Collection[int]) -> Iterator[dict[int, Correction]]:
    """Yield the corrections that the store has, while no query is open.

    Args:
        publishing: What was published.
        answered: The points that have an answer in the run.
    """
    try:
        ledger = publishing.ledger()
    except sqlite3.Error:  # its process was killed in the middle, and the next one repairs it
        start(publishing.place)
        ledger = publishing.ledger()
    yield from _corrections(publishing, ledger, answered, ())


def _corrections(
    publishing: Publishing, ledger: Ledger, answered: Collection[int], of_query: Collection[int]
) -> Iterator[dict[int, Correction]]:
    """Yield the new answers of points that have one in the run, and tell the page afterwards that they are taken.

    Args:
        publishing: What was published.
        ledger: What the store says.
        answered: The points that have an answer in the run.
        of_query: Those of them whose answer belongs to the open query.
    """
    before = publishing.read().get("taken", ledger.last)
    before = before if before <= ledger.last else 0
    found: dict[int, Correction] = {}
    for index, event in ledger.answers.items():
        if event.seq <= before or index not in answered:
            continue
        given = given_by(event)
        if isinstance(given, Skip) and index not in of_query:
            rank_zero_warn(
                f"`Page`: item {index} was skipped after its round had ended, so its label stays. Give the point back "
                "by `lightning-al-journal give-back`."
            )
            continue
        found[index] = Correction(given)
    if found:
        yield found
    publishing.note_taken(ledger.last)


def _answer(event: Event, who: str | None) -> Answer:
    return Answer(given_by(event), event.seconds, event.who or who)


def given_by(event: Event) -> Any:
    """Return the answer of an event as an oracle gives it.

    >>> given_by(Event("a", "answer", 7, {"class": 1})), given_by(Event("b", "answer", 7, {"unusable": "dark"}))
    (1, Unusable(reason='dark'))
    """
    match event.answer:
        case {"class": number}:
            return number
        case {"unusable": reason}:
            return Unusable(reason)
        case {"other": text}:
            return Other(text)
    return Skip()
