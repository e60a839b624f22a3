"""A Label Studio server over HTTP: a personal access token is exchanged for short-lived ones."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lightning_al.values.errors import said_shortly
from lightning_al.values.whole_numbers import shown

if TYPE_CHECKING:
    import httpx

TOKEN = "LABEL_STUDIO_TOKEN"
"""The environment variable that has the personal access token."""

SECONDS = 60.0
"""How long the server may take to answer a request."""

LIFETIME = 300.0
"""Seconds for which an access token is valid, where it does not say it."""

PAGE = 1000
"""Tasks or projects that are listed at a time."""


class UnreachableError(ConnectionError):
    """The server does not answer, or fails. It may answer later."""


class Secret(str):
    """A text that no traceback shows.

    >>> [Secret("abc")]
    [***]
    """

    def __repr__(self) -> str:
        """Hide the text."""
        return "***"


class Client:
    """Send requests to a Label Studio server, as the user whose token is given.

    Args:
        url: Address of the server.
        token: The personal access token, which is a refresh token.
        clock: Returns seconds.

    Raises:
        ModuleNotFoundError: If httpx is missing.
    """

    def __init__(self, url: str, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "`LabelStudio` needs httpx, which is not installed. Install it by `pip install "
                '"lightning_al[label-studio]"`.'
            ) from error
        self.url = url.rstrip("/")
        self._token = Secret(token)
        self._clock = clock
        self._access = Secret()
        self._renewal = 0.0
        self._http = httpx.Client(timeout=SECONDS)

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Return what is at a path, or None if nothing is.

        Raises:
            UnreachableError: If the server does not answer, or fails.
            PermissionError: If it refuses the token.
            ValueError: If it refuses the request.
        """
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Any, **params: Any) -> Any:
        """Send JSON to a path, and return the answer. Errors are those of `get`."""
        return self._ask("POST", path, params=params, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Change what is at a path, and return it. Errors are those of `get`."""
        return self._ask("PATCH", path, json=body)

    def upload(self, path: str, files: Mapping[str, bytes], **params: Any) -> Any:
        """Send files to a path, each with its name, and return the answer. Errors are those of `get`."""
        return self._ask("POST", path, params=params, files=[(name, (name, data)) for name, data in files.items()])

    def tasks(self, project: int) -> Iterator[Mapping[str, Any]]:
        """Yield all tasks of a project, with their `id`, their `data` and how many annotations they have.

        Errors are those of `get`.
        """
        include = "id,data,total_annotations,cancelled_annotations"
        page = 1
        while True:
            asked = {"project": project, "page": page, "page_size": PAGE, "fields": "task_only", "include": include}
            found = self.get("/api/tasks/", **asked) or {}  # None for a page behind the last one
            tasks: Sequence[Mapping[str, Any]] = found.get("tasks", ())
            yield from tasks
            if len(tasks) < PAGE:
                return
            page += 1

    def projects(self) -> Iterator[Mapping[str, Any]]:
        """Yield the `id` and the `description` of all projects, the newest first. Errors are those of `get`."""
        page = 1
        while True:
            found = self.get("/api/projects/", page=page, page_size=PAGE, include="id,description")
            yield from found["results"]
            if found["next"] is None:
                return
            page += 1

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        if self._clock() >= self._renewal:
            self._renew()
        response = self._send(method, path, given)
        if response.status_code == 401:  # it has ended early, as after a change of the server's clock
            self._renew()
            response = self._send(method, path, given)
        return self._read(method, path, response)

    def _read(self, method: str, path: str, response: httpx.Response) -> Any:
        status = response.status_code
        if status == 404 and method == "GET":
            return None
        if status in (401, 403):
            raise PermissionError(
                f"Label Studio at {self.url} does not let the user of {TOKEN} do `{method} {path}` (status {status}). "
                "Use the token of a user who may."
            )
        if status >= 500 or status == 429:
            raise UnreachableError(
                f"Label Studio at {self.url} failed at `{method} {path}` with status {status}. Wait until the server "
                "is well again, or look into its log; then call `trainer.fit` again."
            )
        if 300 <= status < 400:
            raise self._not_label_studio(f"`{method} {path}` redirects to {shown(response.headers.get('location'))}")
        if status >= 400:
            raise ValueError(
                f"Label Studio at {self.url} refused `{method} {path}` with status {status}: "
                f"{self._reason(response)}. Check that `url` is its address, and that the project fits the run."
            )
        try:
            return response.json() if response.content else None
        except ValueError:
            pass
        raise self._not_label_studio(f"`{method} {path}` gave no JSON")

    def _renew(self) -> None:
        """Exchange the token for an access token."""
        path = "/api/token/refresh/"
        response = self._send("POST", path, {"json": {"refresh": self._token}}, with_access=False)
        if response.status_code in (400, 401, 403):
            raise PermissionError(
                f"Label Studio at {self.url} does not accept the token in {TOKEN}: {self._reason(response)}. Make a "
                "new personal access token there (Account & Settings, Personal Access Token), and set "
                f"{TOKEN} to it."
            )
        read = self._read("POST", path, response)
        if not isinstance(read, dict) or not isinstance(read.get("access"), str):
            raise self._not_label_studio("it gave no access token")
        self._access = Secret(read["access"])
        self._renewal = self._clock() + 0.8 * _lifetime(self._access)

    def _send(self, method: str, path: str, given: Mapping[str, Any], *, with_access: bool = True) -> httpx.Response:
        import httpx

        headers = {"Authorization": Secret(f"Bearer {self._access}")} if with_access else {}
        try:
            with _in_silence():
                return self._http.request(method, self.url + path, headers=headers, **given)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            why = said_shortly(error)
        # It is raised out here, since the error of httpx has the request, and that has the token.
        raise UnreachableError(
            f"Label Studio at {self.url} cannot be reached ({self._without_secrets(why)}). Start it, or pass "
            "`LabelStudio(url=...)`, its address; then call `trainer.fit` again."
        )

    def _not_label_studio(self, why: str) -> ValueError:
        return ValueError(
            f"What answers at {self.url} is not Label Studio: {why}. Pass `LabelStudio(url=...)`, its address."
        )

    def _reason(self, response: httpx.Response) -> str:
        said: Any = None
        with suppress(ValueError):
            said = response.json()
        if isinstance(said, dict):
            said = said.get("validation_errors") or said.get("detail")
        return self._without_secrets(shown(said, most=400)) if said else "it gave no reason"

    def _without_secrets(self, text: str) -> str:
        for secret in filter(None, (self._token, self._access)):
            text = text.replace(secret, "***")
        return text


@contextmanager
def _in_silence() -> Iterator[None]:
    """Let httpx log no line a request, unless somebody looks for faults."""
    logger = logging.getLogger("httpx")
    before = logger.level
    if logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _lifetime(token: str) -> float:
    """Return for how many seconds an access token is valid, as it says itself."""
    with suppress(ValueError, KeyError, TypeError, IndexError):
        payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return float(payload["exp"]) - float(payload["iat"])
    return LIFETIME
