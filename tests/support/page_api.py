"""The page's server as the page sees it, in memory, which a test can take down, slow down and look into."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from typing import Any

from PIL import Image

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageApi:
    """Serve the page and answer it, until `close`.

    Attributes:
        state: What `/api/state` says beside what follows from the answers.
        items: The items by point, in the order in which they are offered.
        offered: The points that are offered now.
        events: Answers by id, in the order in which they came; one that was undone has ``undone``.
        fails: What happens to each POST: "down" is refused, "lost" is done but never replied to, "late" is done
            and replied to once this is over.
        closed: The points whose answers cannot be undone.
        seen: The names of the paths that were asked for.
    """

    def __init__(self, items: list[dict[str, Any]], classes: list[str], **state: Any) -> None:
        blank = {"pictures": [], "texts": [], "rows": [], "fault": None, "suggestion": None, "grid": False}
        self.items = {item["point"]: blank | {"key": f"{item['point']}.png"} | item for item in items}
        self.offered = list(self.items)
        named = [{"number": n, "name": name, "description": None, "examples": []} for n, name in enumerate(classes)]
        self.state = {"run": "r", "phase": "asking", "round": 1, "title": "photos", "classes": named, "budget": 20}
        self.state |= {"seconds": 0, "curve": [], "metric": "acc", "audit": {}, "suggestions": True} | state
        self.events: dict[str, dict[str, Any]] = {}
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.leases: dict[int, str] = {}
        self.closed: set[int] = set()
        self.fails = ""
        self.seen: set[str] = set()
        self.lock = threading.RLock()
        self.is_open = True
        api = self

        class Handler(_Handler):
            page = api

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.is_open = False
        self.server.shutdown()
        self.server.server_close()

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers that stand, in order."""
        with self.lock:
            return [event for event in self.events.values() if not event.get("undone")]

    def said(self) -> dict[str, Any]:
        with self.lock:
            answers = self.answers
            total = len(self.offered)
            query = {"id": f"round-{self.state['round']}", "total": total}
            query["answered"] = len({answer["point"] for answer in answers} & set(self.offered))
            last = [{**{k: one[k] for k in ("id", "point", "answer", "who")}, "key": "k"} for one in answers[-10:]]
            asking = self.state["phase"] == "asking"
            facts = {
                "query": query if asking else None,
                "last": last,
                "spent": len(answers),
                "counts": {},
                "people": [],
            }
            return facts | self.state

    def next(self, body: dict[str, Any]) -> dict[str, Any]:
        done = {answer["point"] for answer in self.answers}
        given = []
        for point in self.offered:
            free = self.leases.get(point, body["client"]) == body["client"]
            if free and point not in done and point not in body["seen"] and len(given) < body["n"]:
                self.leases[point] = body["client"]
                given.append(self.items[point])
        gone = [point for point in body["seen"] if point in done or point not in self.offered]
        return {"items": given, "lease_seconds": 60, "gone": gone, "state": self.said()}

    def keep(self, body: dict[str, Any]) -> dict[str, Any]:
        kept, refused = [], []
        for answer in body["answers"]:
            if answer["id"] not in self.events:
                by = next((one for one in self.answers if one["point"] == answer["point"]), None)
                if by is not None:
                    refused.append({"id": answer["id"], "reason": f"{by['who']} answered it."})
                    continue
                self.events[answer["id"]] = {**answer, "who": body["who"], "client": body["client"]}
            kept.append(answer["id"])
        return {"kept": kept, "refused": refused, "state": self.said()}

    def undo(self, body: dict[str, Any]) -> dict[str, Any]:
        event = self.events[body["of"]]
        point = event["point"]
        if point in self.closed:
            reason = "This item is not asked for any more"
            return {"kept": [], "refused": [{"id": body["id"], "reason": reason}], "item": None, "state": self.said()}
        event["undone"] = True
        if point not in self.offered:
            self.offered.insert(0, point)
        return {"kept": [body["id"]], "refused": [], "item": self.items[point], "state": self.said()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    page: PageApi

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, body: bytes, kind: str = "application/json", code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.page.seen.add(path)
        if path in ("/", "/page.css", "/page.js"):
            name = path[1:] or "page.html"
            kind = {"html": "text/html", "css": "text/css", "js": "text/javascript"}[name.partition(".")[2]]
            self.reply(files("lightning_al").joinpath("page", name).read_bytes(), kind)
        elif path == "/api/state":
            self.reply(json.dumps(self.page.said()).encode())
        elif path == "/api/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.close_connection = True
            before = ""
            while self.page.is_open:
                now = json.dumps(self.page.said())
                try:
                    if now != before:
                        self.wfile.write(f"event: state\ndata: {now}\n\n".encode())
                        self.wfile.flush()
                except OSError:
                    return
                before = now
                time.sleep(0.02)
        elif path.startswith("/api/picture/"):
            file = BytesIO()
            Image.new("RGB", (8, 8), (40 * int(path.split("/")[3]) % 256, 90, 120)).save(file, "png")
            self.reply(file.getvalue(), "image/png")
        else:
            self.reply(b"{}", code=404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        page = self.page
        if page.fails == "down":
            self.reply(b'{"error": "down"}', code=503)
            return
        name = self.path.rpartition("/")[2]
        with page.lock:
            page.posts.append((name, body))
            reply = {"next": page.next, "answers": page.keep, "undo": page.undo}[name](body)
        while page.fails == "late" and page.is_open:
            time.sleep(0.01)
        if page.fails == "lost":
            self.close_connection = True
            return
        self.reply(json.dumps(reply).encode())
