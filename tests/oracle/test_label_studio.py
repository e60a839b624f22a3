"""What Label Studio's replies mean, and what a project is configured as; tests/label_studio asks a real server.

`label_studio_export.json` is what Label Studio 1.23.2 exported after two people had worked in it.
"""

from __future__ import annotations

import io
import json
import pickle
import socket
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lightning_al import LabelStudio, Other, Query, Skip, Unusable
from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.files.shown_item import ShownItem, held_address, shown_item
from lightning_al.oracle.label_studio.answers import Reader, UndecidedError, Verdict
from lightning_al.oracle.label_studio.client import TOKEN, Client, UnreachableError
from lightning_al.oracle.label_studio.labelling_config import Parts, labelling_config, labelling_in, parts_in
from lightning_al.oracle.label_studio.remembered import FILE, Remembered, Task
from lightning_al.oracle.label_studio.task_data import (
    are_files,
    data_of,
    parts_of,
    picture_file,
    pictures_of,
    prediction_of,
)

ANIMALS = {0: "cat", 1: "dog", 2: 'a & "b" <x>', 3: "$dog"}
NAMES = {1: "Anna", 2: "Ben"}

EXPORT = json.loads(Path(__file__).with_name("label_studio_export.json").read_text())
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image" choice="single" required="true">'
    '<Choice value="cat"/><Choice value="dog"/><Choice value="a &amp; &quot;b&quot; &lt;x&gt;"/><Choice value="$dog" />'
    '<Choice value="unusable"/></Choices><TextArea name="note" toName="image"/></View>'
)


def reader(annotators: int = 1, classes: Mapping[int, str] = ANIMALS, config: str = CONFIG) -> Reader:
    return Reader(
        labelling_in(config, classes), classes, annotators, lambda number: NAMES.get(number, f"user {number}")
    )


