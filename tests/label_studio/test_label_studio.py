"""Queries answered in a real Label Studio, whatever happens to it meanwhile.

`tests/label_studio/install.sh` installs one. Where there is none, the tests are skipped.
"""

from __future__ import annotations

import collections
import csv
import io
import json
import logging
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al import (
    ActiveDataModule,
    ActiveLearning,
    Answer,
    Correction,
    LabelStudio,
    Other,
    Query,
    Skip,
    Unusable,
)
from lightning_al.oracle.label_studio.client import TOKEN, Client, UnreachableError
from lightning_al.oracle.label_studio.labelling_config import Parts, labelling_config
from lightning_al.oracle.label_studio.remembered import FILE, Remembered
from lightning_al.run.journal import Journal
from lightning_al.testing import check_oracle
from tests.label_studio.kills import kill
from tests.label_studio.server import HOME, Person, Server
from tests.support.tasks import CLASSES, LitMLP, points, trainer

# Needs a server of 1 GB, which takes a minute to start.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (HOME / "installed").exists(), reason="see install.sh")]

ANIMALS = {0: "cat", 1: "dog", 2: "polar bear", 3: 'a "$1" & <b>'}
TEXTS = {7: "It purrs.", 3: "It barks.", 11: "It swims.", 5: "http://example.org"}


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, str]) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        tokens |= server.tokens("anna", "ben", "carl")
        yield server
    finally:
        server.stop()


