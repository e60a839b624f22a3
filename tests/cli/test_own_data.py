"""The command line with data of one's own: a folder of images, and a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lightning_al import Oracle, Query
from lightning_al.report import Run
from lightning_al.report.runs import read_run
from lightning_al.run.journal import Journal
from tests.cli.test_cli import names
from tests.support.commands import refusal
from tests.support.commands import run as begin

ME = f"{__name__}.KnowsParity"
SETTINGS = [
    "trainer.max_epochs=1",
    "pool.samples_per_epoch=32",
    "pool.initial_size=6",
    "active.query_size=4",
    "active.budget=14",
    "posterior.num_samples=3",
    "logger=none",
    f"oracle._target_={ME}",
    f"allow=[{ME}]",
    "data.classes=[even,odd]",
]
IMAGES = ["data.image_size=16", "model.network.name=shufflenet_v2_x0_5"]
WATCHED = ["callbacks=early_stopping", "trainer.enable_checkpointing=true"]

pytestmark = pytest.mark.usefixtures("as_before")


class KnowsParity(Oracle):
    """Answers by the index, which is that of the digit where nothing is labelled."""

    def label(self, query: Query) -> Mapping[int, Any]:
        digits = load_digits().target
        return {index: ("even", "odd")[digits[index] % 2] for index in query}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits as files in one folder, and some in a folder for tests."""
    root, digits = tmp_path_factory.mktemp("data") / "photos", load_digits()
    for number, (image, digit) in enumerate(zip(digits.images[:50], digits.target, strict=False)):
        folder = root / "test" / ("even", "odd")[digit % 2] if number >= 40 else root
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / f"{number:03}.png")
    return root


@pytest.fixture
def flat(photos: Path, tmp_path: Path) -> Path:
    """The folder without its test images."""
    root = tmp_path / "flat"
    root.mkdir()
    for path in photos.glob("*.png"):
        (root / path.name).symlink_to(path)
    return root


def write(path: Path, header: list[str], rows: Any) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *rows])
    return path


