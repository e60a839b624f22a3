"""The page as an oracle: what people answer reaches the run once, whatever is killed when."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_al import ActiveDataModule, Oracle, Other, Page, Query, Skip, Unusable
from lightning_al.oracle.answer import Answer
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.oracle.page.taking import taken
from lightning_al.oracle.progress import Progress
from lightning_al.page.board import Board
from lightning_al.page.place import Place
from lightning_al.page.server import Service, config_of, serve
from lightning_al.page.starting import start
from lightning_al.page.store import read_events
from lightning_al.run.journal import Journal
from lightning_al.run.recorded_labels import recorded_labels
from lightning_al.testing import check_oracle
from tests.support import programs
from tests.support.page import NUMBERS, Client, Remote, ask, person, progress, query, served
from tests.support.page_kills import NAMES, Around, Y, check_recorded, kill_page, label_of, run


def give(board: Board, point: int, answer: Any, **more: Any) -> str:
    name = f"id-{next(NUMBERS)}"
    plain = {"class": answer} if isinstance(answer, int) else answer
    told = board.answer({"client": "tab", "answers": [{"id": name, "point": point, "answer": plain, **more}]})
    assert told["kept"] == [name], told
    return name


def take(publishing: Publishing, asked: Query) -> dict[int, Any]:
    return {index: answer for some in taken(publishing, asked, None) for index, answer in some.items()}


# What the fit takes


def test_answers_are_taken_once_with_who_gave_them_and_how_long_it_took(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    assert take(publishing, asked) == {}
    for point, answer in ((7, 1), (3, {"skip": True}), (11, {"unusable": "dark"}), (5, {"other": "a fox"})):
        give(board, point, answer, seconds=2.5)
    assert take(publishing, asked) == {
        7: Answer(1, 2.5),
        3: Answer(Skip(), 2.5),
        11: Answer(Unusable("dark"), 2.5),
        5: Answer(Other("a fox"), 2.5),
    }
    assert take(publishing, asked) == {}
    board.close()


def test_an_answer_that_was_taken_back_in_time_is_not_taken(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    board.undo({"id": "u", "of": give(board, 7, 1)})
    assert take(publishing, asked) == {}
    give(board, 7, 2)
    assert take(publishing, asked) == {7: Answer(2)}
    board.close()


def test_a_later_answer_is_a_correction_which_is_taken_before_the_others(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    first = give(board, 7, 1)
    assert take(publishing, asked) == {7: Answer(1)}
    rest = query(tmp_path, [3, 11, 5], answers={7: 1})
    board.undo({"id": "u", "of": first})
    assert take(publishing, rest) == {}
    give(board, 3, 0)
    give(board, 7, {"unusable": "dark"})
    assert list(taken(publishing, rest, "ben")) == [
        {7: Correction(Unusable("dark"))},
        {3: Answer(0, None, "ben")},
    ]
    board.close()


def test_an_item_skipped_as_its_round_ended_keeps_its_label(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    first = give(board, 7, 1)
    take(publishing, asked)
    board.undo({"id": "u", "of": first})
    give(board, 7, {"skip": True})  # the query is still shown
    publishing.tell(progress(tmp_path, answered=[7]))
    ask(tmp_path, query(tmp_path, [9], 1))
    with pytest.warns(UserWarning, match="item 7 was skipped after its round had ended"):
        assert take(publishing, query(tmp_path, [9], 1)) == {}
    board.close()


def test_answers_that_came_ahead_are_known_and_taken_when_they_are_asked_for(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    publishing.tell(progress(tmp_path, ahead=[20, 21], show=lambda points: query(tmp_path, points)))
    board = Board(Place(tmp_path))
    assert Page().answered_ahead([20, 21], tmp_path) == []
    give(board, 21, 0)
    assert Page().answered_ahead([20, 21], tmp_path) == [21]
    assert Page().answered_ahead([20, 21], None) == ()
    assert take(publishing, query(tmp_path, [9], 1)) == {}
    ask(tmp_path, query(tmp_path, [21, 9], 2))
    assert take(publishing, query(tmp_path, [21, 9], 2)) == {21: Answer(0)}
    board.close()


def test_a_point_that_was_given_back_is_asked_for_anew(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    first = give(board, 7, 1)
    assert take(publishing, asked) == {7: Answer(1)}
    board.undo({"id": "u", "of": first})
    second = give(board, 7, 0)  # a correction that no fit took
    publishing.tell(progress(tmp_path, answered=[3], given_back={7: 4}))
    asked = query(tmp_path, [7, 9], 1)
    ask(tmp_path, asked)
    assert take(publishing, asked) == {}
    refused = board.undo({"id": "v", "of": second})["refused"]
    assert [one["reason"] for one in refused] == ["This answer was taken back already"]
    shown = board.next({"client": "tab"})
    assert [item["point"] for item in shown["items"]] == [7, 9]
    assert shown["state"]["query"] == {"id": "round-001", "total": 2, "answered": 0}
    assert shown["state"]["last"] == []
    give(board, 7, 2)
    assert board.state()["query"]["answered"] == 1
    assert [(one["point"], one["corrects"]) for one in board.state()["last"]] == [(7, False)]
    publishing.tell(progress(tmp_path, answered=[3], given_back={7: 4}))  # by a fit after one that was killed
    assert take(publishing, asked) == {7: Answer(2)}
    publishing.tell(progress(tmp_path, answered=[3, 9], given_back={7: 6}))  # once more
    assert take(publishing, query(tmp_path, [7], 2)) == {}
    board.close()


def test_an_answer_ahead_of_a_point_that_was_given_back_is_none(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    board = Board(Place(tmp_path))
    give(board, 7, 1)
    assert Page().answered_ahead([7], tmp_path) == [7]
    publishing.tell(progress(tmp_path, given_back={7: 0}))
    assert Page().answered_ahead([7], tmp_path) == []
    board.close()


def test_a_new_store_has_no_old_labels(tmp_path: Path) -> None:
    publishing, asked = ask(tmp_path), query(tmp_path)
    board = Board(Place(tmp_path))
    give(board, 7, 1)
    give(board, 3, 1)
    publishing.tell(progress(tmp_path, given_back={7: 0}))
    board.close()
    Place(tmp_path).store.unlink()
    publishing.tell(progress(tmp_path, given_back={7: 0}))
    ask(tmp_path)
    board = Board(Place(tmp_path))
    give(board, 7, 2)
    assert take(publishing, asked) == {7: Answer(2)}
    board.close()


class ByBoard(Oracle):
    """A page without a process, at which somebody answers at once all that it offers."""

    leaves_open = True

    def __init__(self) -> None:
        self.answers: dict[int, list[int]] = {}
        self.dies = False

    def follow(self, progress: Progress) -> None:
        assert progress.folder is not None
        Publishing(Place(progress.folder)).tell(progress)

    def label(self, query: Query) -> Any:
        assert query.folder is not None
        publishing = ask(query.folder, query)
        board = Board(Place(query.folder))
        for item in board.next({"client": "tab", "n": 24})["items"]:
            known = self.answers.setdefault(item["point"], [])
            known.append((label_of(item["point"]) + len(known)) % len(NAMES))  # another one each time
            give(board, item["point"], known[-1])
        board.close()
        if self.dies:
            self.dies = False
            raise RuntimeError("the machine failed")
        yield from taken(publishing, query, None)


def test_a_run_asks_anew_for_a_point_that_was_given_back(tmp_path: Path) -> None:
    """Its new answer is taken by the fit after one that failed before it recorded the answer."""
    folder, oracle = tmp_path / "run", ByBoard()
    run(folder, oracle, query_size=12)
    index = Journal.read(folder).rounds[0]["indices"][0]
    correct(folder, index, 3)
    give_back(folder, index)
    oracle.dies = True
    with pytest.raises(RuntimeError, match="the machine failed"):
        run(folder, oracle, query_size=12, budget=49)
    _, data = run(folder, oracle, query_size=12, budget=49)
    assert data.pool.num_unlabelled == 0
    new = (label_of(index) + 1) % len(NAMES)
    assert oracle.answers[index] == [label_of(index), new]
    assert all(len(known) == 1 for point, known in oracle.answers.items() if point != index)
    found = [(one.label, one.state) for one in recorded_labels(Journal.read(folder)) if one.index == index]
    assert found == [(None, "given back"), (new, "given")]


def test_a_fit_takes_the_answers_that_one_before_it_took_and_did_not_record(tmp_path: Path) -> None:
    """Also where that one was forked from the same program, with what it knew."""
    ask(tmp_path)
    board = Board(Place(tmp_path))
    give(board, 7, 1)
    if (child := os.fork()) == 0:
        code = 1
        try:
            code = 0 if take(ask(tmp_path), query(tmp_path)) == {7: Answer(1)} else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert take(ask(tmp_path), query(tmp_path)) == {7: Answer(1)}
    board.close()


class Ahead(Oracle):
    """Has an answer for an audit point as soon as the first fit begins, which fails once."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[int]]] = []
        self.has_failed = False

    def follow(self, progress: Progress) -> None:
        if progress.phase == "fitting" and not self.has_failed:
            self.has_failed = True
            raise RuntimeError("the machine failed")

    def answered_ahead(self, points: Any, folder: Path | None) -> Any:
        return list(points)[:1] if self.has_failed else []

    def label(self, query: Query) -> dict[int, int]:
        self.asked.append((query.round, list(query)))
        return {index: label_of(index) for index in query}


