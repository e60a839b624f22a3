"""Who may ask the page anything: a browser that knows the token, from the page itself, on this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LARGEST_BODY = 2**20
"""Bytes of a request."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def session_of(token: str) -> str:
    """Return what a browser that knew the token sends from then on. The token cannot be found from it.

    >>> session_of("a") == session_of("a") != session_of("b")
    True
    """
    return hmac.new(token.encode(), b"session of a browser", hashlib.sha256).hexdigest()


def cookie_of(token: str) -> str:
    """Return the name of the cookie, which pages on other ports do not share."""
    return f"page-{hashlib.sha256(b'name ' + token.encode()).hexdigest()[:12]}"


def is_host(host: str, others: Collection[str]) -> bool:
    """Return whether a request may name a host: this machine by any port, since it may come through a tunnel.

    >>> is_host("localhost:8888", []), is_host("[::1]:80", []), is_host("evil.example", []), is_host("127.1.2.3", [])
    (True, True, False, True)
    >>> is_host("Hub.example", ["hub.example"]), is_host("localhost.evil.example", [])
    (True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name or any(character in host for character in "/@?#\\ "):
        return False
    if name == "localhost" or name in {other.lower() for other in others}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuse requests that do not come from the page.

    Args:
        app: Answers the others.
        token: The token.
        hosts: Returns further names by which the page is reached, such as through a proxy.
        free: The paths that are answered without a cookie.
    """

    def __init__(self, app: App, token: str, hosts: Callable[[], Collection[str]], free: Collection[str]) -> None:
        self.app = app
        self.token = token
        self.hosts = hosts
        self.free = frozenset(free)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message.get("headers", ())}
                safe = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {
                    **message,
                    "headers": [*message.get("headers", ()), *(one for one in safe if one[0] not in known)],
                }
            await send(message)

        refused = self._refusal(scope, headers)
        if refused is not None:
            await _say(send_safely, *refused)
            return
        if scope["method"] != "POST":
            await self.app(scope, receive, send_safely)
            return
        body = await _body(receive)
        if body is None:
            await _say(send_safely, 413, f"A request has at most {LARGEST_BODY} bytes.")
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_body() -> MutableMapping[str, Any]:
            return next(given, None) or await receive()

        await self.app(scope, receive_body, send_safely)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        hosts, host = self.hosts(), headers.get("host", "")
        if [name for name, _ in scope["headers"]].count(b"host") != 1 or not is_host(host, hosts):
            return 421, "The page is not reached by this name. A proxy's name is passed as `Page(hosts=[...])`."
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host, hosts):
            return 403, "This request comes from another site."
        is_api = scope["path"] not in self.free
        if is_api and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "This request comes from another site."
        if is_api and not self._has_session(headers.get("cookie", "")):
            return 401, "Open the address that the run printed, which has a token."
        if scope["method"] == "POST":
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return 415, "A request is JSON."
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                return 413, f"A request has at most {LARGEST_BODY} bytes."
        return None

    def _is_own(self, origin: str, host: str, hosts: Collection[str]) -> bool:
        """Return whether an origin is the page's own: by the same name and port, or that of a proxy."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        return parts.netloc.lower() == host.lower() or parts.hostname in {other.lower() for other in hosts}

    def _has_session(self, cookies: str) -> bool:
        expected = f"{cookie_of(self.token)}={session_of(self.token)}".encode()
        found = [part.strip().encode("latin-1", "replace") for part in cookies.split(";")]
        return sum(hmac.compare_digest(one, expected) for one in found) > 0


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request, or None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _say(send: Send, status: int, error: str) -> None:
    content = json.dumps({"error": error}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, (b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": content})