@pytest.fixture
def anna(server: Server, tokens: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    monkeypatch.setenv(TOKEN, tokens["anna"])
    with closing(Person(server, tokens["anna"])) as person:
        yield person


@pytest.fixture
def ben(server: Server, tokens: Mapping[str, str]) -> Iterator[Person]:
    with closing(Person(server, tokens["ben"])) as person:
        yield person


@pytest.fixture
def carl(server: Server, tokens: Mapping[str, str]) -> Iterator[Person]:
    with closing(Person(server, tokens["carl"])) as person:
        yield person


def query(folder: Path, indices: Sequence[int] = tuple(TEXTS), round: int = 0, **given: Any) -> Query:
    items = [TEXTS.get(index, str(index)) for index in indices]
    keys = [f"texts/{index}" for index in indices]
    return Query(round, indices, **{"items": items, "keys": keys, "classes": ANIMALS, "folder": folder, **given})


def answers(oracle: LabelStudio, asked: Query) -> dict[int, Any]:
    """What an oracle answers; the effort is left out."""
    found = dict(oracle.label(asked))
    return {index: answer.label if isinstance(answer, Answer) else answer for index, answer in found.items()}


def project_of(folder: Path) -> int:
    remembered = Remembered.read(folder)
    assert remembered is not None
    assert remembered.project is not None
    return remembered.project


# Labelling


def test_a_query_becomes_tasks_and_annotations_become_answers(
    tmp_path: Path, server: Server, anna: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    assert answers(oracle, asked) == {}
    project = project_of(tmp_path)
    assert oracle.how_to_answer(asked) == f"Label them in Label Studio at {server.url}/projects/{project}"
    tasks = anna.tasks(project)
    assert {index: task["data"]["text"] for index, task in tasks.items()} == TEXTS
    assert {task["data"]["key"] for task in tasks.values()} == set(asked.keys)
    assert all(task["predictions"] == [] for task in tasks.values())
    settings = anna.ask("GET", f"/api/projects/{project}/")
    assert (settings["title"], settings["maximum_annotations"]) == (tmp_path.name, 1)
    anna.label(tasks[7], ANIMALS[3].replace("$", "\uff04"))  # as the choice is written, which the data may not fill
    anna.label(tasks[3], "unusable", "blurred")
    anna.skip(tasks[11])
    found = dict(oracle.label(asked))
    assert found == {
        7: Answer(3, 2.5, "anna"),
        3: Answer(Unusable("blurred"), 2.5, "anna"),
        11: Answer(Skip(), 1, "anna"),
    }
    anna.label(tasks[5], "other", "a fox")
    rest = query(tmp_path, [5], answers={7: 3, 3: {"set aside": "unusable", "reason": "blurred"}, 11: None})
    assert answers(oracle, rest) == {5: Other("a fox")}
    ours = [record for record in caplog.records if f":{server.port}" in record.getMessage()]
    assert "GET" in "".join(record.getMessage() for record in ours)  # those of the people here
    assert not [record for record in ours if "return_task_ids" in record.getMessage()]


def test_a_task_that_is_begun_is_no_answer(tmp_path: Path, server: Server, anna: Person) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    anna.begin(anna.tasks(project_of(tmp_path))[7], "dog")
    assert answers(oracle, asked) == {}


def test_empty_and_unknown_answers_are_refused_and_pending(tmp_path: Path, server: Server, anna: Person) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    empty = anna.label(tasks[7], None)
    unknown = anna.label(tasks[3], "zebra")
    anna.label(tasks[11], "dog")
    good: dict[int, Any] = {}
    pairs = iter(oracle.label(asked))
    with pytest.raises(ValueError, match="could not take up 2 annotations") as error:
        collections.deque(good.update([pair]) for pair in pairs)
    assert good == {11: Answer(1, 2.5, "anna")}
    assert f"task {tasks[7]['id']} (index 7): the annotation of anna is empty; choose a label" in str(error.value)
    assert "'zebra' names no class" in str(error.value)
    with pytest.warns(UserWarning, match="could not take up 2 annotations"):
        assert answers(LabelStudio(server.url, wait=9), asked) == {11: 1}
    anna.change(empty, "cat")
    anna.change(unknown, "dog")
    assert answers(oracle, asked) == {7: 0, 3: 1, 11: 1}


def test_several_people_decide_by_majority(
    tmp_path: Path, server: Server, anna: Person, ben: Person, carl: Person
) -> None:
    oracle, asked = LabelStudio(server.url, annotators=2), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    for person, choice in ((anna, "dog"), (ben, "cat")):
        person.label(tasks[7], choice)
    for person in (anna, ben):
        person.label(tasks[3], "polar bear")
    anna.label(tasks[11], "cat")
    with pytest.warns(UserWarning, match=r"2 people answered without a majority: dog \(anna\); cat \(ben\)"):
        assert dict(oracle.label(asked)) == {3: Answer(2, 5.0, "anna, ben")}
    carl.label(tasks[7], "cat")
    found = dict(oracle.label(query(tmp_path, [7, 11, 5], answers={3: 2})))
    assert found == {7: Answer(0, 7.5, "ben, carl; anna: dog")}


def test_a_change_after_an_answer_was_taken_corrects_it(tmp_path: Path, server: Server, anna: Person) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    made = {index: anna.label(tasks[index], "cat") for index in (7, 3)}
    assert answers(oracle, asked) == {7: 0, 3: 0}
    rest = query(tmp_path, [11, 5], answers={7: 0, 3: 0})
    assert answers(oracle, rest) == {}
    anna.change(made[7], "dog")
    # A fit that is cut off before the correction is recorded finds it again.
    next(iter(oracle.label(rest)))  # type: ignore[call-overload]
    assert answers(oracle, rest) == {7: Correction(1)}
    assert answers(oracle, rest) == {}
    # So does a query of a later round.
    later = query(tmp_path, [2], round=1)
    assert answers(oracle, later) == {}
    anna.change(made[3], "unusable", "dark")
    assert answers(oracle, later) == {3: Correction(Unusable("dark"))}
    anna.label(anna.tasks(project_of(tmp_path))[2], "cat")
    anna.change(made[3], "dog")
    assert answers(LabelStudio(server.url, wait=9), later) == {2: 0, 3: Correction(1)}


def test_an_answer_that_was_recorded_but_not_remembered_is_not_given_twice(
    tmp_path: Path, server: Server, anna: Person
) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    remembered = (tmp_path / FILE).read_text()
    made = anna.label(tasks[7], "cat")
    assert answers(oracle, asked) == {7: 0}
    (tmp_path / FILE).write_text(remembered)
    rest = query(tmp_path, [3, 11, 5], answers={7: 0})
    assert answers(oracle, rest) == {}
    anna.change(made, "dog")
    assert answers(oracle, rest) == {7: Correction(1)}


def test_it_keeps_the_promises_of_an_oracle(tmp_path: Path, server: Server, anna: Person) -> None:
    asked = query(tmp_path)
    labelled: set[int] = set()

    def feed(part: Query) -> None:
        answers(LabelStudio(server.url), part)
        for index, task in anna.tasks(project_of(tmp_path)).items():
            if index not in labelled:
                labelled.add(index)
                anna.label(task, "dog")

    check_oracle(LabelStudio(server.url), query=asked, classes=list(ANIMALS.values()), feed=feed, seconds=60)


# Items


def test_images_are_uploaded_as_files_and_anything_else_is_in_the_data(
    tmp_path: Path, server: Server, anna: Person
) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 3000, 3), dtype=np.uint8))
    items = [(torch.rand(3, 20, 30), 1), large, Image.new("I;16", (40, 40), 60000)]
    asked = query(tmp_path, [7, 3, 11, 4, 5], items=[*items, items[0], items[0]])
    # A crop of a photo is shown whole, if its file can be read.
    large.resize((900, 600)).save(tmp_path / "photo.jpg")
    (tmp_path / "damaged.jpg").write_bytes(b"no image")
    asked.paths = [None, None, None, tmp_path / "photo.jpg", tmp_path / "damaged.jpg"]
    answers(LabelStudio(server.url), asked)
    tasks = anna.tasks(project_of(tmp_path))
    sizes: dict[int, tuple[int, int]] = {}
    for index, task in tasks.items():
        assert task["data"]["image"].startswith("/data/upload/")
        answer = anna.http.get(task["data"]["image"])
        with Image.open(io.BytesIO(answer.content)) as image:
            sizes[index] = image.size
    assert sizes == {7: (30, 20), 3: (2048, 1024), 11: (40, 40), 4: (900, 600), 5: (30, 20)}
    anna.label(tasks[7], "dog", about="image")
    assert answers(LabelStudio(server.url), asked) == {7: 1}
    # A query of other items extends the configuration.
    mixed = query(tmp_path, [8, 9], round=1, items=[{"photo": items[0][0], "age": 41, "label": 0}, ZeroDivisionError])
    answers(LabelStudio(server.url), mixed)
    tasks = anna.tasks(project_of(tmp_path))
    assert tasks[8]["data"]["table"] == {"age": "41"}
    assert tasks[8]["data"]["image"].startswith("data:image/png")
    anna.label(tasks[8], "cat", about="image")
    assert answers(LabelStudio(server.url), mixed) == {8: 0}