def test_answers_that_came_ahead_do_not_ask_for_the_initial_points_again(tmp_path: Path) -> None:
    oracle = Ahead()
    with pytest.raises(RuntimeError, match="the machine failed"):
        run(tmp_path / "run", oracle)
    active, data = run(tmp_path / "run", oracle)
    assert active.done
    assert [number for number, _ in oracle.asked] == [-1, 0, 1]
    asked = [index for _, points in oracle.asked for index in points]
    assert len(set(asked)) == len(asked) == data.pool.num_spent == 26


STEPS = st.lists(
    st.tuples(st.sampled_from(["answer", "undo", "take", "next"]), st.integers(0, 5), st.integers(0, 2)), max_size=40
)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_run_ends_with_what_the_store_says_whatever_is_killed_when(tmp_path: Path, steps: Any) -> None:
    """Against a journal that is a dict, and a fit that is killed before or after it records what it was given."""
    folder = Path(tmp_path, str(next(NUMBERS)))
    journal: dict[int, Any] = {}
    times: dict[int, int] = {}
    points = list(range(6))
    publishing, number = ask(folder, query(folder, points[:3])), 0
    board = Board(Place(folder))

    def poll(stage: int) -> None:
        """Record what is yielded. Stage 1 dies before the first is recorded, and 2 before the fit goes on."""
        shown = points[: 3 * (number + 1)][3 * number :]
        asked = [point for point in shown if point not in journal]
        known = {point: journal[point] for point in shown if point in journal}
        for some in taken(publishing, query(folder, asked, number, answers=known), None):
            if stage == 1:
                return
            for point, told in some.items():
                if isinstance(told, Correction):
                    assert point in journal
                    journal[point] = told.label
                else:
                    assert point not in journal
                    journal[point], times[point] = told.label, times.get(point, 0) + 1
            if stage == 2:
                return

    for kind, point, value in steps:
        if kind == "answer":
            name = f"id-{next(NUMBERS)}"
            body = {"id": name, "point": point, "answer": {"class": value}}
            board.answer({"client": "tab", "answers": [body]})
        elif kind == "undo" and point in board.store.ledger.answers:
            of = board.store.ledger.answers[point].id
            board.undo({"id": f"id-{next(NUMBERS)}", "of": of})
        elif kind == "take":
            poll(value)
        elif kind == "next" and number == 0 and all(point in journal for point in points[:3]):
            publishing.tell(progress(folder, answered=points[:3]))
            number = 1
            ask(folder, query(folder, points[3:], 1))
    poll(0)
    for point, event in board.store.ledger.answers.items():
        assert journal[point] == (event.answer or {})["class"]
    assert all(count == 1 for count in times.values())
    board.close()