def annotation(choice: str | None, by: int = 1, at: int = 0, note: str = "", **more: Any) -> dict[str, Any]:
    """An annotation as the export has it."""
    chosen = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}
    written = {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": [note]}}
    result = [*([] if choice is None else [chosen]), *([written] if note else [])]
    when = f"2026-11-26T20:40:{at:02}.000000Z"
    return {"id": at, "completed_by": by, "result": result, "updated_at": when, "lead_time": 2.0, **more}


# Annotations


def test_an_export_of_label_studio_is_read() -> None:
    disagree, skipped, empty, unusable = [task["annotations"] for task in EXPORT]
    assert [reader().answer(one) for one in disagree[:1]] == [3]
    with pytest.raises(AnswerError, match=r"cannot be read: 'zebra' names no class"):
        reader().answer(disagree[1])
    # The other answer is enough where one is asked for.
    assert reader().verdict(disagree) == Verdict(3, 2.5, "Anna")
    with pytest.raises(AnswerError, match="the annotation of Ben cannot be read"):
        reader(2).verdict(disagree)
    assert reader().verdict(skipped) == Verdict(Skip(), 2.5, "Ben")
    with pytest.raises(AnswerError, match="the annotation of Anna is empty; choose a label"):
        reader().verdict(empty)
    assert reader().verdict(unusable) == Verdict(Unusable("blurred"), 2.5, "Anna")
    assert reader(2).verdict(unusable) is None
    assert reader().verdict([]) is None


@given(st.lists(st.sampled_from(["cat", "dog", "$dog"]), min_size=1, max_size=7), st.integers(1, 7))
def test_an_answer_counts_if_more_than_half_gave_it(choices: list[str], annotators: int) -> None:
    given = [annotation(choice, by=number) for number, choice in enumerate(choices)]
    right = [choice for choice in set(choices) if sum(one == choice for one in choices) > len(choices) / 2]
    if len(choices) < annotators:
        assert reader(annotators).verdict(given) is None
    elif not right:
        with pytest.raises(UndecidedError, match="people answered without a majority"):
            reader(annotators).verdict(given)
    else:
        verdict = reader(annotators).verdict(given)
        assert verdict is not None
        assert ANIMALS[verdict.answer] == right[0]
        assert verdict.seconds == 2.0 * len(choices)
        agree, *others = verdict.who.split("; ")
        assert len(agree.split(", ")) == choices.count(right[0])
        assert [other.split(": ")[1] for other in others] == list(
            dict.fromkeys(sorted(set(choices) - set(right), key=lambda one: (-choices.count(one), choices.index(one))))
        )


def test_the_last_annotation_of_a_person_counts() -> None:
    twice = [annotation("dog", at=5), annotation("cat", at=3), annotation("cat", by=2, at=4)]
    with pytest.raises(UndecidedError, match=r"dog \(Anna\); cat \(Ben\)|cat \(Ben\); dog \(Anna\)"):
        reader(2).verdict(twice)
    assert reader().verdict(twice[:2]) == Verdict(1, 2.0, "Anna")


def test_answers_that_are_no_label_agree_whatever_their_reason() -> None:
    dark = [annotation("unusable", by=1, note="dark"), annotation("unusable", by=2, note="blurred")]
    assert reader(2).verdict(dark) == Verdict(Unusable("dark"), 4.0, "Anna, Ben")
    foxes = [annotation("other", by=1, note="A fox"), annotation("other", by=2, note="a  fox")]
    skips = [annotation("cat", by=5), annotation(None, by=6, was_cancelled=True, lead_time=None)]
    assert reader(2).verdict([*foxes, annotation("other", by=3, note="a fox")]) == Verdict(
        Other("A fox"), 6.0, "Anna, Ben, user 3"
    )
    with pytest.raises(UndecidedError, match=r"other \(A fox\) \(Anna, Ben\); cat \(user 5\); skip \(user 6\)"):
        reader(2).verdict([*foxes, *skips])
    assert reader(2).verdict([annotation("cat"), *skips]) == Verdict(0, None, "Anna, user 5; user 6: skip")


def test_many_names_are_cut_to_what_a_journal_takes() -> None:
    verdict = reader().verdict([annotation("cat", by=number) for number in range(100, 140)])
    assert verdict is not None
    assert len(verdict.who) == 200
    assert verdict.who.startswith("user 100, user 101")


def test_what_is_no_single_label_is_refused() -> None:
    two = annotation("cat")
    two["result"][0]["value"]["choices"] = ["cat", "dog"]
    with pytest.raises(AnswerError, match=r"has 2 labels, .*; choose one"):
        reader().answer(two)
    with pytest.raises(AnswerError, match="'other' does not say what it is"):
        reader().answer(annotation("other"))
    written = annotation(None)
    written["result"] = [{"from_name": "label", "type": "textarea", "value": {"text": ["correct: 3"]}}]
    numbers = reader(classes={}, config=labelling_config(Parts(text=True), {}))
    with pytest.raises(AnswerError, match="write the label alone"):
        numbers.answer(written)
    written["result"][0]["value"]["text"] = "3"
    assert numbers.answer(written) == 3
    written["result"][0]["value"] = {"number": 2.5}
    assert numbers.answer(written) == 2.5


# The project


@given(
    st.lists(st.text(min_size=1, max_size=5).filter(lambda name: name.strip()), max_size=12, unique=True),
    st.builds(Parts, st.integers(0, 3), st.booleans(), st.booleans()),
)
def test_a_configuration_has_a_choice_for_each_class_and_a_place_for_each_part(names: list[str], parts: Parts) -> None:
    classes = dict(enumerate(names))
    config = labelling_config(parts, classes)
    found = labelling_in(config, classes)
    tags = [tag.tag for tag in ElementTree.fromstring(config).iter()]
    assert (tags.count("Image"), "Table" in tags) == (parts.pictures, parts.table)
    assert ("Text" in tags) == (parts.text or parts == Parts())
    assert parts_in(config) == Parts(parts.pictures, "Text" in tags, parts.table)
    assert found.shows in config
    choices = [choice.attrib["value"] for choice in ElementTree.fromstring(config).iter("Choice")]
    assert not any("$" in choice for choice in choices)
    written = len({choice.strip() for choice in choices[: len(names)]}) == len(names)  # no two look the same
    folded = {" ".join(name.split()).casefold() for name in names}
    if written and len(folded) == len(names):
        read = [found.choices[choice] for choice in choices[: len(names)]]
        assert read == names
    shown = shown_item(lambda: {"photo": torch.rand(4, 4), "age": 41})
    pictures = pictures_of(shown, found)
    assert len(pictures) == parts.pictures
    data = data_of(shown, pictures, found, key="a.png", known_by="ab:0:7")
    assert found.variables < set(data)
    assert (data["key"], data["lightning_al"]) == ("a.png", "ab:0:7")


def test_images_alone_are_files() -> None:
    image = shown_item(lambda: Image.new("RGB", (3000, 1500)), partial(held_address, longer_side=2048))
    assert parts_of([image]) == Parts(1)
    labelling = labelling_in(labelling_config(parts_of([image]), ANIMALS), ANIMALS)
    assert are_files(labelling)
    ending, content = picture_file(pictures_of(image, labelling)[0])
    with Image.open(io.BytesIO(content)) as opened:
        assert (ending, opened.size) == ("jpeg", (2048, 1024))
    for parts in (Parts(2), Parts(1, text=True), Parts(text=True)):
        assert not are_files(labelling_in(labelling_config(parts, ANIMALS), ANIMALS))
    # What cannot be shown is a card that says so.
    fault = ShownItem(fault="OSError: é")
    with Image.open(io.BytesIO(picture_file(pictures_of(fault, labelling)[0])[1])) as card:
        assert len(card.convert("L").getcolors()) > 1
    text = labelling_in(labelling_config(Parts(), ANIMALS), ANIMALS)
    assert data_of(fault, [], text, key="a", known_by="b")["text"] == "This item cannot be shown: OSError: é."


def test_a_project_of_ones_own_is_filled_by_its_variables() -> None:
    config = (
        '<View><Header value="$said"/><Header value="Look:"/><HyperText name="h" value="$html"/>'
        '<Table name="t" value="$values"/><Choices name="mood" toName="h"><Choice value="good"/></Choices>'
        '<Choices name="animal" toName="h"><Choice value="Katze" alias="cat"/></Choices></View>'
    )
    labelling = labelling_in(config, {0: "cat"})
    assert (labelling.control, labelling.shows, labelling.variables) == ("animal", "h", {"said", "html", "values"})
    shown = ShownItem(texts=["1 < 2"], rows=[("age", "41")])
    data = data_of(shown, [], labelling, key="a.txt", known_by="ab:0:7")
    assert (data["said"], data["html"], data["values"]) == ("a.txt", "1 &lt; 2", {"age": "41"})
    with pytest.raises(ValueError, match="'dog' are missing"):
        labelling_in(config, {0: "cat", 1: "dog"})
    with pytest.raises(ValueError, match="no field in which a label can be written"):
        labelling_in(config, {})
    with pytest.raises(ValueError, match="cannot read the labelling configuration of the project"):
        labelling_in("<View>", {})


def test_what_the_model_believes_is_a_choice_of_the_configuration() -> None:
    labelling = labelling_in(labelling_config(Parts(1), ANIMALS), ANIMALS)
    told = prediction_of([0.1, 0.2, 0.1, 0.6], ANIMALS, labelling, round=2)
    assert told is not None
    assert (told["score"], told["model_version"]) == (0.6, "round 2")
    chosen = told["result"][0]["value"]["choices"][0]
    assert labelling.choices[chosen] == "$dog"
    assert prediction_of(None, ANIMALS, labelling, round=2) is None
    assert prediction_of([0.0] * 4 + [1.0], ANIMALS, labelling, round=2) is None
    texts = labelling_in(labelling_config(Parts(1), {}), {})
    assert prediction_of([0.4, 0.6], {}, texts, round=2) is None


# The run's folder


def test_what_is_remembered_is_read_again_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert Remembered.read(tmp_path) is None
    aside = {"set aside": "unusable", "reason": "dark"}
    remembered = Remembered(project=3, is_ours=True, count=2, tasks={4: Task(-1, 7), 9: Task(0, 7, True, aside, "now")})
    remembered.write(tmp_path)
    assert Remembered.read(tmp_path) == remembered
    for text in ("{}", "[]", "cut off", '{"tasks": {"a": {}}}', '{"tasks": {"1": {"what": 2}}}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ValueError, match=r"What the run remembers of Label Studio in .* is damaged"):
            Remembered.read(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="where the run remembers its project"):
        remembered.write(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("key", [None, 3, "", "ab:1", "ab:1:2:3", "ab:x:2", "cd:1:2", "ab:1:2\n"])
def test_the_key_of_another_task_is_none_of_ours(key: Any) -> None:
    assert Remembered("ab").task_of_key(key) is None


# Mistakes


def query(folder: Path | None) -> Query:
    return Query(0, [7], items=["a"], classes=ANIMALS, folder=folder)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "", "http://", 3, "http://[::1"])
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match=r"is no address\. Pass one such as"):
        LabelStudio(url)


