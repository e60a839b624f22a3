"""Queries as files: what people write into them is taken up line by line, whichever program saved it."""

from __future__ import annotations

import collections
import csv
import io
import os
import re
import tempfile
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lightning_al import ActiveDataModule, ActiveLearning, Answer, Correction, Files, Other, Query, Skip, Unusable
from lightning_al.data.image_folder import image_folder
from lightning_al.oracle.answers import AnswerError
from lightning_al.oracle.corrections import correct
from lightning_al.oracle.files.csv_rows import rows_of
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.oracle.files.points import Points, key_text
from lightning_al.oracle.files.shown_item import ShownItem, shown_item, with_file
from lightning_al.oracle.query import LazyItems
from lightning_al.run import files as run_files
from lightning_al.testing import check_oracle
from tests.support.tasks import CLASSES, LitMLP, points, trainer

ANIMALS = {0: "cat", 1: "dog", 2: "polar bear", 3: "Cat Fish"}


def query(folder: Path, indices: Sequence[int] = (7, 3, 11, 5), **given: Any) -> Query:
    keys = [f"photos/{index}.png" for index in indices]
    return Query(0, indices, **{"keys": keys, "classes": dict(reversed(ANIMALS.items())), "folder": folder, **given})


def sheet(folder: Path, name: str = "round-000.csv") -> Path:
    return folder / "queries" / name


