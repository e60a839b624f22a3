"""What the page offers, and which answers it takes, without HTTP."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock
from typing import Any

from lightning_al.page.leases import SECONDS, Leases
from lightning_al.page.pictures import SMALL, size_of
from lightning_al.page.place import Place
from lightning_al.page.published import PHASES, Published
from lightning_al.page.store import Event, Store
from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS

MOST_ITEMS = 24
"""The most items that a browser gets at once."""

MOST_ANSWERS = 500
"""The most answers that a browser sends at once."""

LAST = 10
"""How many of the last answers are shown."""

LONGEST_TEXT = 2000
"""The most characters of a reason, or of the name of another class."""

PRESENT_SECONDS = 90.0
"""How long somebody counts as present after the browser's last question."""

DONE = "The run is done, so nothing changes it any more"


class BadRequestError(ValueError):
    """A request that no page of ours sends."""


class Board:
    """Offer the points that are asked for, and take answers.

    Args:
        place: The page's files.
        clock: Returns the time in seconds, for leases and for who is present.
    """

    def __init__(self, place: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self.published = Published(place)
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
            plain, answers = self.published.read(), self.store.ledger.answers
            lives = self.published.lives()
            query, phase = _query(plain), self.phase
            asked = _points(query.get("points"))
            before = set(_points(query.get("answered")))
            told = ("round", "title", "spent", "budget", "seconds", "budget_seconds", "counts", "curve", "metric")
            return {
                "run": self._name,
                "phase": phase,
                "running": lives,
                **{name: plain.get(name) for name in told},
                "audit": plain.get("audit") or {},
                "classes": [self._class(one) for one in plain.get("classes", ())],
                "query": {
                    "id": query.get("id"),
                    "total": len(asked),
                    "answered": sum(point in answers or point in before for point in asked),
                }
                if query
                else None,
                "ahead": sum(point not in answers for point in _points(plain.get("ahead"))) if phase != "done" else 0,
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
            plain = self.published.read()
            examples = [index for one in plain.get("classes", ()) for index in _points(one.get("examples"))]
            last = [event.point for event in self._last()]
            return point in {
                *_points(_query(plain).get("points")),
                *_points(plain.get("ahead")),
                *examples,
                *last,
                *self._asked_again(plain),
            }

    def next(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the next items for a browser, and keep them for it."""
        client, who = _client(body), _who(body)
        number = body.get("n", 6)
        if not isinstance(number, int) or isinstance(number, bool):
            raise BadRequestError(f"`n` is {number!r:.50}. Give a whole number of items.")
        seen = _points(body.get("seen"))
        with self._lock:
            self._note(who)
            plain = self.published.read()
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
        client, who = _client(body), _who(body)
        given = body.get("answers")
        if not isinstance(given, list) or len(given) > MOST_ANSWERS:
            raise BadRequestError(f"`answers` is no list of answers. Give at most {MOST_ANSWERS} in a list.")
        with self._lock:
            self._note(who)
            plain = self.published.read()
            kept, refused, events = list[str](), list[dict[str, str]](), list[Event]()
            for one in given:
                event = _event(one, client, who)
                known = self.store.ledger.by_id.get(event.id) or _by_id(events, event.id)
                reason = self._same(event, known) if known else self._refusal(event, plain, events)
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
        client, who, name = _client(body, "undo"), _who(body), _id(body.get("id"))
        of = _id(body.get("of"))
        with self._lock:
            self._note(who)
            ledger, plain = self.store.ledger, self.published.read()
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
            elif before.point not in self._askable(plain):
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

    def _askable(self, plain: Mapping[str, Any]) -> dict[int, None]:
        """Return the points whose answer the run would take, now or as a correction."""
        points = (_query(plain).get("points"), plain.get("ahead"), plain.get("answered"))
        return dict.fromkeys(point for some in points for point in _points(some))

    def _asked_again(self, plain: Mapping[str, Any]) -> list[int]:
        """Return the points of earlier queries whose answer was taken back."""
        askable = self._askable(plain)
        return [point for point in self.store.ledger.undone if point in askable]

    def _is_earlier(self, point: int, plain: Mapping[str, Any]) -> bool:
        """Return whether a point is neither asked for now nor offered ahead."""
        return point not in _points(_query(plain).get("points")) and point not in _points(plain.get("ahead"))

    def _open(self, plain: Mapping[str, Any]) -> Iterator[int]:
        """Yield the points without an answer, in the order in which they are asked for."""
        if self.phase == "done":
            return
        answers, before = self.store.ledger.answers, set(_points(_query(plain).get("answered")))
        for point in dict.fromkeys([*self._asked_again(plain), *_points(_query(plain).get("points"))]):
            if point not in answers and (point not in before or point in self.store.ledger.undone):
                yield point
        asked = set(_points(_query(plain).get("points")))
        yield from (point for point in _points(plain.get("ahead")) if point not in answers and point not in asked)

    def _offered(self, plain: Mapping[str, Any], open_points: Sequence[int], client: str) -> list[int]:
        """Return the points for a browser: those that wait for nothing else only where no others are left."""
        ahead = set(_points(plain.get("ahead"))) - set(_points(_query(plain).get("points")))
        free = [point for point in open_points if self.leases.is_free(point, client)]
        first = [point for point in free if point not in ahead]
        return first or [point for point in free if point in ahead]

    def _refusal(self, event: Event, plain: Mapping[str, Any], coming: Sequence[Event]) -> str | None:
        """Return why an answer is not taken, or None."""
        answer, point = event.answer or {}, event.point
        is_earlier = self._is_earlier(point, plain)
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
        if is_earlier or point not in _points(query.get("answered")) or point in self.store.ledger.undone:
            return None
        return "This item was answered elsewhere"

    def _same(self, event: Event, known: Event) -> str | None:
        is_same = (known.kind, known.point, known.answer) == ("answer", event.point, event.answer)
        return None if is_same else "This id is that of another answer"

    # How points look

    def _item(self, point: int, plain: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a browser shows of a point, or None if the fit has not written it yet."""
        item = self.published.item(point)
        if item is None:
            return None
        pictures, fault = [], item.get("fault")
        for number in range(len(item.get("pictures", ()))):
            try:
                width, height = self._size(item, point, number)
            except Exception as error:  # whatever decoders raise
                fault = fault or f"Its picture cannot be read: {type(error).__name__}"
                continue
            small = max(width, height) <= SMALL
            url = f"api/picture/{point}/{number}"
            pictures.append({"url": url, "width": width, "height": height, "small": small})
        suggestion = (plain.get("suggestions") or {}).get(str(point))
        return {
            "point": point,
            "key": item.get("key", str(point)),
            "pictures": pictures,
            "texts": item.get("texts", []),
            "rows": item.get("rows", []),
            "fault": fault,
            "earlier": self._is_earlier(point, plain),
            "suggestion": suggestion,
            "grid": suggestion is not None,
        }

    def _size(self, item: dict[str, Any], point: int, number: int) -> tuple[int, int]:
        """Return the size of a picture, which is read once."""
        sizes = item.setdefault("sizes", {})
        if number not in sizes:
            with self.published.open_picture(point, number) as file:
                sizes[number] = size_of(file)
        width, height = sizes[number]
        return width, height

    def _class(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        examples = []
        for point in _points(plain.get("examples")):
            item = self.published.item(point)
            if item is not None and item.get("pictures"):
                examples.append({"point": point, "url": f"api/picture/{point}/0"})
        return {**plain, "examples": examples}

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


def _points(given: Any) -> list[int]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in given):
        raise BadRequestError(f"`{given!r:.50}` is no list of points. Give their indices in a list.")
    return given


def _client(body: Mapping[str, Any], default: str | None = None) -> str:
    client = body.get("client", default)
    if not isinstance(client, str) or not 0 < len(client) <= 100 or not client.isprintable():
        raise BadRequestError("`client` is no name of a browser. Give each tab a short text of its own.")
    return client


def _who(body: Mapping[str, Any]) -> str | None:
    who = body.get("who")
    if who is not None and not (isinstance(who, str) and len(who) <= LONGEST_NAME and who.isprintable()):
        raise BadRequestError(
            f"`who` is not how somebody is called. Give at most {LONGEST_NAME} characters in one line."
        )
    return " ".join((who or "").split()) or None


def _id(given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= 100 or not given.isprintable():
        raise BadRequestError("`id` is no name of an answer. Give each answer a short text of its own.")
    return given


def _event(given: Any, client: str, who: str | None) -> Event:
    if not isinstance(given, dict):
        raise BadRequestError(f"`{given!r:.50}` is no object that answers. Give `id`, `point` and `answer`.")
    name, point, seconds = _id(given.get("id")), given.get("point"), given.get("seconds")
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


def _by_id(events: Sequence[Event], name: str) -> Event | None:
    return next((event for event in events if event.id == name), None)