@pytest.mark.long
def test_a_flat_folder_is_labelled_without_test_data(
    command: Any, capfd: pytest.CaptureFixture[str], flat: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    out = command(*SETTINGS, *IMAGES, "data=image_folder", f"data.root={flat}", f"folder={run}")
    history = Journal.read_history(run)
    assert [round.spent for round in history] == [6, 10, 14]
    assert not any("test_acc" in round.metrics for round in history)
    assert "14 labels in 3 rounds. There is no learning curve, since there are no test data." in out
    assert "round 1: 10 labels, asked for 4 in" in out
    assert "test_acc" not in out
    assert names(run) == {
        *("asked.png", "config.yaml", "history.jsonl", "initial.pt", "journal.sqlite"),
        *("keys.jsonl", "labels.csv", "model.ckpt"),
    }
    assert read_run(run).metric == ""
    capfd.readouterr()
    begin(run, f"allow=[{ME}]")
    again = capfd.readouterr().out
    assert "14 labels in 3 rounds. There is no learning curve" in again
    assert "round 1" not in again


@pytest.mark.slow
def test_a_larger_budget_resumes_a_run_without_test_data(command: Any, flat: Path, tmp_path: Path) -> None:
    command(*SETTINGS, *IMAGES, "data=image_folder", f"data.root={flat}", f"folder={tmp_path / 'run'}")
    more = command(f"folder={tmp_path / 'run'}", f"allow=[{ME}]", "active.budget=18")
    assert "18 labels in 4 rounds. There is no learning curve" in more


@pytest.mark.long
def test_with_a_test_folder_there_is_the_usual_curve(
    capfd: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    begin(tmp_path, *SETTINGS, *IMAGES, "data=image_folder", f"data.root={photos}", "active.budget=10")
    out = capfd.readouterr().out
    run = Run.read(tmp_path)
    assert (run.metric, run.labels) == ("test_acc", [6, 10])
    assert read_run(tmp_path).metric == "test_acc"
    assert f"mean test_acc over 6 to 10 labels is {run.area:.4f}" in out
    assert {"asked.png", "curve.png", "summary.json"} <= names(tmp_path)


@pytest.mark.long
def test_a_table_of_numbers_is_labelled_and_grows(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    digits = load_digits()
    header = ["id", *(f"p{place}" for place in range(20, 28)), "kind"]
    rows = [[f"r{number}", *row] for number, row in enumerate(digits.data[:44, 20:28].tolist())]
    labels = [("even", "odd")[digit % 2] for digit in digits.target[:40]]
    test = write(tmp_path / "test.csv", header, [[*row, label] for row, label in zip(rows, labels, strict=False)])
    path = write(tmp_path / "x.csv", header, [[*row, ""] for row in rows[:40]])
    columns = [f"data.columns=[{','.join(header[1:-1])}]", "data.label=kind", "data.key=id"]
    run = tmp_path / "run"
    begin(run, *SETTINGS, "data=table", f"data.path={path}", f"data.test={test}", *columns)
    assert "mean test_acc over 6 to 14 labels" in capfd.readouterr().out
    assert Journal.read_history(run)[-1].spent == 14
    write(path, header, [[*row, ""] for row in rows])
    begin(run, f"allow=[{ME}]", "active.budget=18")
    assert "mean test_acc over 6 to 18 labels" in capfd.readouterr().out


@pytest.mark.slow
def test_a_table_of_texts_is_labelled(command: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ["text"], [[f"number {digit}; so"] for digit in load_digits().target[:40]])
    table = ["data=table", f"data.path={path}", "data.text=text", "pool.audit=3"]
    out = command(*SETTINGS, *table, f"folder={tmp_path / 'run'}")
    assert re.search(r"14 labels in 3 rounds\. Audit \d of 3 right \(.* There is no learning curve", out)


@pytest.mark.slow
def test_folders_that_are_classes_are_revealed_and_need_no_names(command: Any, tmp_path: Path) -> None:
    root, digits = tmp_path / "digits", load_digits()
    for number in range(30):
        folder = root / ("even", "odd")[digits.target[number] % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 15).astype(np.uint8)).save(folder / f"{number:03}.png")
    settings = [one for one in SETTINGS if not one.startswith(("oracle", "allow", "data.classes"))]
    out = command(
        *settings,
        *IMAGES,
        "data=image_folder",
        f"data.root={root}",
        f"folder={tmp_path / 'run'}",
        "active.max_rounds=2",
    )
    assert "10 labels in 2 rounds. There is no learning curve" in out


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data=image_folder", "data.root={flat}", "oracle=revealed"], "so `Revealed` has none to reveal"),
        (["data=image_folder", "data.root={flat}", "data.classes=null"], "data.classes=[cat,dog]"),
        (["data=image_folder", "data.root={flat}", "model.network.name=resnet19"], "no network 'resnet19' in"),
        (["data=digits", "model=mlp"], "num_inputs` is null, but `Digits` has no attribute `num_inputs`"),
        (["data=image_folder", "data.root={flat}", *WATCHED], "watches a metric of the validation"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(flat: Path, tmp_path: Path, settings: list[str], said: str) -> None:
    left_out = (
        ("oracle",) if "oracle=revealed" in settings else ("data.classes",) if settings[0] == "data=digits" else ()
    )
    own = [one for one in SETTINGS if not one.startswith(left_out)]
    message = refusal(tmp_path / "run", *own, *(one.format(flat=flat) for one in settings))
    assert said in message
    assert len(message.splitlines()) == 1


def test_labels_of_other_classes_are_refused_before_the_folder_has_a_configuration(
    refused: Any, flat: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("key,index,label,class,state,note\n000.png,0,0,even,given,\n001.png,1,1,strange,given,\n")
    settings = ["data=image_folder", f"data.root={flat}", f"pool.labels={table}", f"folder={tmp_path / 'run'}"]
    assert "has labels of the classes 'strange', which are not in `classes`" in refused(*SETTINGS, *IMAGES, *settings)
    assert not (tmp_path / "run" / "config.yaml").exists()
