"""A list of attacks on the page, each tried on a server that listens."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lightning_al.page.place import Place
from lightning_al.page.safety import HEADERS, LARGEST_BODY, cookie_of, session_of
from lightning_al.page.server import Service, serve
from lightning_al.page.store import TABLE, Store, read_events
from tests.support.page import PLACES, Client, ask, query, served


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    ask(tmp_path, hosts=["hub.example"])
    with served(tmp_path) as service:
        yield service


def request(service: Service, path: str, method: str = "GET", body: Any = None, **headers: str | None) -> Any:
    """Send a request as an attacker's program could; None leaves out a header that a good one has."""
    address = PLACES[service.place.folder].removeprefix("http://")
    good = {"Host": address, "Cookie": f"{cookie_of(service.token)}={session_of(service.token)}"}
    given = {**good, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if method == "POST" and "Content-Length" not in given:
            given["Content-Length"] = str(len(content))
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content if method == "POST" else None)
        response = connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        return response
    finally:
        connection.close()


JSON = {"Content_Type": "application/json"}
NEXT = {"client": "tab"}
PRIVATE = ["/api/state", "/api/events", "/api/picture/7/0", "/page.js", "/page.css"]


@pytest.mark.parametrize("path", ["/", *PRIVATE])
def test_without_the_cookie_nothing_is_told(service: Service, path: str) -> None:
    wrong = f"{cookie_of(service.token)}={session_of('another token')}"
    for cookie in (None, wrong, f"{cookie_of(service.token)}={service.token}", "\xe9=\xff"):
        response = request(service, path, Cookie=cookie)
        assert response.status == 401
        assert b"photos" not in response.content
        assert response.getheader("set-cookie") is None
    assert request(service, "/api/next", "POST", NEXT, Cookie=None, **JSON).status == 401


def test_a_wrong_token_opens_nothing(service: Service) -> None:
    for token in ("", service.token[:-1], service.token + "x", "%C3%A9", session_of(service.token)):
        response = request(service, f"/?token={token}", Cookie=None)
        assert (response.status, response.getheader("set-cookie")) == (401, None)


def test_the_token_opens_it_by_a_strict_cookie_that_does_not_have_it(service: Service) -> None:
    response = request(service, f"/?token={service.token}", Cookie=None)
    cookie = response.getheader("set-cookie")
    assert response.status == 200
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {"httponly", "samesite=strict", "path=/"}
    assert service.token not in cookie + response.content.decode()
    assert request(service, "/", Cookie=cookie.split(";")[0]).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "10.0.0.1", "127.0.0.1@evil.com", None])
def test_a_name_that_is_not_this_machine_is_refused(service: Service, host: str | None) -> None:
    """As after DNS rebinding, where a site's own name leads to this machine."""
    response = request(service, "/api/state", Host=host)
    assert response.status in (400, 421)
    assert b"cat" not in response.content


@pytest.mark.parametrize("host", ["localhost:9999", "[::1]:80", "hub.example"])
def test_tunnels_and_named_proxies_reach_it(service: Service, host: str) -> None:
    assert request(service, "/api/state", Host=host).status == 200
    assert request(service, "/api/next", "POST", NEXT, Host=host, Origin=f"http://{host}", **JSON).status == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:3000", "null", "file://", "http://[", "http://hub.example.evil"],
)
def test_another_site_changes_nothing(service: Service, origin: str) -> None:
    body = {"client": "tab", "answers": [{"id": "a", "point": 7, "answer": {"class": 1}}]}
    response = request(service, "/api/answers", "POST", body, Origin=origin, **JSON)
    assert response.status == 403
    assert response.getheader("access-control-allow-origin") is None
    assert not service.board.store.ledger.by_id


def test_a_form_or_a_picture_of_another_site_is_refused(service: Service) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        assert request(service, "/api/next", "POST", NEXT, Content_Type=kind).status == 415
    for site in ("cross-site", "same-site"):
        assert request(service, "/api/picture/7/0", Sec_Fetch_Site=site).status == 403
    assert request(service, "/api/state", "OPTIONS", Origin="https://evil.example").status == 403


