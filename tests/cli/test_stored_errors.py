"""What cannot be made or run of the settings in a folder is said in one line that names the setting."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_al.run.same_run import check_same_run
from tests.cli.test_cli import TINY
from tests.support.commands import refusal
from tests.support.commands import run as begin

pytestmark = pytest.mark.usefixtures("as_before")

KEPT: dict[str, Path] = {}

BROKEN: dict[str, tuple[str, Any, str]] = {
    "lr": ("model.lr", float("nan"), "`Classifier` needs `lr` to be a number of 0 or more, but got nan"),
    "a batch size": ("data.batch_size", 0, "`Digits` needs `batch_size` of at least 1, but got 0"),
    "a seed of the data": ("data.seed", -1, "`Digits` needs `seed` of at least 0, but got -1"),
    "an anomaly": ("trainer.detect_anomaly", "x", "cannot resume with its `trainer`. TypeError"),
    "a flush": (
        "logger.csv",
        {
            "_target_": "pytorch_lightning.loggers.CSVLogger",
            "save_dir": "${hydra:runtime.output_dir}",
            "flush_logs_every_n_steps": 0,
        },
        "cannot resume with its `logger.csv`. ZeroDivisionError",
    ),
    "a partial model": ("model._partial_", True, "`model` has `_partial_`, so it would not be made. Remove it"),
    "a partial datamodule": ("data._partial_", True, "`data` has `_partial_`"),
    "parts that are not made": ("model._recursive_", False, "cannot resume with its `model`. ValueError: optimizer"),
    "an unknown argument": ("trainer.nope", 3, "unexpected keyword argument 'nope'"),
    "a file's name": (
        "callbacks.c",
        {
            "_target_": "pytorch_lightning.callbacks.ModelCheckpoint",
            "dirpath": "${hydra:runtime.output_dir}/checkpoints",
            "filename": "{step:.2d}",
        },
        "cannot resume with its `callbacks.c`. ValueError: Precision not allowed",
    ),
}


# The model is refused by the same words as the datamodule, and a value as the learning rate is; a flush is below.
LIKE_ANOTHER = ("a partial datamodule", "a batch size", "a seed of the data", "a flush")


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "run" not in KEPT:
        folder = tmp_path_factory.mktemp("kept") / "run"
        begin(folder, *TINY, "active.budget=10", "trainer.enable_checkpointing=true")
        KEPT["run"] = folder
    shutil.copytree(KEPT["run"], tmp_path / "run")
    return tmp_path / "run"


def break_it(run: Path, case: str) -> str:
    """Put something into the folder that cannot be made or run, and return what is to be said of it."""
    name, value, said = BROKEN[case]
    plain = yaml.safe_load((run / "config.yaml").read_text())
    owner, _, last = name.rpartition(".")
    for key in ("callbacks", "logger"):
        plain[key] = plain[key] or {}
    plain[owner][last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    return said


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case in LIKE_ANOTHER else []) for case in BROKEN],
)
def test_what_a_folder_says_is_an_error_of_one_line(run: Path, case: str) -> None:
    said = break_it(run, case)
    found = refusal(run, "active.budget=15")
    assert said in found
    assert len(found.splitlines()) == 1


@pytest.mark.long
def test_what_a_folder_says_fails_in_a_line(run: Path, refused: Any) -> None:
    said = break_it(run, "a flush")
    found = refused(f"folder={run}", "active.budget=15")
    assert "Traceback" not in found
    lines = [line for line in found.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    assert said in lines[-1]
    said_by_us = [line for line in lines if "warn" not in line.lower() and not line.startswith("  ")]
    assert len(said_by_us) <= 2, "Hydra's line of the overrides, and ours"


NOW = {"seed": 0, "data": {"length": 3, "labels": [0, 1], "classes": [0, 1], "form": "x", "contents": None}}


@pytest.mark.parametrize("value", [[], {}, 3, "x", None, [1], {"labels": 3}, {"labels": "x"}, {"labels": {"0": 1}}])
def test_a_header_of_other_kinds_is_another_run(value: Any) -> None:
    with pytest.raises(ValueError, match="holds another run: its"):
        check_same_run("The folder", {**NOW, "data": value}, NOW, force=False)