def fill(path: Path, labels: Mapping[int, str], note: str = "") -> None:
    """Write labels into a file as a person does."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            if int(row["index"]) in labels:
                row |= {"label": labels[int(row["index"])], "note": note}
            writer.writerow(row)


def answers(asked: Query, oracle: Files | None = None) -> dict[int, Any]:
    return dict((oracle or Files()).label(asked))


def refusal(asked: Query, kept: Mapping[int, Any] | None = None) -> str:
    """The error about refused lines, which comes after all good answers."""
    good: dict[int, Any] = {}
    pairs = Files().label(asked)
    with pytest.raises(ValueError, match="could not take up") as error:
        collections.deque(good.update([pair]) for pair in pairs)
    assert good == (kept or {})
    return str(error.value)


# What comes back


def test_a_query_writes_a_table_and_a_page_and_reads_what_was_filled_in(tmp_path: Path) -> None:
    asked = query(tmp_path)
    assert answers(asked) == {}
    assert re.findall('button type="button" value="(.*?)"', sheet(tmp_path, "round-000.html").read_text())[:4] == [
        *ANIMALS.values()
    ]
    said = Files().how_to_answer(asked)
    assert said == f"Write the labels into {sheet(tmp_path)} (round-000.html shows the items)"
    assert sheet(tmp_path).read_bytes().splitlines()[:2] == [b"index,key,label,note", b"7,photos/7.png,,"]
    fill(sheet(tmp_path), {3: "dog", 5: "skip"})
    assert answers(asked) == {3: 1, 5: Skip()}
    fill(sheet(tmp_path), {7: "unusable", 11: "other: a fox"}, note="too dark")
    assert list(answers(asked).items()) == [(7, Unusable("too dark")), (3, 1), (11, Other("a fox")), (5, Skip())]


def test_initial_points_have_files_of_their_own_name(tmp_path: Path) -> None:
    answers(Query(-1, [4, 2], folder=tmp_path))
    assert sorted(path.name for path in (tmp_path / "queries").iterdir() if path.name[0] != ".") == [
        "initial.csv",
        "initial.html",
    ]


def test_what_the_model_believes_is_shown_on_request_alone(tmp_path: Path) -> None:
    believing = query(tmp_path, probs=[[0.1, 0.8, 0.1, 0.0]] * 4)
    answers(believing)
    hidden = sheet(tmp_path).read_text() + sheet(tmp_path, "round-000.html").read_text()
    assert "0.8" not in hidden
    assert "80%" not in hidden
    believing.round = 1
    answers(believing, Files(suggestions=True))
    assert sheet(tmp_path, "round-001.csv").read_text().splitlines()[:2] == [
        "index,key,label,note,predicted,probability",
        "7,photos/7.png,,,dog,0.8",
    ]
    assert "The model says dog, 80%" in sheet(tmp_path, "round-001.html").read_text()
    answers(query(tmp_path / "none"), Files(suggestions=True))
    assert sheet(tmp_path / "none").read_text().splitlines()[1] == "7,photos/7.png,,,,"


def test_files_keep_the_promises_of_an_oracle(tmp_path: Path) -> None:
    asked = query(tmp_path)

    def feed(part: Query) -> None:
        answers(part)
        fill(sheet(tmp_path), dict(zip(asked, ["cat", "2", "unusable", "Dog"], strict=True)))

    check_oracle(Files(), query=asked, classes=list(ANIMALS.values()), feed=feed)


def test_a_run_without_a_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="this query comes from a run without one"):
        Files().label(Query(0, [1]))
    with pytest.raises(ValueError, match="so its queries have to be"):
        trainer(".", callbacks=[ActiveLearning("bald", query_size=4, oracle="files")]).fit(
            LitMLP(), datamodule=ActiveDataModule(points(20), initial_size=4)
        )


# Dialects

# A tab could be that of a spreadsheet which took each row for one cell: such a row is refused in words.
KEYS = st.text(st.characters(exclude_characters="\0\t"), min_size=1, max_size=8)
NAMES = st.lists(st.text(min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=4, unique=True)


@settings(max_examples=40)
@given(st.data())
def test_what_is_written_is_read_under_each_dialect(data: st.DataObject) -> None:
    keys = data.draw(st.lists(KEYS, min_size=1, max_size=5, unique=True), "keys")
    texts = data.draw(st.lists(st.sampled_from([*ANIMALS.values(), "skip", ""]), min_size=len(keys)), "labels")
    columns = data.draw(st.permutations(["index", "key", "label", "note", "who", "seconds"]), "columns")
    with tempfile.TemporaryDirectory() as folder:
        asked = query(Path(folder), range(10, 10 + len(keys)), keys=keys)
        answers(asked)
        with sheet(Path(folder)).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        labels = dict(zip(asked, texts, strict=False))
        for row, (index, label) in zip(rows, labels.items(), strict=True):
            row |= {"label": label, "index": data.draw(st.sampled_from([f"{index}", f" {index}.0"]))}
            row |= {
                "who": data.draw(st.sampled_from(["=me", "'=me"])),
                "seconds": data.draw(st.sampled_from(["2.5", "2,5"])),
            }
        text = io.StringIO(newline="")
        # Where lines end by one character, Python 3.11 writes the other without quotes, and such a file is no CSV.
        dialects = [("\r\n", csv.QUOTE_MINIMAL), *((end, csv.QUOTE_ALL) for end in ("\r\n", "\n", "\r"))]
        terminator, quoting = data.draw(st.sampled_from(dialects))
        delimiter = data.draw(st.sampled_from(",;\t"))
        writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator=terminator, quoting=quoting)
        writer.writerow({name: data.draw(st.sampled_from([name, name.upper(), f" {name} "])) for name in columns})
        writer.writerows(rows)
        whole = text.getvalue() + data.draw(st.sampled_from(["", "\r\n\r\n", 3 * delimiter + "\n"]))
        encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
        sheet(Path(folder)).write_bytes(whole.encode(encoding))
        expected = {index: Answer(label, 2.5, "=me") for index, label in LABELS_OF(labels).items()}
        assert answers(asked) == expected


def LABELS_OF(texts: Mapping[int, str]) -> dict[int, Any]:
    numbers = {name: number for number, name in ANIMALS.items()}
    return {index: Skip() if text == "skip" else numbers[text] for index, text in texts.items() if text}


@settings(max_examples=40)
@given(NAMES, st.data())
def test_each_class_is_read_by_its_name_and_another_text_is_no_other_class(names: list[str], data: Any) -> None:
    texts = LabelTexts(dict(enumerate(names)))
    for number, name in enumerate(names):
        assert texts.answer(name) == number
    written = data.draw(st.text(min_size=1, max_size=6))
    try:
        found = texts.answer(written)
    except ValueError:
        return
    is_aside = isinstance(found, Skip | Unusable | Other)
    fits = not is_aside and (written.strip("' ") in (names[found], str(found)) or as_people_read(written, names[found]))
    assert is_aside or fits or number_of(written) is not None


def as_people_read(one: str, other: str) -> bool:
    def plain(text: str) -> str:
        return "".join(unicodedata.normalize("NFC", text).casefold().removeprefix("'").split())

    return plain(one) == plain(other)


def number_of(text: str) -> float | None:
    try:
        return float(text.strip().removeprefix("'").replace(",", "."))
    except ValueError:
        return None


@given(st.lists(KEYS, min_size=1, max_size=6, unique=True))
def test_each_key_alone_finds_its_point_or_is_refused(keys: list[str]) -> None:
    indices = {key_text(key): index for index, key in enumerate(keys)}
    found = Points({index: key for key, index in indices.items()})
    for key, index in indices.items():
        [row] = rows_of(csv_of([["key", "label"], [key, "cat"]]))
        try:
            assert found.index_of(row) == index
        except AnswerError:  # there is nothing but blanks, or another key that looks the same
            assert not key.strip() or any(looks(key) & looks(other) for other in indices if other != key)


def looks(key: str) -> set[str]:
    """How a key may look in a cell, without its blanks."""
    plain = unicodedata.normalize("NFC", key).strip()
    forms = {
        plain,
        f"'{plain}",
        plain.removeprefix("'"),
        plain.lstrip("0") or "0",
        plain.lstrip("+-").lstrip("0") or "0",
    }
    return {"".join(form.split()) for form in forms}


def csv_of(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


EXCEL = {
    "cp1252": "index;key;label;note\r\n7;photos/7.png;Löwe;\r\n".encode("cp1252"),
    "cut off in a letter": "index,label,note\n7,Löwe,é".encode()[:-1],
    "UTF-16 without a mark": "index\tlabel\r\n7\tLöwe\r\n".encode("utf-16-le"),
    "the other UTF-16": "index\tlabel\r\n7\tLöwe\r\n".encode("utf-16-be"),
    "Excel's first line": "sep=;\r\nindex;label\r\n7;Löwe\r\n".encode(),
    "a decimal comma": "index;label\r\n7,0;Löwe\r\n".encode(),
    "blank lines before": "\n\nindex,label\n7,Löwe\n".encode(),
    "accents in two signs": "index,label\n7,Lo\u0308we\n".encode(),
    "a key alone": "key,label\nphotos/7.png,löwe\n".encode(),
    "no end of the last line": "index,label\n7,Löwe".encode(),
    "a note over several lines": 'index,label,note\n7,Löwe,"one\ntwo"\n'.encode(),
    "a hundred empty cells": f"index,label\n7,Löwe{',' * 100}\n".encode(),
}


@pytest.mark.parametrize("saved", EXCEL)
def test_files_of_spreadsheets_and_editors_are_read(tmp_path: Path, saved: str) -> None:
    asked = query(tmp_path, classes={0: "Tiger", 1: "Löwe"})
    answers(asked)
    sheet(tmp_path).write_bytes(EXCEL[saved])
    assert answers(asked) == {7: 1}


def test_keys_that_spreadsheets_take_for_formulas_or_numbers_are_recognised(tmp_path: Path) -> None:
    keys = ["=1+1", "007", "123456789012", "-a", "caf\u0065\u0301.png", "\udce9.png"]
    asked = query(tmp_path, range(6), keys=keys)
    answers(asked)
    written = list(csv.reader(sheet(tmp_path).read_text("utf-8-sig").splitlines()))
    assert [row[1] for row in written[1:]] == ["'=1+1", "007", "123456789012", "'-a", keys[4], "\\udce9.png"]
    shown = ["=1+1", "7", "1.23457E+11", "-a", "café.png", "\\udce9.png"]
    rows = [[f"{index}.0", key, "dog"] for index, key in enumerate(shown)]
    sheet(tmp_path).write_bytes(csv_of([["index", "key", "label"], *rows]))
    assert answers(asked) == dict.fromkeys(range(6), 1)


def test_copies_of_several_people_are_read_and_lock_files_are_not(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    original = sheet(tmp_path).read_bytes()
    for name, labels in {"round-000-anna.csv": {7: "cat", 3: "dog"}, "Round-000 (1).CSV": {3: "Dog", 5: "3"}}.items():
        sheet(tmp_path, name).write_bytes(original)
        fill(sheet(tmp_path, name), labels)
    for name in ("~$round-000.csv", ".~lock.round-000.csv#", "round-000.csv~", "round-0001.csv", "round-001.csv"):
        sheet(tmp_path, name).write_bytes(b"\0\xff" * 99)
    assert answers(asked) == {7: 0, 3: 1, 5: 3}


def test_a_table_that_is_not_read_is_named(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    for name in ("Copy of round-000.csv", "round-000.xlsx", "anna.csv"):
        sheet(tmp_path, name).write_bytes(sheet(tmp_path).read_bytes())
    unread = (
        r"reads no answers from 'Copy of round-000\.csv'; 'anna\.csv'; 'round-000\.xlsx' in .* as round-000-anna\.csv"
    )
    with pytest.warns(UserWarning, match=unread):
        assert answers(asked) == {}


# Labels


@pytest.mark.parametrize(
    ("classes", "text", "answer"),
    [
        (ANIMALS, " POLAR   bear", 2),
        (ANIMALS, "2", 2),
        (ANIMALS, "2.0", 2),
        (ANIMALS, "2,0", 2),
        (ANIMALS, "SKIP", Skip()),
        (ANIMALS, "Unusable: blurred", Unusable("blurred")),
        (ANIMALS, "other:a fox: red", Other("a fox: red")),
        ({0: "skip", 1: "other"}, "Skip", 0),
        ({0: "Cat", 1: "cat"}, "cat", 1),
        ({0: "5", 1: "3"}, "3", 1),
        ({0: "5", 1: "3"}, "5.0", 0),
        ({0: "001", 1: "002"}, "2", 1),
        ({0: "-1", 1: "=x"}, "'-1", 0),
        ({0: "-1", 1: "=x"}, "'=x", 1),
        ({0: "'tis"}, "'tis", 0),
        ({}, "3", 3),
        ({}, "3,5", 3.5),
        ({}, "1e300", 1e300),
        ({}, "a text", "a text"),
    ],
)
def test_a_label_is_a_name_a_number_or_a_word(classes: dict[int, str], text: str, answer: Any) -> None:
    found = LabelTexts(classes).answer(text)
    assert (type(found), found) == (type(answer), answer)


@pytest.mark.parametrize(
    ("classes", "text", "reason"),
    [
        (ANIMALS, "catt", "'catt' names no class; the nearest one is 'cat'"),
        (ANIMALS, "a fox", "'a fox' names no class$"),
        (ANIMALS, "4", "'4' names no class"),
        (ANIMALS, "0.5", "'0.5' names no class"),
        ({0: "cat", 1: " cat"}, "cat", "may be 'cat' and ' cat'"),
        (ANIMALS, "otter", "'otter' names no class"),
        (ANIMALS, "other", "'other' does not say what it is; write"),
        ({0: "Cat", 1: "cat"}, "CAT", "may be 'Cat' and 'cat'; write it as the class is written"),
        ({0: "1", 1: "2"}, "0", "'0' names no class"),  # and not the number of class '1'
        ({0: "1", 1: "01"}, "1.0", "may be '1' and '01'"),
    ],
)
def test_other_texts_are_refused_and_never_another_class(classes: dict[int, str], text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LabelTexts(classes).answer(text)


# Refusals

LINES = {
    "a typing error": ("3,photos/3.png,dgo,", "line 3: 'dgo' names no class; the nearest one is 'dog'"),
    "another point's key": (
        "3,photos/7.png,cat,",
        "line 3: its key 'photos/7.png' and its index 3 disagree: the",
    ),
    "an index of nothing": ("99,,cat,", "line 3: no point of this query has the index '99'"),
    "a text as index": ("photos/3.png,,cat,", "no point of this query has the index 'photos/3.png'"),
    "an enormous index": ("1e9999,,cat,", "no point of this query has the index '1e9999'"),
    "a key of nothing": (",photos/9.png,cat,", "no point of this query has the key 'photos/9.png'"),
    "no point": (",,cat,", "it has a label, but neither index nor key"),
    "too many cells": ("3,photos/3.png,,,cat", "it has more cells than the header"),
    "quotes in a word": ('3,"photos"/3.png,cat,', "it is no row of a CSV file"),
    "a quote that is left open": ('3,photos/3.png,"cat,', "line 3: a quotation mark is opened and never closed"),
    "two answers": ("7,photos/7.png,dog,", "index 7 has more than one answer, cat in round-000.csv, line 2 and dog in"),
    "a cell of a million letters": (f"3,{'x' * 10**6},cat,", "it is no row of a CSV file .field larger than"),
}


@pytest.mark.parametrize("wrong", LINES)
def test_a_refused_line_is_named_and_the_others_are_kept(tmp_path: Path, wrong: str) -> None:
    line, reason = LINES[wrong]
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path).write_text(f"index,key,label,note\n7,photos/7.png,cat,\n{line}\n5,photos/5.png,dog,\n")
    kept = {"two answers": {5: 1}, "a quote that is left open": {7: 0}}.get(wrong, {7: 0, 5: 1})
    said = refusal(asked, kept)
    assert re.search(f"1 of the answers in {re.escape(str(tmp_path))}/queries: .*{reason}", said)
    assert "A label is one of 'cat', 'dog', 'polar bear', 'Cat Fish', or `skip`" in said


@pytest.mark.parametrize(
    ("end", "is_taken"),
    [("7,photos/7.png,do", False), ("7,photos/7.png,cat", False), ("7,photos/7.png,dog", True), ("7,ph", False)],
)
def test_a_file_that_is_cut_off_gives_no_label_that_may_go_on(tmp_path: Path, end: str, is_taken: bool) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path).write_text(f"index,key,label,note\n3,photos/3.png,cat,\n{end}")
    if is_taken or end.endswith("ph"):
        assert answers(asked) == {3: 0} | ({7: 1} if is_taken else {})
    else:
        assert re.search("line 3: the file ends in the middle of|'do' names no class", refusal(asked, {3: 0}))


def test_a_number_at_the_end_of_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    asked = query(tmp_path, classes={})
    answers(asked)
    sheet(tmp_path).write_text("index,label\n7,1")
    assert "the file ends in the middle of '1', or right after it; add the end of the line" in refusal(asked)


def test_keys_that_look_the_same_need_the_index(tmp_path: Path) -> None:
    asked = query(tmp_path, [1, 2], keys=["a  b", "a b "])
    answers(asked)
    sheet(tmp_path).write_text("key,label\na   b,cat\n")
    assert "its key 'a b' may stand for 2 points; give the index too" in refusal(asked).replace("   ", " ")


def test_only_some_refused_lines_are_shown(tmp_path: Path) -> None:
    asked = query(tmp_path, range(20))
    answers(asked)
    fill(sheet(tmp_path), dict.fromkeys(range(20), "fox"))
    assert "could not take up 20 of the answers" in (said := refusal(asked))
    assert said.count("'fox' names no class") == 10
    assert "; and 10 more. A label is" in said


def test_refused_lines_are_a_warning_while_the_program_waits(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {7: "fox", 3: "dog"})
    with pytest.warns(UserWarning, match=r"could not take up 1 of the answers .*'fox' names no class"):
        assert answers(asked, Files(wait=5)) == {3: 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "round-000-b.csv as a whole: The first line names no column `label` together with"),
        (b"label\ncat\n", "The first line names no column"),
        (b"index,label,Label\n7,cat,dog\n", "The first line names no column"),
        (b"7,photos/7.png,cat,\n", "The first line names no column"),
        (os.urandom(5000), "The first line names no column"),
    ],
    ids=["empty", "no point", "twice", "no header", "noise"],
)
def test_a_file_that_is_no_table_is_named_and_others_are_read(tmp_path: Path, content: bytes, reason: str) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {3: "dog"})
    sheet(tmp_path, "round-000-b.csv").write_bytes(content)
    assert reason in refusal(asked, {3: 1})


ONE_CELL = {  # a spreadsheet that expects another separator took each line for one cell
    "semicolon": "index,key,label,note;\r\n7,photos/7.png,,;dog\r\n3,photos/3.png,,;\r\n11,photos/11.png,,;skip\r\n",
    "no mark in the header": "index,key,label,note\r\n7,photos/7.png,,;dog\r\n3,photos/3.png,,\r\n11,,,;skip\r\n",
    "tab": "index,key,label,note\t\n7,photos/7.png,,\tdog\n11,,,\tskip\n",
    "comma": "index;key;label;note,\n7;photos/7.png;;,dog\n11;;;,skip\n",
    "quoted": '"index,key,label,note";\n"7,""photos/7.png"",,";dog\n"11,photos/11.png,,";skip\n',
    "beliefs": "index,key,label,note,predicted,probability\n7,photos/7.png,,,cat,0.9;dog\n11,,,,cat,0.9;skip\n",
    "a name above": "index,key,label,note;who;label\n7,photos/7.png,,;;dog\n11,photos/11.png,,;;skip\n",
    "some in place": "index,key,label,note;\n7,photos/7.png,dog,a;\n11,photos/11.png,,;skip\n",
}


@pytest.mark.parametrize("saved", ONE_CELL)
def test_a_label_beside_a_row_in_one_cell_is_taken_up(tmp_path: Path, saved: str) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path).write_bytes(b"\xef\xbb\xbf" + ONE_CELL[saved].encode())
    assert answers(asked) == {7: 1, 11: Skip()}


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ("index,key,label,note;\n7,,,;dog;sure\n3,,,;dog\n", "several texts stand beside it"),
        ("index,key,label,note;\n7,,cat,;dog\n3,,,;dog\n", "several texts stand beside it"),
        ("index,key,label,note,\n7,,,,dog\n3,,dog,,\n", "'dog' is in a column without a name, and not in `label`"),
    ],
)
def test_a_text_that_may_be_no_label_is_named(tmp_path: Path, saved: str, reason: str) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path).write_text(saved)
    assert f"round-000.csv, line 2: {'its columns' if ';' in saved else reason}" in (said := refusal(asked, {3: 1}))
    assert reason in said


@pytest.mark.parametrize(
    "saved",
    [
        "index,key,label,note\n7,,dog,dark; small\n3,,,dark; small\n",
        "index;key;label;note;who;seconds\n7;;dog;;anna;2,5\n3;;;;;0,7\n",
        "index;key;label;note;predicted;probability\n7;;dog;;cat;0,97\n3;;;;cat;0,97\n",
        ",index,label,note\n0,7,dog,\n1,3,,\n",
        "index,key,label,note\n7,a;b,dog,\n3,a;b,,\n",
    ],
)
def test_separators_in_texts_and_numbers_are_no_cells(tmp_path: Path, saved: str) -> None:
    asked = query(tmp_path, keys=["a;b", "a;b", "c", "d"])
    answers(asked)
    sheet(tmp_path).write_text(saved)
    found = {index: answer.label if isinstance(answer, Answer) else answer for index, answer in answers(asked).items()}
    assert found == {7: 1}


# Asked again


def rest_of(asked: Query, recorded: Mapping[int, Any]) -> Query:
    """What a run asks once some answers are recorded."""
    left = [place for place, index in enumerate(asked) if index not in recorded]
    given = {"keys": [asked.keys[place] for place in left], "classes": asked.classes, "folder": asked.folder}
    return Query(asked.round, [asked[place] for place in left], answers=recorded, **given)


@pytest.mark.parametrize("columns", [["index", "key", "label"], ["key", "label"], ["index", "label"]])
def test_lines_that_were_taken_up_before_are_no_errors(tmp_path: Path, columns: list[str]) -> None:
    asked = query(tmp_path)
    answers(asked)
    rows = {index: {"index": index, "key": f"photos/{index}.png", "label": "dog"} for index in asked}
    rows[3]["label"], rows[11]["label"] = "unusable: dark", "other: fox"
    sheet(tmp_path).write_bytes(csv_of([columns, *([row[name] for name in columns] for row in rows.values())]))
    found = answers(asked)
    assert found == {7: 1, 3: Unusable("dark"), 11: Other("fox"), 5: 1}
    recorded = {7: 1, 3: Unusable("dark").to_plain(), 11: Other("fox").to_plain()}
    assert answers(rest_of(asked, recorded)) == {5: 1}
    if "index" in columns:  # which is enough where a tool leaves out hidden files
        sheet(tmp_path, ".round-000.json").unlink()
        assert answers(rest_of(asked, recorded)) == {5: 1}
    assert answers(rest_of(asked, {7: None})) == {3: Unusable("dark"), 11: Other("fox"), 5: 1}


def test_a_line_that_was_changed_after_it_was_recorded_is_named(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {7: "dog", 3: "skip", 11: "dog"})
    said = refusal(rest_of(asked, {7: 0, 3: 2, 11: Unusable("dark").to_plain()}))
    assert "round-000.csv, line 2: index 7 is recorded as cat, and a changed line" in said
    assert "put it back, or write `correct: dog`" in said
    assert re.search(r"index 3 is recorded as polar bear, .*; put it back, or write `correct: skip`; ", said)
    assert "index 11 is recorded as unusable: dark" in said


def test_lines_for_points_that_left_the_pool_are_passed_over(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {7: "dog", 3: "cat"})
    assert answers(query(tmp_path, [3, 11])) == {3: 0}


def test_points_without_a_line_get_another_file(tmp_path: Path) -> None:
    answers(query(tmp_path, [3]))
    fill(sheet(tmp_path), {3: "dog"})
    asked = query(tmp_path, items=["text a", "text b", "text c", "text d"], probs=[[0.0, 0.9, 0.1, 0.0]] * 4)
    assert answers(asked) == {3: 1}
    more = sheet(tmp_path, "round-000-2.csv")
    rows = [f"{index},photos/{index}.png,," for index in (7, 11, 5)]
    assert more.read_text().split() == ["index,key,label,note", *rows]
    page = more.with_suffix(".html").read_text()
    assert "text c" in page
    assert "text b" not in page
    fill(more, {7: "cat", 5: "2"})
    sheet(tmp_path).write_text("index,key,label\n")
    assert answers(asked) == {7: 0, 5: 2}
    assert sheet(tmp_path, "round-000-3.csv").read_text().split()[1:] == ["3,photos/3.png,,"]


def test_a_file_that_people_may_have_filled_in_is_never_written_again(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path).write_text("index,label\n")
    page = sheet(tmp_path, "round-000.html")
    page.write_text("a note")
    answers(asked)
    assert (sheet(tmp_path).read_text(), page.read_text()) == ("index,label\n", "a note")
    page.unlink()
    answers(asked)
    assert sheet(tmp_path).read_text() == "index,label\n"
    assert "<article" in page.read_text()
    sheet(tmp_path).unlink()
    answers(rest_of(asked, {7: 1}))
    assert sheet(tmp_path).read_text().splitlines()[1] == "3,photos/3.png,,"


@pytest.mark.parametrize("number", range(6))
def test_a_kill_between_two_files_leaves_what_the_next_call_completes(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def killed(path: Path, to: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == number // 2 + 1:
            if number % 2:
                move(path, to)
            raise SystemExit
        return move(path, to)

    move = Path.replace
    asked = query(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(SystemExit):
            Files().label(asked)
    sheet(tmp_path, ".round-000.csv.0123456789abcdef.part").write_text("index,")
    answers(asked)
    fill(sheet(tmp_path), {7: "dog"})
    assert answers(asked) == {7: 1}
    names = sorted(path.name for path in (tmp_path / "queries").iterdir())
    hidden = [".round-000.json", ".round-000.taken.json", ".round-000.texts.json"]
    assert names == [*hidden, "round-000.csv", "round-000.html"]
    (tmp_path / "fresh").mkdir()
    answers(query(tmp_path / "fresh"))
    assert sheet(tmp_path / "fresh", "round-000.html").read_text() == sheet(tmp_path, "round-000.html").read_text()


# A whole run


def fit(root: Path, oracle: Any, name: str) -> tuple[ActiveLearning, LitMLP]:
    dataset = points(40)
    dataset.tensors[1][8:] = 0
    torch.manual_seed(7)
    data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
    active = ActiveLearning("bald", query_size=4, budget=20, oracle=oracle, folder=root / name)
    module = LitMLP(hidden=4)
    trainer(root, callbacks=[active], max_epochs=1).fit(module, datamodule=data)
    return active, module


@pytest.mark.long
def test_a_run_answered_in_files_equals_the_run_answered_at_once(tmp_path: Path) -> None:
    whole, whole_module = fit(tmp_path, lambda query: {index: index % CLASSES for index in query}, "whole")
    calls, (active, module) = 0, fit(tmp_path, Files(), "asked")
    while not active.done:
        calls += 1
        path = sheet(tmp_path / "asked", f"round-{len(active.history):03}.csv")
        saved = {"sep": ";", "encoding": "utf-16"} if path.read_bytes()[0] == 0xFF else {}
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, **saved)
        empty = rows.index[rows["label"] == ""][: calls + 1]  # two the first time
        rows.loc[empty, "label"] = [str(int(index) % CLASSES) for index in rows.loc[empty, "index"]]
        rows.sample(frac=1, random_state=calls).to_csv(path, sep=";", index=False, encoding="utf-16")
        active, module = fit(tmp_path, "files", "asked")
    assert calls == 4
    assert [(one.indices, one.scores) for one in active.history] == [(one.indices, one.scores) for one in whole.history]
    assert len(active.history) == len(whole.history) == 4
    for weights, same in zip(module.parameters(), whole_module.parameters(), strict=True):
        assert torch.equal(weights, same)


# Attacks


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "</datalist><iframe src=//evil>",
    "\u202egnp.exe",
    "=cmd|' /C calc'!A0",
    "a\nb\rc",
]


def test_names_texts_and_classes_are_text_on_the_page(tmp_path: Path) -> None:
    items = [(text, 0) for text in HOSTILE[:-1]] + [{name: name for name in HOSTILE}]
    asked = query(tmp_path, range(8), keys=HOSTILE, items=items, classes=dict(enumerate(HOSTILE)))
    answers(asked)
    page = sheet(tmp_path, "round-000.html").read_text()
    found = Tags(page)
    assert not {"iframe", "img", "object", "embed", "base", "form"} & set(found.tags)
    assert found.tags.count("script") == found.tags.count("style") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "style")]
    assert [value for name, value in found.attributes if name == "href"] == ["data:,"]
    assert "default-src 'none'" in page
    assert "{{ 7 * 7 }}" in page
    fill(sheet(tmp_path), {index: HOSTILE[index] for index in range(7)})
    assert answers(asked) == {index: index for index in range(7)}


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder"])
def test_no_link_pipe_or_folder_is_read_in_place_of_a_file(tmp_path: Path, kind: str) -> None:
    asked = query(tmp_path)
    answers(asked)
    path = sheet(tmp_path, "round-000-b.csv")
    secret = tmp_path / "secret.csv"
    secret.write_text("index,label\n7,cat\n")
    {"a link": lambda: path.symlink_to(secret), "a pipe": lambda: os.mkfifo(path), "a folder": path.mkdir}[kind]()
    assert f"is {kind}, where a file is expected" in refusal(asked)
    sheet(tmp_path).unlink()
    sheet(tmp_path).symlink_to(tmp_path / "made.csv")
    refusal(asked)
    assert not (tmp_path / "made.csv").exists()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    with sheet(tmp_path).open("r+b") as file:
        file.truncate(65 * run_files.MEBIBYTE)
    assert "but such a file has at most" in refusal(asked)


@pytest.mark.parametrize("make", [lambda path, to: path.symlink_to(to), lambda path, to: path.write_text("")])
def test_the_folder_of_queries_is_a_folder(tmp_path: Path, make: Callable[[Path, Path], object]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make(tmp_path / "queries", elsewhere)
    with pytest.raises(ValueError, match="where the folder of the queries has to be"):
        Files().label(query(tmp_path))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', "null"])
def test_keys_that_were_damaged_are_named(tmp_path: Path, content: str) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path, ".round-000.json").write_text(content)
    with pytest.raises(ValueError, match=r"The keys of a query in .*round-000.json cannot be read .*. Remove this"):
        Files().label(asked)


def classes_of(page: Path) -> list[tuple[list[str], list[str]]]:
    """The choices and the buttons of each item of a page, after its mark of the classes."""
    text = page.read_text()
    choices = re.findall(r'<option value="([^"]*)"', text)
    tiles = text.partition("</main>")[0].split("<article")[1:]
    return [(choices, re.findall(r'<button type="button"[^>]*>([^<]*)<', tile)) for tile in tiles]


def test_a_page_gets_the_classes_that_a_query_has_now(tmp_path: Path) -> None:
    words = ["skip", "unusable", "other"]
    asked = query(tmp_path, [7, 3], items=["a text", '<div class="buttons">'], classes={0: "cat", 1: "a\\1"})
    answers(asked)
    sheet(tmp_path).write_text("index,label\n7,\n")
    answers(asked)  # writes another page, for the item without a line
    pages = [sheet(tmp_path, name) for name in ("round-000.html", "round-000-2.html")]
    before = [page.read_text() for page in pages]
    table = sheet(tmp_path).read_bytes()
    assert [len(classes_of(page)) for page in pages] == [2, 1]
    many = {number: f"class {number}" for number in range(13)}
    for classes in [{0: "kitten", 1: "<b>", 2: "\\1"}, many, {0: "other"}, {0: "cat", 1: "a\\1"}]:
        asked.classes = classes
        answers(rest_of(asked, {7: 0}))
        names = [name.replace("<", "&lt;").replace(">", "&gt;") for name in classes.values()]
        choices = names + [word for word in words if word not in names]
        for page in pages:
            assert set(map(repr, classes_of(page))) == {repr((choices, [] if classes is many else choices))}
    assert [page.read_text() for page in pages] == before  # all else is as it was
    assert sheet(tmp_path).read_bytes() == table


# What is shown


def test_images_of_each_form_are_shown() -> None:
    grey = torch.rand(1, 8, 8)
    forms: list[Any] = [
        (grey, 3),
        grey[0].numpy(),
        torch.randn(3, 400, 300),
        np.zeros((9, 7, 3), np.uint8),
        torch.zeros(5, 5, dtype=torch.bool),
        np.full((4, 4), np.nan),
        Image.new("P", (9, 9)),
        Image.new("CMYK", (9, 9)),
        Image.new("I;16", (9, 9)),
        Image.new("RGBA", (900, 90)),
        {"image": grey, "label": 3},
    ]
    for form in forms:
        shown = shown_item(lambda form=form: form)  # type: ignore[misc]
        assert shown.fault is None
        assert [address[:11] for address, _ in shown.pictures] == ["data:image/"], form
        assert shown.texts == shown.rows == []


def test_a_large_image_is_made_small_without_what_its_file_tells() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    image = Image.new("RGB", (4000, 1000), "red")
    file = io.BytesIO()
    image.save(file, "jpeg", exif=exif)
    [(address, is_small)] = shown_item(lambda: Image.open(file)).pictures
    content = b64decode(address.partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (128, 512)  # upright
    assert not is_small
    assert b"where I live" not in content
    assert len(content) < 5000


def test_the_page_shows_the_photo_and_not_what_the_model_gets(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    Image.new("RGB", (1600, 400), "red").save(tmp_path / "wide.jpg", exif=exif)
    Image.new("I;16", (90, 30), 700).save(tmp_path / "deep.png")
    (tmp_path / "cut.png").write_bytes(b"no image")
    data = image_folder(tmp_path, classes=["cat", "dog"], image_size=8).train_data
    places = {key: place for place, key in enumerate(data.keys)}
    names = ["wide.jpg", "deep.png", "cut.png"]
    items = LazyItems(data.__getitem__, [places[name] for name in names])
    paths = [data.path_of(places[name]) for name in names]
    asked = Query(0, [7, 3, 11], keys=names, items=items, paths=paths, classes=ANIMALS, folder=tmp_path / "run")
    answers(asked)
    shown = [[image.size for image in images] for images in pictures_of(sheet(asked.folder, "round-000.html"))]
    assert shown == [[(128, 512)], [(90, 30)], []]
    assert "where I live" not in sheet(asked.folder, "round-000.html").read_text()
    fill(sheet(asked.folder), {7: "cat"})
    text = sheet(asked.folder).read_bytes().decode().splitlines(keepends=True)
    sheet(asked.folder).write_text("".join(line for line in text if not line.startswith("3,")), newline="")
    answers(asked)  # writes another page for the point whose line was removed
    assert [[image.size for image in images] for images in pictures_of(sheet(asked.folder, "round-000-2.html"))] == [
        [(90, 30)]
    ]


def pictures_of(page: Path) -> list[list[Image.Image]]:
    """The pictures of each item on a page."""
    return [
        [Image.open(io.BytesIO(b64decode(found))) for found in re.findall(r'src="data:image/\w+;base64,([^"]+)"', tile)]
        for tile in page.read_text().split("<article")[1:]
    ]


def test_a_file_that_is_no_image_or_of_several_leaves_the_item_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (90, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.wav").write_bytes(b"sound")
    one, two = ({name: torch.zeros(3, 8, 8) for name in names} | {"age": 41} for names in ("a", "ab"))
    for item, name, changes in [(one, "a.png", True), (one, "a.wav", False), (two, "a.png", False)]:
        before = shown_item(lambda item=item: item)  # type: ignore[misc]
        after = with_file(before, tmp_path / name)
        assert (after.pictures != before.pictures) is changes
        assert after.rows == [("age", "41")]


def test_other_items_are_texts_and_rows() -> None:
    assert shown_item(lambda: "x" * 10**6).texts == ["x" * 20_000 + " ..."]
    assert shown_item(lambda: pd.Series({"age": 41, "name": "Ann", "target": 1})).rows == [
        ("age", "41"),
        ("name", "Ann"),
    ]
    assert shown_item(lambda: (torch.tensor([0.5, 2.0]), 1)).rows == [("0", "0.5"), ("1", "2")]
    assert len(shown_item(lambda: torch.zeros(10**5)).rows) == 60
    assert shown_item(lambda: {"x": torch.zeros(2, 99, 5)}).rows == [("x", "2 x 99 x 5 numbers")]
    assert shown_item(lambda: None).rows == [("", "None")]


def test_an_item_that_cannot_be_read_is_named_on_the_page(tmp_path: Path) -> None:
    def broken() -> Any:
        raise OSError("<cut off>")

    assert shown_item(broken) == ShownItem(fault="OSError: <cut off>")


def test_a_page_shows_three_hundred_classes_and_a_thousand_points(tmp_path: Path) -> None:
    asked = Query(
        0, range(1200), items=["a text"] * 1200, classes={n: f"class {n}" for n in range(300)}, folder=tmp_path
    )
    answers(asked)
    page = sheet(tmp_path, "round-000.html").read_text()
    assert Tags(page).tags.count("article") == 1000
    assert Tags(page).tags.count("button") == 1
    assert "200 more are in the CSV file alone" in page
    assert len(page) < 10**6
    assert len(sheet(tmp_path).read_text().splitlines()) == 1201


# How long answers took, and who gave them


def test_who_and_seconds_are_read_where_a_file_has_them(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    lines = ["who;label;index;seconds", "anna;cat;7;2,5", ";dog;3;", "'=ben;skip;11;", ";cat;5;4"]
    sheet(tmp_path).write_text("\n".join(lines))
    expected = {7: Answer(0, 2.5, "anna"), 3: 1, 11: Answer(Skip(), None, "=ben"), 5: Answer(0, 4.0, None)}
    assert answers(asked) == expected


def test_of_copies_that_agree_the_first_that_says_something_counts(tmp_path: Path) -> None:
    asked = query(tmp_path, [7, 3])
    answers(asked)
    sheet(tmp_path, "round-000-a.csv").write_text("index,label,seconds\n7,cat,\n3,dog,3\n")
    sheet(tmp_path, "round-000-b.csv").write_text("index,label,seconds,who\n7,cat,2,ben\n3,dog,9,ben\n")
    assert answers(asked) == {7: Answer(0, 2.0, "ben"), 3: Answer(1, 3.0, None)}


def test_a_line_is_taken_up_whatever_its_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def fit() -> ActiveLearning:
        data = ActiveDataModule(points(20).tensors[0], initial_size=2, classes=list("abcd"), batch_size=4, seed=0)
        options = {"max_rounds": 1, "posterior": "deterministic", "seed": 0}
        active = ActiveLearning("random", query_size=2, oracle="files", folder=folder, **options)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
        return active

    first, second = fit().pending
    path = folder / "queries" / "initial.csv"
    path.write_text(f"index,label,seconds\n{first},a,a minute\n{second},b,60\n")
    with pytest.warns(UserWarning, match=f"The answer for index {first} is kept, but not the seconds 'a minute'"):
        active = fit()
    assert (active.done, active.history[0].label_seconds) == (True, 60.0)


# Corrections


def test_a_line_corrects_an_answer_of_its_query(tmp_path: Path) -> None:
    answers(query(tmp_path))
    fill(sheet(tmp_path), {7: "Correct: dog", 3: "correct:skip"})
    rest = query(tmp_path, (11, 5), answers={7: 0, 3: 1})
    assert answers(rest) == {7: Correction(1), 3: Correction(Skip())}
    # A copy that still has the first answer does not contradict it, though any other changed line does.
    copy = sheet(tmp_path, "round-000-anna.csv")
    copy.write_text(sheet(tmp_path).read_text())
    fill(copy, {7: "cat", 3: "dog", 11: "cat"})
    assert answers(rest) == {7: Correction(1), 3: Correction(Skip()), 11: 0}
    fill(copy, {3: "correct: cat"})
    two = "correct: cat in round-000-anna.csv, line 3 and correct: skip in round-000.csv, line 3"
    with pytest.raises(ValueError, match=f"index 3 has more than one answer, {two}"):
        collections.deque(Files().label(rest))


def test_a_line_that_is_changed_after_its_query_is_named_or_corrects(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def fit() -> ActiveDataModule:
        data = ActiveDataModule(points(20).tensors[0], initial=[3, 7], classes=list("abcd"), batch_size=4, seed=0)
        options = {"max_rounds": 3, "posterior": "deterministic", "seed": 0}
        active = ActiveLearning("random", query_size=2, oracle="files", folder=folder, **options)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
        return data

    fit()
    initial = sheet(folder, "initial.csv")
    fill(initial, {3: "a", 7: "b"})
    data = fit()
    fill(initial, {3: "c"})
    with pytest.warns(UserWarning, match=r"initial\.csv, line 2, says 'c' and said 'a'\. Write `correct: LABEL`"):
        data = fit()
    assert data.pool.labels[3] == 0
    fill(initial, {3: "Correct: c"})
    assert fit().pool.labels[3] == 2
    fill(sheet(folder), dict.fromkeys(range(20), "d"))
    fill(initial, {3: "correct: c", 7: "correct: e"})
    with pytest.raises(ValueError, match=r"initial\.csv, line 3: 'e' names no class"):
        fit()
    fill(initial, {7: "correct: d"})
    data = fit()
    assert (data.pool.labels[3], data.pool.labels[7]) == (2, 3)
    # What was corrected elsewhere since is not corrected again by the line.
    correct(folder, 3, "b")
    assert fit().pool.labels[3] == 1


def test_without_its_memory_an_earlier_file_changes_nothing(tmp_path: Path) -> None:
    answers(query(tmp_path))
    fill(sheet(tmp_path), {7: "cat"})
    answers(query(tmp_path))
    fill(sheet(tmp_path), {7: "correct: dog", 3: "cat"})
    later = query(tmp_path, [20])
    later.round = 1
    with pytest.warns(UserWarning, match=r"round-000\.csv, line 3, says 'cat'\. Write"):
        assert answers(later) == {7: Correction(1)}
    memory = sheet(tmp_path, ".round-000.texts.json")
    memory.write_text("[")
    with pytest.raises(ValueError, match=r"What the files of a query said in .* cannot be read .*\. Remove this file"):
        answers(later)
    memory.unlink()
    assert answers(later) == {}


def test_an_added_line_corrects_an_answer_of_an_earlier_query(tmp_path: Path) -> None:
    answers(query(tmp_path))
    later = Query(1, [20, 21], keys=["photos/20.png", "photos/21.png"], classes=ANIMALS, folder=tmp_path)
    answers(later)
    path = sheet(tmp_path, "round-001.csv")
    path.write_text(path.read_text() + "3,,correct: dog,\n,photos/11.png,correct: cat,\n")
    assert answers(later) == {3: Correction(1), 11: Correction(0)}
    path.write_text(path.read_text() + "5,,dog,\n99,,correct: dog,\n")
    with pytest.raises(ValueError, match=r"line 6: no point of this query has the index '5'; .*line 7: no point of"):
        collections.deque(Files().label(later))


@pytest.mark.parametrize(
    ("written", "match"), [("correct:", "'correct' does not say to what"), ("correct: cow", "names")]
)
def test_a_correction_to_nothing(written: str, match: str) -> None:
    with pytest.raises(AnswerError, match=match):
        LabelTexts(ANIMALS).answer(written)
    assert LabelTexts({0: "correct: cow", 1: "dog"}).answer("correct: cow") == 0


# Classes that get another name


@pytest.mark.parametrize("names", [{0: "feline", 1: "dog"}, {0: "kitten", 1: "cat"}], ids=["new", "of another class"])
def test_a_line_that_was_taken_up_keeps_its_class_whatever_the_name_of_it(
    tmp_path: Path, names: dict[int, str]
) -> None:
    asked = query(tmp_path, [7, 3, 5], classes={0: "cat", 1: "dog"})
    answers(asked)
    fill(sheet(tmp_path), {7: "cat", 3: "dog"})
    assert answers(asked) == {7: 0, 3: 1}
    rest = query(tmp_path, [5], classes=names, answers={7: 0, 3: 1})
    assert answers(rest) == answers(rest) == {}
    fill(sheet(tmp_path), {7: "Cat", 5: names[0]})
    for _ in range(2):  # a changed line is refused until it is put back
        said = refusal(rest, {5: 0})
        assert "line 2: " in said
        assert "line 3: " not in said
    fill(sheet(tmp_path), {7: f"correct: {names[1]}"})
    assert answers(rest) == {7: Correction(1), 5: 0}


def test_a_changed_line_is_refused_until_it_is_put_back(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {7: "cat", 3: "zebra"})
    copy = sheet(tmp_path, "round-000-anna.csv")
    copy.write_text(sheet(tmp_path).read_text())
    fill(copy, {7: "", 3: "dog"})
    assert "'zebra' names no class" in refusal(asked, {7: 0, 3: 1})
    rest = rest_of(asked, {7: 0, 3: 1})
    fill(sheet(tmp_path), {7: "dog"})
    for _ in range(2):
        said = refusal(rest)
        assert "'zebra' names no class" in said
        assert "index 7 is recorded as cat" in said
    fill(sheet(tmp_path), {7: "cat", 3: ""})
    assert answers(rest) == {}


def test_a_correction_keeps_its_class_whatever_the_name_of_it(tmp_path: Path) -> None:
    answers(query(tmp_path, [2]))
    fill(sheet(tmp_path), {2: "dog"})
    assert answers(query(tmp_path, [2])) == {2: 1}
    asked = query(tmp_path, [7, 3], classes={0: "cat", 1: "dog"})
    asked.round = 1
    answers(asked)
    fill(sheet(tmp_path, "round-001.csv"), {7: "correct: cat"})
    fill(sheet(tmp_path), {2: "correct: cat"})
    rest = query(tmp_path, [3], classes={0: "cat", 1: "dog"}, answers={7: 1})
    rest.round = 1
    assert answers(rest) == {7: Correction(0), 2: Correction(0)}
    for names in ({0: "feline", 1: "dog"}, {0: "kitten", 1: "cat"}):
        rest.classes = names
        assert answers(rest) == {7: Correction(0), 2: Correction(0)}


def test_a_line_that_became_a_label_of_an_added_or_merged_class_is_taken_up(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    fill(sheet(tmp_path), {7: "other: wolf", 3: "dog"})
    fill(sheet(tmp_path), {11: "other"}, note="wolf")
    assert answers(asked) == {7: Other("wolf"), 3: 1, 11: Other("wolf")}
    recorded = {7: 4, 3: 2, 11: 4}
    rest = query(tmp_path, [5], classes=ANIMALS | {4: "wolf"}, answers=recorded)
    assert answers(rest) == {}
    fill(sheet(tmp_path), {11: "other"}, note="fox")
    assert "line 4: index 11 is recorded as wolf" in refusal(rest)


def test_a_damaged_memory_of_taken_lines_is_named(tmp_path: Path) -> None:
    asked = query(tmp_path)
    answers(asked)
    sheet(tmp_path, ".round-000.taken.json").write_text('{"7": "cat"}')
    with pytest.raises(ValueError, match=r"Which lines of a query were taken up, in .*, cannot be read .*\. Remove"):
        answers(asked)
