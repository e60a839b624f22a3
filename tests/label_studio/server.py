"""A real Label Studio on loopback, and people who label in it through its API as their browsers do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
VERSION = "1.23.2"
HOME = Path(
    os.environ.get("LABEL_STUDIO_HOME")
    or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", f"lightning_al/label-studio-{VERSION}")
).expanduser()

SECONDS = 300

SHORT_TOKENS = """
from datetime import timedelta

from core.settings.base import *

SENTRY_DSN = None  # which the next import reads from here

from label_studio.core.settings.label_studio import *

SIMPLE_JWT = {**globals().get("SIMPLE_JWT", {}), "ACCESS_TOKEN_LIFETIME": timedelta(seconds=2)}
"""
"""Settings in which access tokens end after two seconds."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """A server with a database of its own.

    Args:
        folder: Where its data lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        own = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder / "data"),
            "DJANGO_DB": "sqlite",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABEL_STUDIO", "PYTHON"))}
        return {**kept, **own}

    def start(self, *, short_tokens: bool = False) -> None:
        environment: dict[str, str] = {}
        if short_tokens:
            (self.folder / "short_tokens.py").write_text(SHORT_TOKENS)
            environment = {"PYTHONPATH": str(self.folder), "DJANGO_SETTINGS_MODULE": "short_tokens"}
        command = [str(HOME / "bin" / "label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(self.port), "--username", "anna@example.com", "--password", "anna-pass"]
        if not self.folder.joinpath("data").exists():
            shutil.copytree(HOME / "empty", self.folder / "data")
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, "Label Studio did not start."
            time.sleep(0.5)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def tokens(self, *arguments: str) -> dict[str, str]:
        """The personal access tokens of some people, by name."""
        made = subprocess.run(
            [str(HOME / "bin" / "python"), str(HERE / "people.py"), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        found = re.search(r"^tokens (.*)$", made.stdout, re.MULTILINE)
        assert found, made.stderr[-2000:]
        return dict(json.loads(found[1]))


class Person:
    """Somebody who labels."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.token = token
        self.http = httpx.Client(base_url=server.url, timeout=60)
        self.log_in()

    def close(self) -> None:
        self.http.close()

    def log_in(self) -> None:
        answer = self.http.post("/api/token/refresh/", json={"refresh": self.token})
        self.http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access']}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        if answer.status_code == 401:
            self.log_in()
            answer = self.http.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def tasks(self, project: int) -> dict[int, Mapping[str, Any]]:
        """The tasks of a project by the index of their point, the newest of each."""
        found = self.ask("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
        ours = [task for task in sorted(found, key=lambda task: task["id"]) if "lightning_al" in task["data"]]
        return {int(task["data"]["lightning_al"].split(":")[2]): task for task in ours}

    def label(self, task: Mapping[str, Any], choice: str | None, note: str = "", *, about: str = "text") -> int:
        """Annotate a task, as the editor does when somebody presses Submit; return the number of the annotation."""
        body = {"result": result_of(choice, note, about), "lead_time": 2.5}
        return int(self.ask("POST", f"/api/tasks/{task['id']}/annotations/", body)["id"])

    def write(self, task: Mapping[str, Any], text: str) -> int:
        """Write a label into the field that a project without named classes has."""
        result = [{"from_name": "label", "to_name": "text", "type": "textarea", "value": {"text": [text]}}]
        body = {"result": result, "lead_time": 2.5}
        return int(self.ask("POST", f"/api/tasks/{task['id']}/annotations/", body)["id"])

    def skip(self, task: Mapping[str, Any]) -> int:
        body = {"result": [], "was_cancelled": True, "lead_time": 1.0}
        return int(self.ask("POST", f"/api/tasks/{task['id']}/annotations/", body)["id"])

    def begin(self, task: Mapping[str, Any], choice: str) -> None:
        """Choose a class without submitting it."""
        body = {"result": result_of(choice, "", "text"), "lead_time": 1.0, "draft_id": 0}
        self.ask("POST", f"/api/tasks/{task['id']}/drafts", body)

    def change(self, annotation: int, choice: str | None, note: str = "", *, about: str = "text") -> None:
        """Change an annotation, as the editor does when somebody presses Update."""
        self.ask("PATCH", f"/api/annotations/{annotation}/", {"result": result_of(choice, note, about)})


def result_of(choice: str | None, note: str, about: str) -> list[dict[str, Any]]:
    part = {"to_name": about}
    chosen = {**part, "from_name": "label", "type": "choices", "value": {"choices": [choice]}}
    written = {**part, "from_name": "note", "type": "textarea", "value": {"text": [note]}}
    return [*([chosen] if choice is not None else []), *([written] if note else [])]