def test_labels_without_named_classes_are_written(tmp_path: Path, server: Server, anna: Person) -> None:
    asked = query(tmp_path, classes={})
    answers(LabelStudio(server.url), asked)
    tasks = anna.tasks(project_of(tmp_path))
    for index, text in {7: "3", 3: "2.5", 11: "a cat"}.items():
        anna.write(tasks[index], text)
    assert answers(LabelStudio(server.url), asked) == {7: 3, 3: 2.5, 11: "a cat"}


def test_what_the_model_believes_goes_along_on_request_but_never_for_audit_points(
    tmp_path: Path, server: Server, anna: Person
) -> None:
    probs = [[0.1, 0.7, 0.1, 0.1], None, [0.1, 0.1, 0.1, 0.7], [0.6, 0.4, 0.0, 0.0]]
    asked = query(tmp_path, round=4, probs=probs)
    answers(LabelStudio(server.url, suggestions=True), asked)
    tasks = anna.tasks(project_of(tmp_path))
    found = {index: anna.ask("GET", f"/api/predictions?task={task['id']}") for index, task in tasks.items()}
    believed = {
        index: (one[0]["result"][0]["value"]["choices"], one[0]["score"], one[0]["model_version"])
        for index, one in found.items()
        if one
    }
    assert believed == {
        7: (["dog"], 0.7, "round 4"),
        11: ([ANIMALS[3].replace("$", "\uff04")], 0.7, "round 4"),
        5: (["cat"], 0.6, "round 4"),
    }