def test_every_answer_forbids_what_a_page_does_not_need(service: Service) -> None:
    for path in ("/", "/page.js", "/api/state", "/api/picture/7/0", "/none", "/?token=wrong"):
        response = request(service, path)
        assert {name: response.getheader(name) for name in HEADERS} == HEADERS
        assert response.getheader("server") is None
    assert "unsafe" not in HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/picture/../../published.json",
        "/api/picture/%2e%2e/0",
        "/api/picture/7/..%2f..%2ftoken",
        "/api/picture/7/0%00",
        "/api/picture/-7/0",
        "/../token",
        "/token",
        "/server.json",
        "/page.html/../token",
        "//evil.example/",
        "/api/picture/7/1",
        "/api/picture/99999999999999999999999999/0",
    ],
)
def test_no_path_leads_to_another_file(service: Service, path: str) -> None:
    response = request(service, path)
    assert response.status in (400, 404)
    assert service.token.encode() not in response.content


def test_only_items_that_are_asked_for_are_served(service: Service) -> None:
    (service.place.items / "8.json").write_text((service.place.items / "7.json").read_text())
    assert [request(service, f"/api/picture/{point}/0").status for point in (7, 8, 6)] == [200, 404, 404]


def test_a_link_in_the_place_of_an_item_is_not_followed(service: Service, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("L", (8, 8)).save(secret)
    for name in ("7-0.png", "3.json"):
        (service.place.items / name).unlink()
    (service.place.items / "7-0.png").symlink_to(secret)
    (service.place.items / "3.json").symlink_to(service.place.items / "5.json")
    assert [request(service, f"/api/picture/{point}/0").status for point in (7, 3, 5)] == [422, 404, 200]
    assert 3 not in Client(service).next()
    moved = tmp_path / "moved"
    service.place.items.rename(moved)
    service.place.items.symlink_to(moved)
    assert request(service, "/api/picture/11/0").status == 404


@pytest.mark.parametrize("name", ["../token", "/etc/passwd", "7-0.png/../../token", "7-0.svg"])
def test_an_item_names_only_its_own_pictures(service: Service, name: str) -> None:
    plain = json.loads((service.place.items / "7.json").read_text())
    (service.place.items / "7.json").write_text(json.dumps({**plain, "pictures": [{"file": name}]}))
    assert request(service, "/api/picture/7/0").status == 404


def test_large_requests_are_refused(service: Service) -> None:
    large = b"[" + b" " * LARGEST_BODY + b"]"
    assert request(service, "/api/answers", "POST", large, **JSON).status == 413
    for length in ("-1", "1e3", str(2**70)):
        assert request(service, "/api/answers", "POST", b"", Content_Length=length, **JSON).status in (400, 413)
    chunks = b"".join(b"10000\r\n%s\r\n" % (b" " * 0x10000) for _ in range(17)) + b"0\r\n\r\n"
    headers = {"Transfer_Encoding": "chunked", "Content_Length": None, **JSON}
    assert request(service, "/api/answers", "POST", chunks, **headers).status == 413


def test_html_in_keys_and_texts_is_data_in_json(tmp_path: Path) -> None:
    script = "</script><script>alert(1)</script>"
    ask(tmp_path, query(tmp_path, [7], keys=[script], items=[script], classes={0: script}))
    with served(tmp_path) as service:
        response = Client(service).http.post("/api/next", json=NEXT)
        assert response.headers["content-type"] == "application/json"
        assert response.json()["items"][0]["key"] == script
        assert response.json()["state"]["classes"][0]["name"] == script
        assert request(service, "/").content.count(b"<script") == 1


def test_the_token_is_its_owners_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.make()
    token = place.keep_token()
    assert stat.S_IMODE(place.token.stat().st_mode) == 0o600
    assert place.keep_token() == token
    place.token.chmod(0o644)
    assert place.known_token() is None
    assert place.keep_token() != token
    other = tmp_path / "other"
    place.token.rename(other)
    place.token.symlink_to(other)
    assert place.known_token() is None
    for content in ("short", "x" * 200, "a b" * 20, ""):
        place.token.unlink()
        place.token.write_text(content)
        place.token.chmod(0o600)
        assert place.known_token() is None


@pytest.mark.parametrize("name", ["page", "page/items"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link, where the page of a run keeps"):
        serve(tmp_path)
    assert not os.listdir(tmp_path / "elsewhere")


def test_a_database_that_no_page_wrote_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    for made in ("CREATE TABLE events (seq)", f"{TABLE}; CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END"):
        database = sqlite3.connect(path)
        database.executescript(made)
        database.close()
        for read in (Store, read_events):
            with pytest.raises(ValueError, match="is a database that no page wrote"):
                read(path)
        path.unlink()
    path.symlink_to(tmp_path / "other")
    (tmp_path / "other").touch()
    with pytest.raises(ValueError, match="is a link, where a file is expected"):
        Store(path)
