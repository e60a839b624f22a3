"""What the page offers, and which answers it takes, without HTTP."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock
from typing import Any

from lightning_al.page.leases import SECONDS, Leases
from lightning_al.page.looks import Looks
from lightning_al.page.place import Place
from lightning_al.page.published import PHASES, Published, outdated_in
from lightning_al.page.requests import BadRequestError, client_in, event_in, id_in, points_in, who_in
from lightning_al.page.store import Event, Store

MOST_ITEMS = 24
"""The most items that a browser gets at once."""

MOST_ANSWERS = 500
"""The most answers that a browser sends at once."""

LAST = 10
"""How many of the last answers are shown."""

PRESENT_SECONDS = 90.0
"""How long somebody counts as present after the browser's last question."""

DONE = "The run is done, so nothing changes it any more"


class Board:
    """Offer the points that are asked for, and take answers.

    Args:
        place: The page's files.
        clock: Returns the time in seconds, for leases and for who is present.
    """

    def __init__(self, place: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self.published = Published(place)
        self._looks = Looks(self.published)
        self.store = Store(place.store)
        self.leases = Leases(clock)
        # What a browser keeps until it is sent is of this run, whichever run has the port later.
        self._name = hashlib.sha256((place.known_token() or "").encode()).hexdigest()[:16]
        self._clock = clock
        self._people: dict[str, float] = {}
        self._lock = RLock()

    # What a browser is told

    def state(self) -> dict[str, Any]:
        """Return where the run stands."""
        with self._lock:
            plain, answers = self._read(), self.store.ledger.answers
            lives = self.published.lives()
            query, phase = _query(plain), self.phase
            asked = points_in(query.get("points"))
            before = set(points_in(query.get("answered")))
            told = ("round", "title", "spent", "budget", "seconds", "budget_seconds", "counts", "curve", "metric")
            return {
                "run": self._name,
                "phase": phase,
                "running": lives,
                **{name: plain.get(name) for name in told},
                "audit": plain.get("audit") or {},
                "classes": [self._looks.class_(one) for one in plain.get("classes", ())],
                "query": {
                    "id": query.get("id"),
                    "total": len(asked),
                    "answered": sum(point in answers or point in before for point in asked),
                }
                if query
                else None,
                "ahead": sum(point not in answers for point in points_in(plain.get("ahead"))) if phase != "done" else 0,
                "people": self.people(),
                "last": [self._told(event) for event in self._last()],
                "suggestions": bool(plain.get("suggestions")),
            }

    def state_text(self) -> str:
        """Return where the run stands as JSON."""
        return json.dumps(self.state(), ensure_ascii=True)

    @property
    def phase(self) -> str:
        """What the run does: `asking`, `fitting`, `done`, or `stopped` where its process ended during a fit."""
        phase = self.published.read().get("phase")
        if phase not in PHASES or (phase == "fitting" and not self.published.lives()):
            return "stopped"
        return str(phase)

    def people(self) -> list[str]:
        """Return who is here now."""
        with self._lock:
            now = self._clock()
            self._people = {who: seen for who, seen in self._people.items() if now - seen < PRESENT_SECONDS}
            return sorted(self._people)

    def is_shown(self, point: int) -> bool:
        """Return whether a browser may see a point: it is asked for, offered, an example, or was just answered."""
        with self._lock:
            plain = self._read()
            examples = [index for one in plain.get("classes", ()) for index in points_in(one.get("examples"))]
            last = [event.point for event in self._last()]
            return point in {
                *points_in(_query(plain).get("points")),
                *points_in(plain.get("ahead")),
                *examples,
                *last,
                *self._asked_again(plain),
            }

    def next(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the next items for a browser, and keep them for it."""
        client, who = client_in(body), who_in(body)
        number = body.get("n", 6)
        if not isinstance(number, int) or isinstance(number, bool):
            raise BadRequestError(f"`n` is {number!r:.50}. Give a whole number of items.")
        seen = points_in(body.get("seen"))
        with self._lock:
            self._note(who)
            plain = self._read()
            open_points = list(self._open(plain))
            held = [point for point in seen if point in open_points and self.leases.is_free(point, client)]
            items: list[dict[str, Any]] = []
            for point in self._offered(plain, [point for point in open_points if point not in seen], client):
                if len(items) >= min(max(number, 0), MOST_ITEMS):
                    break
                if (item := self._item(point, plain)) is not None:
                    items.append(item)
            self.leases.take(client, [*held, *(item["point"] for item in items)])
            return {
                "items": items,
                "lease_seconds": SECONDS,
                "gone": [point for point in seen if point not in held],
                "state": self.state(),
            }

    # What a browser says

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write answers to the store, and return which are there and which are refused, and why."""
        client, who = client_in(body), who_in(body)
        given = body.get("answers")
        if not isinstance(given, list) or len(given) > MOST_ANSWERS:
            raise BadRequestError(f"`answers` is no list of answers. Give at most {MOST_ANSWERS} in a list.")
        with self._lock:
            self._note(who)
            plain = self._read()
            kept, refused, events = list[str](), list[dict[str, str]](), list[Event]()
            for one in given:
                event = event_in(one, client, who)
                known = self.store.ledger.by_id.get(event.id) or _by_id(events, event.id)
                reason = _same(event, known) if known else self._refusal(event, plain, events)
                if reason is not None:
                    refused.append({"id": event.id, "reason": reason})
                    continue
                kept.append(event.id)
                if known is None:
                    events.append(event)
            self.store.add(events)
            self.leases.end(event.point for event in events)
            return {"kept": kept, "refused": refused, "state": self.state()}

    def undo(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take an answer back, so that its point is asked for again."""
        client, who, name = client_in(body, "undo"), who_in(body), id_in(body.get("id"))
        of = id_in(body.get("of"))
        with self._lock:
            self._note(who)
            plain, ledger = self._read(), self.store.ledger
            before, known = ledger.by_id.get(of), ledger.by_id.get(name)
            reason = None
            if known is not None:
                reason = None if (known.kind, known.of) == ("undo", of) else "This id is that of something else"
            elif self.phase == "done":
                reason = DONE
            elif before is None or before.kind != "answer":
                reason = "There is no such answer"
            elif ledger.answers.get(before.point) is not before:
                reason = "This answer was taken back already"
            elif before.point not in _askable(plain):
                reason = "This item is not asked for any more"
            if reason is not None:
                return {"kept": [], "refused": [{"id": name, "reason": reason}], "item": None, "state": self.state()}
            assert before is not None or known is not None
            point = before.point if before is not None else known.point if known is not None else -1
            if known is None:
                at = time.time()
                self.store.add([Event(name, "undo", point, of=of, who=who, client=client, at=at)])
            item = None
            if point not in ledger.answers and self.leases.is_free(point, client):
                item = self._item(point, plain)
                self.leases.take(client, [point])
            return {"kept": [name], "refused": [], "item": item, "state": self.state()}

    # Which points

    def _read(self) -> Mapping[str, Any]:
        """Return what the fit published, and leave out the answers that count no more."""
        plain = self.published.read()
        self.store.leave_out(outdated_in(plain))
        return plain

    def _asked_again(self, plain: Mapping[str, Any]) -> list[int]:
        """Return the points of earlier queries whose answer was taken back."""
        askable = _askable(plain)
        return [point for point in self.store.ledger.undone if point in askable]

    def _open(self, plain: Mapping[str, Any]) -> Iterator[int]:
        """Yield the points without an answer, in the order in which they are asked for."""
        if self.phase == "done":
            return
        answers, before = self.store.ledger.answers, set(points_in(_query(plain).get("answered")))
        for point in dict.fromkeys([*self._asked_again(plain), *points_in(_query(plain).get("points"))]):
            if point not in answers and (point not in before or point in self.store.ledger.undone):
                yield point
        asked = set(points_in(_query(plain).get("points")))
        yield from (point for point in points_in(plain.get("ahead")) if point not in answers and point not in asked)

    def _offered(self, plain: Mapping[str, Any], open_points: Sequence[int], client: str) -> list[int]:
        """Return the points for a browser: those that wait for nothing else only where no others are left."""
        ahead = set(points_in(plain.get("ahead"))) - set(points_in(_query(plain).get("points")))
        free = [point for point in open_points if self.leases.is_free(point, client)]
        first = [point for point in free if point not in ahead]
        return first or [point for point in free if point in ahead]

    def _refusal(self, event: Event, plain: Mapping[str, Any], coming: Sequence[Event]) -> str | None:
        """Return why an answer is not taken, or None."""
        answer, point = event.answer or {}, event.point
        is_earlier = _is_earlier(point, plain)
        earlier = self.store.ledger.answers.get(point) or next((one for one in coming if one.point == point), None)
        query = _query(plain)
        if self.phase == "done":
            return DONE
        if earlier is not None:
            mine = earlier.client == event.client
            whom = "You have" if mine else f"{earlier.who or 'Another browser'} has"
            return f"{whom} answered this item already"
        if is_earlier and point not in self._asked_again(plain):
            return "This item is not asked for any more"
        if "skip" in answer and is_earlier:
            return "This item is of an earlier round, and its label was used. It may be unusable, but not skipped"
        numbers = [one.get("number") for one in plain.get("classes", ())]
        if "class" in answer and answer["class"] not in numbers:
            return "There is no such class"
        if is_earlier or point not in points_in(query.get("answered")) or point in self.store.ledger.undone:
            return None
        return "This item was answered elsewhere"

    def _item(self, point: int, plain: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._looks.item(point, plain, earlier=_is_earlier(point, plain))

    def _last(self) -> list[Event]:
        return list(self.store.ledger.answers.values())[-LAST:]

    def _told(self, event: Event) -> dict[str, Any]:
        item = self.published.item(event.point) or {}
        first = self.store.ledger.first[event.point]
        corrects = first < event.seq and first <= int(self.published.read().get("taken", 0))
        pictures = len(item.get("pictures", ()))
        about = {"id": event.id, "point": event.point, "key": item.get("key", str(event.point))}
        return {**about, "answer": event.answer, "who": event.who, "corrects": corrects, "pictures": pictures}

    def _note(self, who: str | None) -> None:
        if who is not None:
            self._people[who] = self._clock()

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self.store.close()


def _query(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    query = plain.get("query")
    return query if isinstance(query, dict) else {}


def _askable(plain: Mapping[str, Any]) -> dict[int, None]:
    """Return the points whose answer the run would take, now or as a correction."""
    points = (_query(plain).get("points"), plain.get("ahead"), plain.get("answered"))
    return dict.fromkeys(point for some in points for point in points_in(some))


def _is_earlier(point: int, plain: Mapping[str, Any]) -> bool:
    """Return whether a point is neither asked for now nor offered ahead."""
    return point not in points_in(_query(plain).get("points")) and point not in points_in(plain.get("ahead"))


def _same(event: Event, known: Event) -> str | None:
    is_same = (known.kind, known.point, known.answer) == ("answer", event.point, event.answer)
    return None if is_same else "This id is that of another answer"


def _by_id(events: Sequence[Event], name: str) -> Event | None:
    return next((event for event in events if event.id == name), None)