def test_a_project_of_ones_own_is_used_if_it_has_the_classes(tmp_path: Path, server: Server, anna: Person) -> None:
    config = (
        '<View><Text name="said" value="$sentence"/><Choices name="animal" toName="said">{}</Choices>'
        '<Choices name="mood" toName="said"><Choice value="good"/></Choices></View>'
    )
    right = "".join(f'<Choice value="{name}"/>' for name in ("dog", "cat", "fox"))
    made = [
        anna.ask("POST", "/api/projects/", {"title": "own", "label_config": config.format(choices)})["id"]
        for choices in (right, '<Choice value="dog"/>')
    ]
    asked = query(tmp_path / "a", classes={0: "cat", 1: "dog"})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    anna.ask("POST", f"/api/projects/{made[0]}/import", [{"data": {"sentence": "a task of somebody else"}}])
    oracle = LabelStudio(server.url, project=made[0])
    assert answers(oracle, asked) == {}
    tasks = anna.tasks(made[0])
    assert {index: task["data"]["sentence"] for index, task in tasks.items()} == TEXTS
    result = {"from_name": "animal", "to_name": "said", "type": "choices", "value": {"choices": ["dog"]}}
    anna.ask("POST", f"/api/tasks/{tasks[7]['id']}/annotations/", {"result": [result], "lead_time": 1})
    assert answers(oracle, asked) == {7: 1}
    with pytest.raises(ValueError, match="has no `Choices` with all classes of the run: 'cat' are missing"):
        answers(LabelStudio(server.url, project=made[1]), query(tmp_path / "b", classes={0: "cat", 1: "dog"}))
    with pytest.raises(ValueError, match="has its tasks in project"):
        answers(LabelStudio(server.url, project=made[1]), asked)


# What may happen


def test_what_is_imported_once_is_not_imported_again(tmp_path: Path, server: Server, anna: Person) -> None:
    """Neither by a second call, nor after a kill between the import and the note of it, nor in a new project."""
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    project, before = (
        project_of(tmp_path),
        {index: task["id"] for index, task in anna.tasks(project_of(tmp_path)).items()},
    )
    kept = json.loads((tmp_path / FILE).read_text())
    for lost in ({}, {"tasks": {}}, {"tasks": {}, "count": 0, "project": None}):
        (tmp_path / FILE).write_text(json.dumps(kept | lost))
        assert answers(oracle, asked) == {}
        assert project_of(tmp_path) == project
        listed = anna.ask("GET", f"/api/tasks?project={project}&page_size=100")["tasks"]
        assert len(listed) == len(before)
        assert {index: task["id"] for index, task in anna.tasks(project).items()} == before


def test_a_run_that_was_killed_after_the_import_keeps_what_the_project_shows(
    tmp_path: Path, server: Server, anna: Person
) -> None:
    """Somebody labels the tasks before the run starts again, which does not know of them yet."""
    oracle, asked = LabelStudio(server.url), query(tmp_path, items=[{"age": index} for index in TEXTS])
    answers(oracle, asked)
    project = project_of(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(kept | {"tasks": {}, "count": 0}))
    anna.label(anna.tasks(project)[7], "dog", about="table")
    assert answers(oracle, asked) == {7: 1}
    assert len(anna.ask("GET", f"/api/tasks?project={project}&page_size=100")["tasks"]) == len(TEXTS)


def test_a_deleted_task_is_imported_again(tmp_path: Path, server: Server, anna: Person) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    anna.ask("DELETE", f"/api/tasks/{tasks[7]['id']}/")
    anna.label(tasks[3], "dog")
    assert answers(oracle, asked) == {3: 1}
    again = anna.tasks(project_of(tmp_path))
    assert set(again) == set(tasks)
    assert again[7]["id"] != tasks[7]["id"]
    anna.label(again[7], "cat")
    assert answers(oracle, asked) == {7: 0, 3: 1}


def test_a_task_without_an_answer_serves_the_next_query_of_its_point(
    tmp_path: Path, server: Server, anna: Person
) -> None:
    oracle = LabelStudio(server.url, accept_partial=1)
    asked = query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    anna.label(tasks[7], "cat")
    assert answers(oracle, asked) == {7: 0}
    # Index 3 returned to the pool; index 7 was given back, so its old annotation is no new answer.
    later = query(tmp_path, [3, 7], round=1)
    assert answers(oracle, later) == {}
    again = anna.tasks(project_of(tmp_path))
    assert again[3]["id"] == tasks[3]["id"]
    assert again[7]["id"] != tasks[7]["id"]
    anna.label(again[3], "dog")
    anna.label(again[7], "polar bear")
    assert answers(oracle, later) == {3: 1, 7: 2}