# With a process that serves the page


def test_a_whole_run_by_page(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with person(folder) as anna, ThreadPoolExecutor() as pool:
        states = pool.submit(anna.answer_all, label_of)
        active, data = run(folder, Page(open_browser=False), budget_seconds=1000.0)
        told = states.result(60)
        assert anna.place.is_served()
    check_recorded(folder)
    assert active.done
    assert data.pool.num_spent == 26
    assert data.pool.audit.waiting == []
    efforts = Journal.read(folder).efforts
    assert {(effort.seconds, effort.who) for some in efforts for effort in some.values()} == {(2.0, "anna")}
    assert data.pool.label_seconds == 2.0 * 26
    phases = [state["phase"] for state in told]
    assert {"asking", "fitting", "done"} >= set(phases)
    assert phases[-1] == "done"
    last = told[-1]
    assert (last["spent"], last["budget"], last["seconds"], last["budget_seconds"]) == (26, 26, 52.0, 1000.0)
    assert last["metric"] == "audit_acc"
    assert [pair[0] for pair in last["curve"]] == [round.spent for round in active.history]
    assert last["counts"] == {name: Y[data.pool.labelled].tolist().count(i) for i, name in enumerate(NAMES)}
    assert (folder / "page" / "server.log").read_text() == ""


class Corrected(Around):
    """A page on which somebody answers each query, and corrects an answer when the run gets to a place.

    Args:
        anna: The person.
        place: The phase, and how many labels were paid for by then.
        dies: Whether the run fails at that place.
    """

    def __init__(self, anna: Remote, place: tuple[str, int], *, dies: bool = False) -> None:
        super().__init__()
        self.anna, self.place, self.dies = anna, place, dies
        self.corrected: int | None = None
        self.fits: list[int] = []

    def follow(self, progress: Progress) -> None:
        if (progress.phase, progress.spent) == self.place and self.corrected is None:
            last = self.anna.wait_for("next")["state"]["last"][0]
            self.corrected, wrong = last["point"], (last["answer"]["class"] + 1) % len(NAMES)
            assert self.anna.wait_for("undo", id="undo", of=last["id"])["kept"] == ["undo"]
            given = [{"id": "correction", "point": self.corrected, "answer": {"class": wrong}}]
            assert self.anna.wait_for("answers", answers=given)["kept"] == ["correction"]
            if self.dies:
                raise RuntimeError("the machine failed")
        if progress.phase == "fitting":
            self.fits.append(progress.spent)
        super().follow(progress)

    def label(self, query: Query) -> Any:
        yield from self.page.label(query)
        given = [{"id": f"a{point}", "point": point, "answer": {"class": label_of(point)}} for point in query]
        assert self.anna.wait_for("answers", answers=given)["refused"] == []
        yield from self.page.label(query)


def check_corrected(folder: Path, data: ActiveDataModule, oracle: Corrected) -> None:
    point = oracle.corrected
    assert point is not None
    wrong = (label_of(point) + 1) % len(NAMES)
    assert [(change.index, change.label) for change in Journal.read(folder).changes] == [(point, wrong)]
    assert data.pool.labels.get(point, data.pool.audit.answers.get(point)) == wrong
    rows = csv.DictReader((folder / "labels.csv").read_text().splitlines())
    (row,) = [row for row in rows if row["index"] == str(point)]
    assert (row["label"], row["state"]) == (str(wrong), "corrected")
    history = Journal.read_history(folder)
    assert history.done
    assert history[-1].corrected == [point]


@pytest.mark.long
def test_a_correction_during_the_last_fit_is_taken_after_it_and_the_fit_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with person(folder) as anna:
        oracle = Corrected(anna, ("done", 26))
        active, data = run(folder, oracle)
        assert anna.wait_for("next")["state"]["phase"] == "done"
    check_corrected(folder, data, oracle)
    assert active.done
    assert oracle.fits[-2:] == [26, 26]


@pytest.mark.long
def test_a_correction_that_the_last_fit_left_behind_is_taken_when_the_run_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with person(folder) as anna:
        oracle = Corrected(anna, ("done", 26), dies=True)
        with pytest.raises(RuntimeError, match="the machine failed"):
            run(folder, oracle)
        assert Journal.read_history(folder).done
        assert Journal.read(folder).changes == []
        _, data = run(folder, Page(open_browser=False))
        check_corrected(folder, data, oracle)
        rounds = len(Journal.read_history(folder))
        active, _ = run(folder, Page(open_browser=False))  # which finds nothing new
    assert (active.done, len(active.history), len(Journal.read(folder).changes)) == (True, rounds, 1)


@pytest.mark.slow  # one process of its own after each step of a whole run, a minute
def test_no_answer_is_lost_where_the_fit_is_killed_at_each_step(tmp_path: Path) -> None:
    """In a process that does no arithmetic, so that it can be forked."""
    command = [sys.executable, "-m", "tests.support.page_kills", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    queries = len(Journal.read(tmp_path / "run").queries)
    assert int(done.stdout.split()[-1]) >= 2 * queries  # before and after what was answered, or more often


class DyingBoard(Board):
    """Ends its process after an answer is on disk and before the browser hears of it."""

    def answer(self, body: Any) -> dict[str, Any]:
        super().answer(body)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_an_answer_that_was_on_disk_before_the_page_was_killed_is_kept_once(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            place = publishing.place
            listening = socket.create_server(("127.0.0.1", 0))
            place.server.write_text(json.dumps({"pid": os.getpid(), "port": listening.getsockname()[1]}))
            service = Service(place, place.keep_token(), DyingBoard(place))
            uvicorn.Server(config_of(service)).run(sockets=[listening])
        finally:
            os._exit(1)
    with person(tmp_path) as anna:
        body = {"answers": [{"id": "a", "point": 7, "answer": {"class": 1}}]}
        anna.wait_for("next")
        assert anna.post("answers", **body) is None
        os.waitpid(child, 0)
        assert take(publishing, query(tmp_path)) == {7: Answer(1, None, "anna")}
        assert start(publishing.place)
        assert anna.wait_for("answers", **body)["kept"] == ["a"]
    assert [event.id for event in read_events(publishing.place.store)] == ["a"]


@pytest.mark.slow  # a page's process is started after each kill, half a minute; the tests above kill it once
def test_no_answer_is_lost_where_the_page_is_killed(tmp_path: Path) -> None:
    assert kill_page(tmp_path / "run", kills=30) >= 1


@pytest.mark.long
def test_the_page_starts_once_and_keeps_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    asked = query(tmp_path)
    with person(tmp_path) as anna:
        assert list(Page(who="ben").label(asked)) == []
        place = anna.place
        before, process = place.address(), place.served_by()["pid"]
        assert opened == [before]
        assert Page().how_to_answer(asked) == f"Open {before}"
        assert not start(place)
        assert place.token.read_text() not in place.server.read_text() + Path(f"/proc/{process}/cmdline").read_text()
        again = subprocess.run(
            [sys.executable, "-m", "lightning_al.page", str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        assert (again.returncode, before in again.stderr) == (3, True)
        os.kill(process, signal.SIGKILL)
        while place.is_served():
            time.sleep(0.01)
        assert start(place)
        assert place.address() == before
        os.kill(place.served_by()["pid"], signal.SIGINT)
        while place.is_served():
            time.sleep(0.01)
        with socket.create_server(("127.0.0.1", place.served_by()["port"])) as taken_by_another:
            with pytest.raises(RuntimeError, match=r"did not start: .*cannot listen on this port"):
                start(place, taken_by_another.getsockname()[1])
            assert start(place)
        assert place.address() != before
        assert place.address().partition("?")[2] == before.partition("?")[2]


@pytest.mark.long
def test_ctrl_c_ends_a_page_that_a_job_in_the_background_started(tmp_path: Path) -> None:
    """There, SIGINT is ignored by what it starts; the signal comes as soon as the page listens."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in range(3):
            assert start(Place(tmp_path))
            process = Place(tmp_path).served_by()["pid"]
            os.kill(process, signal.SIGINT)
            deadline = time.monotonic() + 30
            while Place(tmp_path).is_served() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not Place(tmp_path).is_served()
    finally:
        signal.signal(signal.SIGINT, before)


STOPPED_WHILE_IT_LOOKS = """
import os, signal, sys, time
from lightning_al.page.server import Service, serve

sent = []

def is_to_end(service):
    if not sent:
        sent.append(os.kill(os.getpid(), signal.SIGINT))
        time.sleep(0.01)  # the main thread takes the signal meanwhile, and has not yet acted on it
    return False

Service.is_to_end = is_to_end
serve(sys.argv[1])
"""


def test_a_signal_that_comes_while_the_page_looks_whether_it_is_needed_ends_it(tmp_path: Path) -> None:
    ask(tmp_path)
    programs.run("-c", STOPPED_WHILE_IT_LOOKS, tmp_path, timeout=30, check=False)
    assert not Place(tmp_path).is_served()


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_by_another:
        port = taken_by_another.getsockname()[1]
        with pytest.raises(OSError, match=r"cannot listen on this port: .* Choose another one"):
            serve(tmp_path, port)


def test_the_process_ends_where_nobody_needs_it(tmp_path: Path) -> None:
    publishing = ask(tmp_path)
    with served(tmp_path) as service:
        assert not service.is_to_end()
        service.asked -= 601
        assert not service.is_to_end()
        publishing.tell(progress(tmp_path, "done"))
        assert service.is_to_end()
        Client(service).state()
        assert not service.is_to_end()
        service.asked -= 2
        publishing.place.store.unlink()
        assert service.is_to_end()


@pytest.mark.long
def test_it_keeps_the_promises_of_an_oracle(tmp_path: Path) -> None:
    asked = query(tmp_path)
    with person(tmp_path) as anna:

        def feed(part: Query) -> None:
            if len(part) == len(asked):
                list(Page(open_browser=False).label(part))
                given = [{"id": f"a{point}", "point": point, "answer": {"class": 1}} for point in part]
                anna.wait_for("answers", answers=given)

        check_oracle(Page(open_browser=False), query=asked, classes=list(asked.classes.values()), feed=feed, seconds=30)


def test_what_cannot_work_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="keeps its answers in the run's folder"):
        list(Page().label(Query(0, [1])))
    with pytest.raises(ValueError, match="but they have none with names"):
        list(Page().label(Query(0, [1], folder=tmp_path)))
    with pytest.raises(ValueError, match=r"is no port\. Pass a number"):
        Page(port=65_536)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "items").touch()
    with pytest.raises(ValueError, match="is a file, where the page of a run keeps"):
        list(Page().label(query(tmp_path)))
    monkeypatch.setattr("lightning_al.page.starting.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="serves its page by starlette and uvicorn"):
        list(Page().label(query(tmp_path / "other")))