@pytest.mark.parametrize("url", ["http://me:secret@localhost", "http://secret@localhost", "http://localhost/?t=secret"])
def test_an_address_with_a_password_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ValueError, match="got an address with more than host") as error:
        LabelStudio(url)
    assert "secret" not in str(error.value)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="annotators"):
        LabelStudio(annotators=0)
    with pytest.raises(ValueError, match="project"):
        LabelStudio(project=0)
    oracle = LabelStudio("https://labels.example.org/ls/", wait=5)
    assert pickle.loads(pickle.dumps(oracle)) == oracle
    assert oracle.how_to_answer(query(None)) == "Label them in Label Studio at https://labels.example.org/ls"


def test_a_run_without_a_folder_or_a_token_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(ValueError, match="remembers its project in the run's folder"):
        LabelStudio().label(query(None))
    with pytest.raises(PermissionError, match=r"`LabelStudio` found no token\. Set"):
        LabelStudio().label(query(tmp_path))


def test_httpx_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ModuleNotFoundError, match="needs httpx, which is not installed"):
        Client("http://localhost", "token")


def test_a_server_that_is_down_is_named_and_the_token_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the error nor in a traceback with the values of variables, nor is it written to the folder."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv(TOKEN, "the-secret-token")
        with pytest.raises(UnreachableError, match=r"cannot be reached \(.*\)\. Start it, or pass") as error:
            LabelStudio(url).label(query(tmp_path))
        assert not isinstance(error.value.__context__, httpx.HTTPError)  # which has the request
        told = traceback.TracebackException(type(error.value), error.value, error.tb, capture_locals=True)
        shown = "".join(told.format())
        assert "client" in shown
        assert "the-secret-token" not in shown
        with pytest.warns(UserWarning, match="asks again in 3 seconds"):
            assert dict(LabelStudio(url, wait=3).label(query(tmp_path))) == {}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"project" in written
    assert b"the-secret-token" not in written