def test_a_deleted_project_and_one_of_another_run_are_named(tmp_path: Path, server: Server, anna: Person) -> None:
    oracle = LabelStudio(server.url)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        answers(oracle, query(tmp_path / name))
    first, second = (json.loads((tmp_path / name / FILE).read_text()) for name in ("a", "b"))
    (tmp_path / "a" / FILE).write_text(json.dumps(first | {"project": second["project"]}))
    with pytest.raises(ValueError, match="was not made for the run in"):
        answers(oracle, query(tmp_path / "a"))
    anna.ask("DELETE", f"/api/projects/{second['project']}/")
    with pytest.raises(ValueError, match=r"is not in Label Studio at .* Pass the number"):
        answers(oracle, query(tmp_path / "b"))
    (tmp_path / "b" / FILE).unlink()
    with pytest.raises(ValueError, match=r"Project 999999 is not in Label Studio"):
        answers(LabelStudio(server.url, project=999999), query(tmp_path / "b"))
    assert answers(oracle, query(tmp_path / "b")) == {}


def told(caught: BaseException) -> str:
    """All that a traceback may show, with the values of variables, but for those of the test itself."""
    assert caught.__traceback__ is not None
    assert caught.__traceback__.tb_next is not None
    assert caught.__context__ is None
    whole = traceback.TracebackException(type(caught), caught, caught.__traceback__.tb_next, capture_locals=True)
    return "".join(whole.format())


def test_wrong_and_ended_tokens_are_refused_and_shown_nowhere(
    tmp_path: Path,
    server: Server,
    tokens: Mapping[str, str],
    anna: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = query(tmp_path)
    wrong = tokens["anna"][:-3] + ("AAA" if tokens["anna"][-3:] != "AAA" else "BBB")
    for token in (wrong, "no token at all", server.tokens("--expired", "anna")["anna"]):
        monkeypatch.setenv(TOKEN, token)
        with pytest.raises(PermissionError, match="does not accept the token in LABEL_STUDIO_TOKEN") as error:
            LabelStudio(server.url).label(asked)
        assert token not in told(error.value)
        assert token not in caplog.text
    monkeypatch.setenv(TOKEN, tokens["anna"])
    answers(LabelStudio(server.url), asked)
    with pytest.raises(PermissionError, match="does not let the user of"), Client(server.url, tokens["anna"]) as client:
        client.post("/api/organizations/", {"title": "another"})
    assert tokens["anna"] not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and tokens["anna"].encode() in path.read_bytes()]


def test_other_servers_are_not_taken_for_label_studio(server: Server, anna: Person, tokens: Mapping[str, str]) -> None:
    with (
        pytest.raises(ValueError, match="Check that `url` is its address, and that"),
        Client(f"{server.url}/projects", tokens["anna"]) as client,
    ):
        client.get("/api/projects/")
    own = {"title": "table", "label_config": labelling_config(Parts(text=True), ANIMALS)}
    project = anna.ask("POST", "/api/projects/", own)["id"]
    anna.ask("POST", f"/api/projects/{project}/import", [{"data": {"text": "a"}}])
    anna.label(anna.ask("GET", f"/api/tasks?project={project}")["tasks"][0], "cat")
    for path, why in (("/user/login/", "redirects"), (f"/api/projects/{project}/export", "gave no JSON")):
        with (
            pytest.raises(ValueError, match=f"is not Label Studio: .* {why}"),
            Client(server.url, tokens["anna"]) as client,
        ):
            client.get(path, exportType="CSV")
    own = {"title": "own", "label_config": '<View><Text name="a" value="$b"/></View>'}
    path = f"/api/projects/{anna.ask('POST', '/api/projects/', own)['id']}/import"
    with pytest.raises(ValueError, match="key is expected in task data"), Client(server.url, tokens["anna"]) as client:
        client.post(path, [{"data": {"c": "d"}}])


def test_tasks_and_projects_are_listed_page_by_page(server: Server, anna: Person, tokens: Mapping[str, str]) -> None:
    project = anna.ask("POST", "/api/projects/", {"title": "many"})["id"]
    for number in (1000, 1, 998):
        anna.ask("POST", f"/api/projects/{project}/import", [{"data": {"text": "a"}}] * number)
        with Client(server.url, tokens["anna"]) as client:
            listed = [task["id"] for task in client.tasks(project)]
            assert len(listed) == len(set(listed)) == anna.ask("GET", f"/api/projects/{project}/")["task_number"]
            assert project in [one["id"] for one in client.projects()]


