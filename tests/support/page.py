"""A page as browsers see it: what a fit publishes, and clients that ask and answer."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image

from lightning_al import Query
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.oracle.progress import Progress
from lightning_al.page.board import Board
from lightning_al.page.place import Place
from lightning_al.page.server import Service, config_of

CLASSES = {0: "cat", 1: "dog", 2: "<b>polar</b> bear"}
NUMBERS = itertools.count()

PLACES: dict[Path, str] = {}
"""The address of each page that is served in this process."""

CLIENTS: list[httpx.Client] = []


def progress(folder: Path, phase: Any = "fitting", round: int = 0, **given: Any) -> Progress:
    told = Progress(phase, round, folder, CLASSES, {0: 3, 1: 1}, 4, 20, 12.5, None, "val_acc", [(4, 0.5)])
    return replace(told, **given)


def query(folder: Path, indices: Sequence[int] = (7, 3, 11, 5), round: int = 0, **given: Any) -> Query:
    items = given.pop("items", [Image.new("RGB", (100, 40), (index, 0, 0)) for index in indices])
    keys = [f"photos/{index}.png" for index in indices]
    return Query(round, indices, **{"keys": keys, "classes": CLASSES, "folder": folder, "items": items, **given})


def ask(folder: Path, asked: Query | None = None, *, suggestions: bool = False, **options: Any) -> Publishing:
    """Publish a query as a fit does."""
    publishing, asked = Publishing(Place(folder)), asked or query(folder)
    publishing.ask(asked, suggestions=suggestions, **options)
    publishing.show(asked)
    return publishing


class Client:
    """A browser's tab, with the session of one that opened the address."""

    def __init__(self, service: Service, name: str = "tab", who: str | None = "anna") -> None:
        self.service, self.name, self.who = service, name, who
        self.http = httpx.Client(
            base_url=PLACES[service.place.folder], timeout=30, verify=False
        )  # no certificates are read
        CLIENTS.append(self.http)
        assert self.http.get("/", params={"token": service.token}).status_code == 200

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        content = json.dumps({"client": self.name, "who": self.who, **body})
        response = self.http.post(f"/api/{path}", content=content, headers={"content-type": "application/json"})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def next(self, n: int = 6, seen: Sequence[int] = ()) -> list[int]:
        return [item["point"] for item in self.post("next", n=n, seen=list(seen))["items"]]

    def answer(self, point: int, answer: Any = 1, name: str | None = None, **more: Any) -> str | None:
        """Answer a point by a class or otherwise, and return why it was refused, or None."""
        given = {"class": answer} if isinstance(answer, int) else answer
        name = name or f"id-{next(NUMBERS)}"
        found = self.post("answers", answers=[{"id": name, "point": point, "answer": given, **more}])
        assert found["kept"] == ([] if found["refused"] else [name])
        return found["refused"][0]["reason"] if found["refused"] else None

    def undo(self, of: str, name: str | None = None) -> dict[str, Any]:
        return self.post("undo", id=name or f"id-{next(NUMBERS)}", of=of)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/api/state").json()
        return found


@contextmanager
def served(folder: Path, clock: Any = None) -> Iterator[Service]:
    """Serve a page from a thread of this process."""
    place = Place(folder)
    place.make()
    service = Service(place, place.keep_token(), Board(place, **({} if clock is None else {"clock": clock})))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config_of(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    PLACES[place.folder] = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield service
    finally:
        while CLIENTS:
            CLIENTS.pop().close()
        service.ends = server.should_exit = True
        thread.join()
        service.close()
        listening.close()


class Remote:
    """A person at the page that a process of its own serves, who sends what was not acknowledged again."""

    def __init__(self, folder: Path, who: str = "anna") -> None:
        self.place, self.who = Place(folder), who
        self.http = httpx.Client(timeout=10, verify=False)
        self.opened: str | None = None

    def post(self, path: str, **body: Any) -> dict[str, Any] | None:
        """Ask the page; None where its process is gone, or not there yet."""
        try:
            address = self.place.address()
            base = address.partition("?")[0]
            if self.opened != address:
                if self.http.get(address).status_code != 200:  # its token is not written yet
                    return None
                self.opened = address
            response = self.http.post(f"{base}api/{path}", json={"client": self.who, "who": self.who, **body})
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found
        except httpx.TransportError:
            return None

    def wait_for(self, path: str, seconds: float = 60.0, **body: Any) -> dict[str, Any]:
        """Ask until the page answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (found := self.post(path, **body)) is not None:
                return found
            time.sleep(0.02)
        raise TimeoutError(f"no page in {self.place.folder}")

    def answer_all(self, label_of: Any, seconds: float = 120.0, until: Any = None) -> list[dict[str, Any]]:
        """Answer what the page asks until the run is done, and return each state in which it was."""
        states: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.wait_for("next", n=3)
            states.append(found["state"])
            if found["state"]["phase"] == "done" or (until is not None and until(found["state"])):
                return states
            for item in found["items"]:
                name, point = f"{self.who}-{next(NUMBERS)}", item["point"]
                given = {"id": name, "point": point, "answer": {"class": label_of(point)}, "seconds": 2.0}
                kept = self.wait_for("answers", answers=[given])
                assert kept["kept"] == [name] or "asked for any more" in kept["refused"][0]["reason"]
            time.sleep(0.02)
        raise TimeoutError(f"the run in {self.place.run} is not done: {states[-1]}")

    def end(self) -> None:
        """End the page's process, also one that a late call started in its place, and close the connection."""
        self.http.close()
        ended: set[int] = set()
        while (pid := self.place.served_by().get("pid")) is not None and pid not in ended:
            ended.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                for _ in range(100):
                    time.sleep(0.05)
                    with suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)
                    os.kill(pid, 0)  # asks whether it is still there
                os.kill(pid, signal.SIGKILL)


@contextmanager
def person(folder: Path, who: str = "anna") -> Iterator[Remote]:
    """Let somebody be at the page of a folder, whose process ends afterwards."""
    remote = Remote(folder, who)
    try:
        yield remote
    finally:
        remote.end()
