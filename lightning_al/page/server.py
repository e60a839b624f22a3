"""The page's process: it serves the page on this machine, and keeps what people answer."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lightning_al.page.board import Board
from lightning_al.page.pictures import Pictures
from lightning_al.page.place import Place
from lightning_al.page.requests import BadRequestError
from lightning_al.page.safety import Guard, cookie_of, session_of
from lightning_al.run.files import parse_json, replacing
from lightning_al.run.lock import RunLock

STATIC = {"page.js": "text/javascript", "page.css": "text/css"}

SIDE = 1600
"""The most pixels of a side of a picture, where the browser asks for no other number."""

PREFETCHED = 5
"""Of how many of the next items the pictures are resized before they are asked for."""

TELL_SECONDS = 0.2
"""How often it is looked whether a browser has to be told something."""

COMMENT_SECONDS = 15.0
"""How often a silent stream says that it is still there."""

DONE_SECONDS = 600.0
"""After so long without a question, the process ends if the run is done."""

LEFT_SECONDS = 86_400.0
"""After so long without a question, it ends if no run does anything."""

NO_STORE = {"cache-control": "no-store"}


class Service:
    """Answer the requests of browsers.

    Args:
        place: The page's files.
        token: What a browser must know.
        board: What is offered and taken.
    """

    def __init__(self, place: Place, token: str, board: Board) -> None:
        self.place = place
        self.token = token
        self.board = board
        self.pictures = Pictures()
        self.asked = time.monotonic()
        self.side = SIDE
        self.ends = False

    @property
    def app(self) -> Guard:
        """The application, which refuses all that does not come from the page."""
        routes = [
            Route("/", self._index),
            *(Route(f"/{name}", partial(self._static, name)) for name in STATIC),
            Route("/api/state", self._state),
            Route("/api/events", self._events),
            Route("/api/next", partial(self._post, self._next), methods=["POST"]),
            Route("/api/answers", partial(self._post, self.board.answer), methods=["POST"]),
            Route("/api/undo", partial(self._post, self.board.undo), methods=["POST"]),
            Route("/api/picture/{point:int}/{number:int}", self._picture),
        ]
        return Guard(Starlette(routes=routes), self.token, self.hosts, free=["/"])

    def hosts(self) -> list[str]:
        """Return the further names by which the page may be reached."""
        hosts = self.board.published.read().get("hosts", [])
        return [host for host in hosts if isinstance(host, str)] if isinstance(hosts, list) else []

    async def _index(self, request: Request) -> Response:
        name, given = cookie_of(self.token), request.query_params.get("token")
        if given is not None:
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return _said(401, "This address has a wrong token. Open the address that the run printed last.")
            # The browser would not send a strict cookie along with a redirect from another site's link.
            refresh = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=./"><p>Opening.'
            response = HTMLResponse(refresh, headers=NO_STORE)
            response.set_cookie(name, session_of(self.token), httponly=True, samesite="strict", path="/")
            return response
        cookie = request.cookies.get(name, "")
        if not hmac.compare_digest(cookie.encode(), session_of(self.token).encode()):
            return _said(401, "This page opens by the address that the run printed, which has a token.")
        self.asked = time.monotonic()
        return HTMLResponse(_read("page.html"), headers=NO_STORE)

    async def _static(self, name: str, request: Request) -> Response:
        return Response(_read(name), media_type=STATIC[name], headers={"cache-control": "no-cache"})

    async def _state(self, request: Request) -> Response:
        self.asked = time.monotonic()
        return Response(await run_in_threadpool(self.board.state_text), media_type="application/json", headers=NO_STORE)

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self._told(request), media_type="text/event-stream", headers=NO_STORE)

    async def _told(self, request: Request) -> AsyncIterator[str]:
        last, spoke = "", time.monotonic()
        while not self.ends and not await request.is_disconnected():
            self.asked = time.monotonic()
            now = await run_in_threadpool(self.board.state_text)
            if now != last:
                last, spoke = now, time.monotonic()
                yield f"event: state\ndata: {now}\n\n"
            elif time.monotonic() - spoke > COMMENT_SECONDS:
                spoke = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(TELL_SECONDS)

    async def _post(self, act: Callable[[dict[str, Any]], dict[str, Any]], request: Request) -> Response:
        self.asked = time.monotonic()
        try:
            body = parse_json((await request.body()).decode())
            if not isinstance(body, dict):
                return _refused(400, "A request is a JSON object.")
            answer = await run_in_threadpool(act, body)
        except ValueError as error:
            is_ours = isinstance(error, BadRequestError)
            return _refused(400, str(error) if is_ours else "A request is a JSON object.")
        return Response(json.dumps(answer), media_type="application/json", headers=NO_STORE)

    def _next(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.board.next(body)
        for item in answer["items"][:PREFETCHED]:
            for number in range(len(item["pictures"])):
                self._resized(item["point"], number, self.side)
        return answer

    async def _picture(self, request: Request) -> Response:
        self.asked = time.monotonic()
        point, number = request.path_params["point"], request.path_params["number"]
        side = request.query_params.get("side", str(SIDE))
        if not side.isascii() or not side.isdecimal() or len(side) > 5:
            return _refused(400, "`side` is a number of pixels.")
        if not await run_in_threadpool(self.board.is_shown, point):
            return _refused(404, "There is no such picture.")
        if SIDE // 2 <= int(side) <= 2 * SIDE:  # more is for one picture that is looked at closely
            self.side = int(side)
        try:
            picture = await asyncio.wrap_future(self._resized(point, number, int(side)))
        except FileNotFoundError:
            return _refused(404, "There is no such picture.")
        except Exception as error:  # whatever decoders raise
            return _refused(422, f"This picture cannot be read: {type(error).__name__}.")
        return Response(picture.content, media_type=picture.kind, headers={"cache-control": "private, max-age=3600"})

    def _resized(self, point: int, number: int, side: int) -> Any:
        published = self.board.published
        changed = (published.item(point) or {}).get("written", "")
        return self.pictures.get(f"{point}/{number}/{changed}", side, lambda: published.open_picture(point, number))

    def is_to_end(self) -> bool:
        """Return whether nobody needs the process any more."""
        idle = time.monotonic() - self.asked
        if not self.place.store.exists() and idle > 1:  # the folder was removed
            return True
        is_done = self.board.phase == "done"
        return idle > (DONE_SECONDS if is_done else LEFT_SECONDS) and (is_done or not self.board.published.lives())

    def close(self) -> None:
        """Let go of all."""
        self.ends = True
        self.pictures.close()
        self.board.close()


def serve(folder: str | os.PathLike[str], port: int = 0) -> None:
    """Serve the page of a run until nobody needs it any more.

    Args:
        folder: The run's folder.
        port: The port, or 0 for that of last time where it is free, or else any.

    Raises:
        InUseError: If another process serves it.
        OSError: If the port is taken, or the folder cannot be written.
    """
    place = Place(folder)
    place.make()
    lock = RunLock(place.folder)
    lock.acquire()
    try:
        last = place.served_by().get("port", 0) if place.known_token() else 0
        token = place.keep_token()
        listening = _listening(port, last)
        board = Board(place)
        service = Service(place, token, board)
        try:
            with replacing(place.server) as draft:
                draft.write_text(json.dumps({"pid": os.getpid(), "port": listening.getsockname()[1]}))
            asyncio.run(_serve(service, listening))
        finally:
            service.close()
            listening.close()
    finally:
        lock.release()


def config_of(service: Service) -> uvicorn.Config:
    """Return how uvicorn serves a page."""
    return uvicorn.Config(
        service.app,
        log_level="warning",
        access_log=False,  # which would have the token
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=2,
    )


async def _serve(service: Service, listening: socket.socket) -> None:
    server = uvicorn.Server(config_of(service))

    async def watch() -> None:
        while not server.should_exit:
            await asyncio.sleep(TELL_SECONDS)
            if await run_in_threadpool(service.is_to_end):  # a signal may have come meanwhile, which stays
                server.should_exit = True
        service.ends = True

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[listening])
    finally:
        service.ends = True
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _listening(port: int, last: int) -> socket.socket:
    """Return a socket of this machine alone, on a port, or on that of last time if it is free, or on any."""
    for wanted in [port] if port else dict.fromkeys([last, 0]):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # a port is free as soon as its process has ended
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", wanted))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if wanted and not port:
                continue
            raise OSError(
                f"`Page(port={port})` cannot listen on this port: {error.strerror}. Choose another one, or leave "
                "`port` out."
            ) from error
        return listening
    raise AssertionError


def _read(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _refused(status: int, error: str) -> Response:
    return JSONResponse({"error": error}, status, headers=NO_STORE)


def _said(status: int, text: str) -> Response:
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Labelling</title><p>{escape(text)}</p></html>'
    return HTMLResponse(page, status, headers=NO_STORE)