def test_a_server_that_is_down_is_waited_for_and_one_that_starts_again_goes_on(
    tmp_path: Path, server: Server, anna: Person, tokens: Mapping[str, str]
) -> None:
    oracle, asked = LabelStudio(server.url), query(tmp_path)
    answers(oracle, asked)
    tasks = anna.tasks(project_of(tmp_path))
    anna.label(tasks[7], "dog")
    server.stop()
    try:
        with pytest.raises(UnreachableError, match=r"cannot be reached .* Start it") as error:
            oracle.label(asked)
        assert tokens["anna"] not in told(error.value)
        with pytest.warns(UserWarning, match="asks again in 3 seconds"):
            assert dict(LabelStudio(server.url, wait=3).label(asked)) == {}
    finally:
        server.start(short_tokens=True)
    assert answers(oracle, asked) == {7: 1}
    database = server.folder / "data" / "label_studio.sqlite3"
    database.rename(database.with_suffix(".away"))
    try:
        with pytest.raises(UnreachableError, match=r"with status 500. Wait until the server is well again"):
            oracle.label(asked)
    finally:
        database.with_suffix(".away").rename(database)
    # The server now gives tokens for two seconds.
    with Client(server.url, tokens["anna"]) as client:
        for _ in range(4):
            assert client.get(f"/api/projects/{project_of(tmp_path)}/")["id"] == project_of(tmp_path)
            time.sleep(1.5)
    with Client(server.url, tokens["anna"], clock=lambda: 0.0) as client:  # which never takes a token for ended
        for _ in range(2):
            assert client.get(f"/api/projects/{project_of(tmp_path)}/")["id"] == project_of(tmp_path)
            time.sleep(3)


# A whole run


def test_a_run_is_labelled_by_two_people_while_it_waits(
    tmp_path: Path, server: Server, anna: Person, ben: Person, tokens: Mapping[str, str]
) -> None:
    """Its journal has each answer once, with who gave it, a correction, and never the token."""
    folder, names, stopped = tmp_path / "run", [f"class {number}" for number in range(CLASSES)], threading.Event()
    given: dict[int, list[str]] = {}

    def label() -> None:
        while not stopped.is_set():
            remembered = Remembered.read(folder) if folder.exists() else None
            if remembered is not None and remembered.project is not None:
                for index, task in anna.tasks(remembered.project).items():
                    if index not in given:
                        person = (anna, ben)[len(given) % 2]
                        right = names[index % CLASSES]
                        made = person.label(task, names[(index + 1) % CLASSES] if not given else right, about="table")
                        if not given:
                            first.extend([index, made])
                        given[index] = [right]
                if first and len(given) >= 8 and len(first) == 2:
                    anna.change(first[1], names[first[0] % CLASSES], about="table")
                    first.append(0)
            time.sleep(0.3)

    first: list[int] = []
    people = threading.Thread(target=label)
    people.start()
    try:
        active = ActiveLearning(
            "random", query_size=4, max_rounds=3, folder=folder, oracle=LabelStudio(server.url, wait=0.5)
        )
        data = ActiveDataModule(points(40), initial_size=4, classes=names)
        trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
    finally:
        stopped.set()
        people.join(60)
    records = Journal.read(folder)
    asked = [index for round in records.rounds for index in round["indices"]]
    assert len(asked) == len(set(asked)) == 8
    with (folder / "labels.csv").open(newline="") as file:
        rows = {int(row["index"]): (row["who"], row["seconds"]) for row in csv.DictReader(file)}
    assert {rows[index] for index in asked} == {("anna", "2.5"), ("ben", "2.5")}
    labels = dict(data.pool.labels)
    assert {index: labels[index] for index in asked} == {index: index % CLASSES for index in asked}
    corrected = [change for change in records.changes if change.index == first[0]]
    assert [change.label for change in corrected] == [first[0] % CLASSES]
    assert tokens["anna"].encode() not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_that_is_killed_at_each_step_loses_and_repeats_nothing(
    tmp_path: Path, server: Server, tokens: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, tokens["anna"])
    found = kill(tmp_path / "run", server, tokens, 20)
    assert all(any(name in step for step in found.kills) for name in ("Client.post import", "Journal.answer"))
    assert (found.answers, found.lost, found.twice, found.imported_twice, found.wrong) == (16, [], [], [], [])
