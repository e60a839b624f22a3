"""A table as data to label."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lightning_al import table
from lightning_al.data.table_rows import TableRows

CLASSES = ["good", "bad"]
FRAME = pd.DataFrame(
    {
        "id": ["r1", "r2", "r3", "r4"],
        "review": ["fine, really", 'so "so"', "NA", "ünder\ntwo lines"],
        "stars": ["good", "", "bad", ""],
        "a": [1.0, 2.0, 3.0, 6.0],
        "b": [5, 5, 5, 5],
    }
)


def written(path: Path, frame: pd.DataFrame = FRAME, sep: str = ",", encoding: str = "utf-8") -> Path:
    frame.to_csv(path, sep=sep, encoding=encoding, index=False)
    return path


def rows(path: Path, **arguments: Any) -> TableRows:
    return table(path, **arguments).train_dataloader().dataset


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_texts_are_the_same_by_any_separator_and_encoding(tmp_path: Path, sep: str, encoding: str) -> None:
    found = rows(
        written(tmp_path / "x.csv", sep=sep, encoding=encoding), text="review", label="stars", key="id", classes=CLASSES
    )
    assert [found[place] for place in range(4)] == list(zip(FRAME["review"], [0, None, 1, None], strict=True))
    assert found.keys == FRAME["id"].tolist()
    assert (found.targets, found.classes, found.num_inputs) == ([0, None, 1, None], CLASSES, None)


def test_numbers_are_standardised(tmp_path: Path) -> None:
    data = table(written(tmp_path / "x.csv", FRAME.drop(columns="stars")), columns=["a", "b"], classes=CLASSES)
    found = data.train_dataloader().dataset
    inputs = torch.stack([found[place][0] for place in range(4)])
    assert inputs.dtype == torch.float32
    assert inputs.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert inputs.std(0, correction=0).tolist() == pytest.approx([1, 0])
    assert found.targets == [None] * 4
    assert found.keys is None
    assert (data.num_inputs, data.num_classes) == (2, 2)


def test_a_column_of_labels_that_nobody_named_is_pointed_out(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv")
    with pytest.warns(match=r"the column 'stars' of .*x\.csv names classes in 2 of 4 rows.* data\.label=stars"):
        assert rows(path, text="review", classes=CLASSES).targets == [None] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows(path, text="review", classes=["good", "poor"])
        rows(path, text="review", label="stars", classes=CLASSES)


def test_validation_and_test_data_have_the_scale_of_the_training_data(tmp_path: Path) -> None:
    labelled = FRAME.assign(stars=["good", "bad", "bad", "good"])
    paths = {part: written(tmp_path / f"{part}.csv", labelled[int(part == "test") :]) for part in ("val", "test")}
    data = table(written(tmp_path / "x.csv"), columns=["a"], label="stars", classes=CLASSES, **paths)
    train, val, test = (
        loader.dataset for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    )
    assert torch.equal(val.inputs, train.inputs)
    assert torch.equal(test.inputs, train.inputs[1:])
    assert test.targets == [1, 1, 0]


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv")
    first, second = (rows(path, columns=["a", "b"], label="stars", key="id") for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert (first.keys, first.targets, first.classes) == (second.keys, second.targets, second.classes)
    assert len(set(first.keys or [])) == len(first)


@pytest.mark.parametrize(
    ("cells", "classes", "names", "targets"),
    [
        (["b", "a", "", "b"], None, ["a", "b"], [1, 0, None, 1]),
        (["10", "2", "", "2"], None, ["2", "10"], [1, 0, None, 0]),
        (["1", "0", "", "1"], CLASSES, CLASSES, [1, 0, None, 1]),
        (["1.0", "0.0", "", "1.0"], CLASSES, CLASSES, [1, 0, None, 1]),
        (["1", "2", "", "2"], ["2", "1"], ["2", "1"], [1, 0, None, 0]),
        ([" good", "bad ", "  ", "bad"], CLASSES, CLASSES, [0, 1, None, 1]),
        (["Good", "BAD", "", "bad"], CLASSES, CLASSES, [0, 1, None, 1]),
        ([1, None, 2, 1], ["1", "2", "3"], ["1", "2", "3"], [0, None, 1, 0]),  # pandas writes 1.0
        ([1, None, 2, 1], None, ["1", "2"], [0, None, 1, 0]),
        (["1", "2.0", "", "1.0"], None, ["1", "2"], [0, 1, None, 0]),
        (["0.5", "1.0", "", "0.5"], None, ["1", "0.5"], [1, 0, None, 1]),
        (["01", "2", "", "1"], ["01", "02"], ["01", "02"], [0, 1, None, 0]),
        (["1.1", "1.10", "", "1.0"], None, ["1", "1.1", "1.10"], [1, 2, None, 0]),
        (["1.0", "2.0", "", "1.0"], ["1.0", "2.0"], ["1.0", "2.0"], [0, 1, None, 0]),
    ],
)
def test_labels_are_names_or_numbers(
    tmp_path: Path, cells: list[str], classes: Any, names: list[str], targets: list[Any]
) -> None:
    found = rows(written(tmp_path / "x.csv", FRAME.assign(stars=cells)), text="review", label="stars", classes=classes)
    assert (found.classes, found.targets) == (names, targets)


def test_numbers_name_the_same_class_in_each_file(tmp_path: Path) -> None:
    train = written(tmp_path / "x.csv", FRAME.assign(stars=[1, None, 2, 3]))
    val = written(tmp_path / "val.csv", FRAME.assign(stars=[1, 2, 3, 2]))
    assert ("1.0" in train.read_text(), "1.0" in val.read_text().replace("1.0,5", "")) == (True, False)
    found = table(train, text="review", label="stars", val=val).val_dataloader().dataset
    assert [found.classes[target] for target in found.targets] == ["1", "2", "3", "2"]


def test_a_single_column_of_texts_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("review\nfine, really\nno; not so\n")
    assert list(rows(path, text="review", classes=CLASSES).inputs) == ["fine, really", "no; not so"]


def test_keys_stay_texts(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", FRAME.drop(columns="stars").assign(id=["007", "7", "1e3", "x"]))
    assert rows(path, text="review", classes=CLASSES, key="id").keys == ["007", "7", "1e3", "x"]


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    FRAME.assign(stars=[1.0, None, 0.0, None]).to_parquet(path)
    found = rows(path, columns=["a", "b"], label="stars", key="id", classes=CLASSES)
    assert found.targets == [1, None, 0, None]
    same = rows(written(tmp_path / "x.csv", FRAME.drop(columns="stars")), columns=["a", "b"], classes=CLASSES)
    assert torch.equal(found.inputs, same.inputs)


def test_what_parquet_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        ImportError, match=r"needs a package that reads Parquet for .*x\.parquet, .* Install pyarrow, or"
    ):
        table(tmp_path / "x.parquet", text="review", classes=CLASSES)


TEXT = {"text": "review", "classes": CLASSES}
NUMBERS = {"columns": ["a", "b"], "classes": CLASSES}


@pytest.mark.filterwarnings("ignore:`table` asks for all labels, but the column 'stars'")
@pytest.mark.parametrize(
    ("frame", "arguments", "said"),
    [
        (FRAME, {"classes": CLASSES}, "`table` needs either `text`, a column of texts, or `columns`"),
        (FRAME, {**TEXT, "columns": ["a"]}, "`table` needs either `text`, a column of texts, or `columns`"),
        (FRAME, {**NUMBERS, "columns": "a"}, r"`table\(columns=...\)` expected the names of columns, each once"),
        (FRAME, {**NUMBERS, "columns": ["a", "a"]}, "expected the names of columns, each once, but got"),
        (
            FRAME,
            {**NUMBERS, "columns": ["a", "stars"], "label": "stars"},
            "got the column 'stars' as an input and also",
        ),
        (FRAME, {"text": "review"}, "needs the names of the classes, and the labels of validation and test data"),
        (FRAME, {**TEXT, "test": "x.csv"}, "of validation and test data, but got no `label`. Pass `label=`"),
        (FRAME, {**TEXT, "classes": ["good"]}, r"`table\(classes=...\)` expected the names of two or more classes"),
        (FRAME[:0], TEXT, "`table` found no rows in .*x.csv. Give a table with rows"),
        (FRAME, {**TEXT, "text": "reviews"}, r"found no column 'reviews' in .*Did you mean 'review'\?"),
        (FRAME, {**TEXT, "text": "zzz"}, "found no column 'zzz' in .*x.csv. Choose one of: id, review, stars, a, b"),
        (FRAME.assign(a=[1, "", 3, 4]), NUMBERS, "expected a number, but row 2 of the column 'a' of .*x.csv has ''"),
        (
            FRAME.assign(b=["1", "2", "3", "1,5"]),
            NUMBERS,
            "row 4 of the column 'b' of .* has '1,5'. Write numbers",
        ),
        (FRAME.assign(b=["1", "inf", "3", "nan"]), NUMBERS, "row 2 of the column 'b' of .* has 'inf'"),
        (
            FRAME,
            {**TEXT, "label": "stars", "classes": ["good", "worse"]},
            "expected a class, but row 3 of .* has 'bad'",
        ),
        (
            FRAME.assign(stars=["1", "2", "0", ""]),
            {**TEXT, "label": "stars", "classes": ["1", "2", "3"]},
            "expected a class, but row 3 of .* has '0'. Choose one of: 1, 2, 3",
        ),
        (
            FRAME.assign(stars=["1", "01", "1.0", ""]),
            {**TEXT, "label": "stars", "classes": ["1", "01"]},
            "expected a class, but row 3 of .* has '1.0'. Choose one of: 1, 01",
        ),
        (
            FRAME,
            {**TEXT, "label": "b"},
            "expected a class, but row 1 of the column 'b' of .* has '5'. Choose one of",
        ),
        (FRAME, {"text": "review", "label": "b"}, r"takes the classes from the column 'b' of .* found \['5'\] there"),
        (FRAME, {**TEXT, "key": "b"}, r"`table\(key='b'\)` needs a key of its own in each row of .*, but '5' is in 4"),
        (FRAME.assign(id=["1", "", "2", "3"]), {**TEXT, "key": "id"}, "but '' is in 1 rows. Give a column without"),
        (FRAME, {**TEXT, "batch_size": 0}, "`table` needs `batch_size` of at least 1"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, frame: pd.DataFrame, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table(written(tmp_path / "x.csv", frame), **arguments)


def test_test_data_have_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv")
    with pytest.raises(ValueError, match=r"needs a label in each row of .*x\.csv, but 2 of 4 rows have none. Remove"):
        table(path, text="review", label="stars", test=path)


@pytest.mark.parametrize(
    "content",
    [b"review,a\nx,1,2\n", b"review\n\xff\xe4\n", b'review,a\n"never ends,1\n'],
    ids=["long row", "other encoding", "open quote"],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"`table` cannot read .*x\.csv as CSV: .* quote cells that hold a separator"):
        table(path, **TEXT)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("review,review\na,b\n")
    with pytest.raises(ValueError, match=r"found the column 'review' more than once in .*x\.csv\. Give each column"):
        table(path, **TEXT)


def test_an_empty_file_and_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(ValueError, match="found no column 'review' in"):
        table(tmp_path / "x.csv", **TEXT)
    with pytest.raises(FileNotFoundError, match=r"`table` cannot find the file .*y\.csv\. Check the path"):
        table(tmp_path / "y.csv", **TEXT)
