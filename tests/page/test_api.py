"""What browsers ask the page, and what it answers: each line of its interface."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_al.page.board import Board
from lightning_al.page.place import Place
from lightning_al.page.requests import BadRequestError
from tests.support.page import CLASSES, Client, ask, progress, query, served


def test_the_state_says_where_the_run_stands(tmp_path: Path) -> None:
    ask(tmp_path).tell(progress(tmp_path, "asking", audit={"acc": 0.5}, examples={0: [3]}), title="my run")
    with served(tmp_path) as service:
        client = Client(service)
        client.answer(3, 0, name="first", seconds=2.5)
        state = client.state()
    assert state["query"] == {"id": "round-000", "total": 4, "answered": 1}
    assert [one["name"] for one in state["classes"]] == list(CLASSES.values())
    assert state["classes"][0]["examples"] == [{"point": 3, "url": "api/picture/3/0"}]
    told = {"key": "photos/3.png", "answer": {"class": 0}, "who": "anna", "corrects": False, "pictures": 1}
    assert state["last"] == [{"id": "first", "point": 3, **told}]
    assert state["counts"] == {"cat": 3, "dog": 1}
    figures = ("phase", "running", "round", "title", "spent", "budget", "seconds", "curve", "metric", "audit", "people")
    assert [state[name] for name in figures] == [
        "asking",
        True,
        0,
        "my run",
        4,
        20,
        12.5,
        [[4, 0.5]],
        "val_acc",
        {"acc": 0.5},
        ["anna"],
    ]


def test_items_come_in_the_order_of_the_query_with_what_is_shown_of_them(tmp_path: Path) -> None:
    texts = ["a <b>film</b>", {"age": 41, "label": 1}, 5 * [0.5], "b"]
    ask(tmp_path, query(tmp_path, items=texts))
    with served(tmp_path) as service:
        client = Client(service)
        found = client.post("next", n=3)
        assert [(item["point"], item["key"]) for item in found["items"]] == [
            (7, "photos/7.png"),
            (3, "photos/3.png"),
            (11, "photos/11.png"),
        ]
        assert found["items"][0]["texts"] == ["a <b>film</b>"]
        assert found["items"][1]["rows"] == [["age", "41"]]
        assert {name: found["items"][0][name] for name in ("pictures", "fault", "suggestion", "grid")} == {
            "pictures": [],
            "fault": None,
            "suggestion": None,
            "grid": False,
        }
        assert found["lease_seconds"] == 60
        assert client.next(seen=[7, 3, 11]) == [5]


def test_an_answer_is_kept_once_however_often_it_is_sent(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        client = Client(service)
        assert [client.answer(7, 1, name="a") for _ in range(3)] == [None] * 3
        assert len(service.board.store.ledger.by_id) == 1
        assert client.answer(7, 2, name="a") == "This id is that of another answer"
        assert client.answer(7, 2, name="b") == "You have answered this item already"
        assert client.next() == [3, 11, 5]
    with served(tmp_path) as again:
        assert Client(again).answer(7, 1, name="a") is None
        assert again.board.store.ledger.answers[7].answer == {"class": 1}


def test_a_point_twice_in_one_request_is_answered_once(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        both = [{"id": name, "point": 7, "answer": {"class": number}} for number, name in enumerate("ab")]
        found = Client(service).post("answers", answers=[both[0], both[0], both[1]])
    assert found["kept"] == ["a", "a"]
    assert found["refused"] == [{"id": "b", "reason": "You have answered this item already"}]


def test_two_people_share_a_query(tmp_path: Path) -> None:
    now = [0.0]
    ask(tmp_path)
    with served(tmp_path, clock=lambda: now[0]) as service:
        anna, ben = Client(service), Client(service, "other", "ben")
        assert anna.next(2) == [7, 3]
        assert ben.next() == [11, 5]
        assert anna.state()["people"] == ["anna", "ben"]
        now[0] = 50.0
        assert anna.next(0, seen=[7, 3]) == []  # which keeps them for her
        now[0] = 70.0
        assert ben.next(seen=[11, 5]) == []
        now[0] = 111.0
        assert ben.next(seen=[11, 5]) == [7, 3]
        assert ben.answer(7, 0) is None
        assert anna.answer(7, 1) == "ben has answered this item already"
        assert anna.post("next", seen=[7, 3])["gone"] == [7, 3]
        now[0] = 1000.0
        assert anna.next() == [3, 11, 5]
        assert anna.state()["people"] == ["anna"]


def test_what_the_model_believes_is_published_on_request_and_for_no_audit_point(tmp_path: Path) -> None:
    believing = query(tmp_path, probs=[[0.1, 0.9, 0.0], None, [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]])
    ask(tmp_path / "hidden", believing)
    ask(tmp_path / "shown", believing, suggestions=True)
    with served(tmp_path / "hidden") as service:
        items = Client(service).post("next")["items"]
        assert {(item["suggestion"], item["grid"]) for item in items} == {(None, False)}
        assert "0.9" not in Place(tmp_path / "hidden").published.read_text()
    with served(tmp_path / "shown") as service:
        items = Client(service).post("next")["items"]
        assert [item["suggestion"] for item in items][:2] == [{"class": 1, "probability": 0.9}, None]
        assert [item["grid"] for item in items] == [True, False, True, True]
        Client(service).answer(7, suggestion_shown=True)
        assert service.board.store.ledger.answers[7].suggestion_shown


def test_undo_asks_again(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        client, other = Client(service), Client(service, "other", "ben")
        client.answer(7, 0, name="a")
        client.answer(3, 0, name="b")
        found = client.undo("a", name="u")
        assert found["kept"] == ["u"]
        assert found["item"]["point"] == 7
        assert client.undo("a", name="u")["kept"] == ["u"]
        assert other.next() == [11, 5]  # it is kept for who took it back
        assert client.state()["query"]["answered"] == 1
        refused = [client.undo(of)["refused"][0]["reason"] for of in ("a", "u", "none")]
        assert refused == ["This answer was taken back already", "There is no such answer", "There is no such answer"]
        assert client.undo("b", name="a")["refused"][0]["reason"] == "This id is that of something else"
        assert client.answer(7, 1, name="c") is None
        assert client.undo("a")["refused"][0]["reason"] == "This answer was taken back already"
        assert service.board.store.ledger.answers[7].answer == {"class": 1}


def test_undo_after_the_round_is_a_correction_by_all_but_skip(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    with served(tmp_path) as service:
        client = Client(service)
        client.answer(7, 0, name="a")
        publishing.note_taken(1)
        publishing.tell(progress(tmp_path, answered=[7, 3, 11, 5]))
        assert client.state()["query"] is None
        assert client.answer(3, 0) == "This item is not asked for any more"
        again = client.undo("a")["item"]
        assert (again["point"], again["earlier"]) == (7, True)
        assert client.answer(7, {"skip": True}) == (
            "This item is of an earlier round, and its label was used. It may be unusable, but not skipped"
        )
        assert client.answer(7, {"unusable": "dark"}) is None
        assert client.state()["last"][0]["corrects"]


def test_audit_items_are_offered_while_the_model_fits(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    publishing.tell(progress(tmp_path, ahead=[20, 21], show=lambda points: query(tmp_path, points)))
    with served(tmp_path) as service:
        client = Client(service)
        assert client.state()["ahead"] == 2
        assert client.next() == [20, 21]
        client.answer(20)
        assert client.state()["ahead"] == 1
        ask(tmp_path, query(tmp_path, [20, 9], 1))
        assert client.state()["query"] == {"id": "round-001", "total": 2, "answered": 1}
        assert client.next() == [9]  # and 21 waits
        assert client.next(seen=[9]) == [21]


def test_a_run_that_is_done_takes_nothing(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    with served(tmp_path) as service:
        client = Client(service)
        client.answer(7, name="a")
        publishing.tell(progress(tmp_path, "done", answered=[7]))
        assert client.next() == []
        said = {client.answer(3), client.undo("a")["refused"][0]["reason"]}
        assert said == {"The run is done, so nothing changes it any more"}


def test_items_that_the_fit_has_not_written_yet_wait(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    (publishing.place.items / "7.json").unlink()
    with served(tmp_path) as service:
        assert Client(service).next() == [3, 11, 5]


def test_a_run_whose_process_ended_is_told_as_stopped(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    plain = json.loads(publishing.place.published.read_text()) | {"process": 2**22 + 1}
    for phase, told in (("asking", "asking"), ("fitting", "stopped")):
        publishing.place.published.write_text(json.dumps({**plain, "phase": phase}))
        with served(tmp_path) as service:
            state = Client(service).state()
            assert (state["phase"], state["running"]) == (told, False)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"query": 3, "ahead": null}', None])
def test_a_page_without_a_run_says_so(tmp_path: Path, content: str | None) -> None:
    place = Place(tmp_path)
    place.make()
    if content is not None:
        place.published.write_text(content)
    with served(tmp_path) as service:
        client = Client(service)
        assert client.state()["phase"] == "stopped"
        assert client.next() == []
        assert client.answer(7) == "This item is not asked for any more"


def test_changes_are_streamed(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        told: list[Any] = []

        def listen() -> None:
            with Client(service).http.stream("GET", "/api/events") as stream:
                told.extend(json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))

        thread = threading.Thread(target=listen)
        thread.start()
        time.sleep(0.3)
        Client(service, who=None).answer(7)
        time.sleep(0.5)
        service.ends = True
        thread.join(10)
    assert [state["query"]["answered"] for state in told] == [0, 1]


GOOD = {"id": "a", "point": 7, "answer": {"class": 1}}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("next", {"n": True}, "Give a whole number of items"),
        ("next", {"seen": "7"}, "is no list of points"),
        ("next", {"seen": [7.5]}, "is no list of points"),
        ("next", {"client": ""}, "is no name of a browser"),
        ("next", {"who": 3}, "is not how somebody is called"),
        ("next", {"who": "a\nb"}, "is not how somebody is called"),
        ("answers", {"answers": {}}, "is no list of answers"),
        ("answers", {"answers": [GOOD] * 501}, "is no list of answers"),
        ("answers", {"answers": [3]}, "is no object that answers"),
        ("answers", {"answers": [{**GOOD, "id": "x" * 101}]}, "is no name of an answer"),
        ("answers", {"answers": [{**GOOD, "point": "7"}]}, "Give the index of an item"),
        ("answers", {"answers": [{**GOOD, "point": -1}]}, "Give the index of an item"),
        ("answers", {"answers": [{**GOOD, "seconds": -1}]}, "Give how long the answer took"),
        ("answers", {"answers": [{**GOOD, "suggestion_shown": 1}]}, "Give true or false"),
        ("answers", {"answers": [{**GOOD, "answer": {"class": True}}]}, "Give one of `class` with a number"),
        ("answers", {"answers": [{**GOOD, "answer": {"class": 1, "skip": True}}]}, "Give one of `class` with a number"),
        ("answers", {"answers": [{**GOOD, "answer": {"other": " "}}]}, "Give one of `class` with a number"),
        ("answers", {"answers": [{**GOOD, "answer": {"other": "x" * 2001}}]}, "Give one of `class` with a number"),
        ("undo", {"id": 3, "of": "a"}, "is no name of an answer"),
    ],
)
def test_what_no_page_sends_is_refused_and_nothing_is_kept(tmp_path: Path, path: str, body: Any, said: str) -> None:
    ask(tmp_path)
    board = Board(Place(tmp_path))
    acts = {"next": board.next, "answers": board.answer, "undo": board.undo}
    with pytest.raises(BadRequestError, match=said):
        acts[path]({"client": "tab", **body})
    assert not board.store.ledger.by_id
    board.close()


def test_a_bad_request_is_told_so(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        client = Client(service).http
        response = client.post("/api/next", json={"client": "tab", "n": "6"})
        assert (response.status_code, response.json()) == (400, {"error": "`n` is '6'. Give a whole number of items."})
        for content in ("", "3", "[" * 100_000, "1" * 5000, b"\xff"):
            response = client.post("/api/next", content=content, headers={"content-type": "application/json"})
            assert (response.status_code, response.json()) == (400, {"error": "A request is a JSON object."})


def test_a_class_that_there_is_not_is_refused(tmp_path: Path) -> None:
    ask(tmp_path)
    with served(tmp_path) as service:
        client = Client(service)
        assert client.answer(7, 3) == "There is no such class"
        assert client.answer(8, 1) == "This item is not asked for any more"
        assert client.answer(7, {"other": " half \ud800 a character "}) is None
        assert service.board.store.ledger.answers[7].answer == {"other": "half ? a character"}
