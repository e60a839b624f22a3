"""What released versions wrote, this one goes on from, to the end that an uninterrupted run has."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al.run.journal import Journal
from lightning_al.run.journal_database import hash_of
from lightning_al.run.schemas import SCHEMA
from tests.released.task import HERE, fit
from tests.test_callback import plain

RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "run").is_dir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rounds of an uninterrupted run."""
    active, _, _ = fit(tmp_path_factory.mktemp("whole"), None)
    return plain(active.history)


def copy_of_run(release: str, folder: Path) -> Path:
    shutil.copytree(HERE / release / "run", folder / "run")
    return folder / "run"


def assert_same_rounds(rounds: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    """Compare what was asked exactly, and figures up to what processors round otherwise than the one that wrote."""
    assert [round["indices"] for round in rounds] == [round["indices"] for round in whole]
    for one, other in zip(rounds, whole, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-5)
        figures = ("scores", "metrics")
        assert {key: value for key, value in one.items() if key not in figures} == {
            key: value for key, value in other.items() if key not in figures
        }


def test_there_is_a_release() -> None:
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_journal_goes_on_to_the_same_end(tmp_path: Path, release: str, whole: list[dict[str, Any]]) -> None:
    run = copy_of_run(release, tmp_path)
    assert len(Journal.read_history(run)) == 2
    active, data, _ = fit(tmp_path, run)
    assert_same_rounds(plain(active.history), whole)
    assert data.pool.num_labelled == 20
    assert_same_rounds(plain(Journal.read_history(run)), whole)


@pytest.mark.parametrize("release", RELEASES)
def test_a_checkpoint_goes_on_to_the_same_end(tmp_path: Path, release: str, whole: list[dict[str, Any]]) -> None:
    path = HERE / release / "round-1.ckpt"
    saved = torch.load(path, weights_only=True)
    assert saved["epoch"] == 1
    active, data, _ = fit(tmp_path, None, ckpt_path=path)
    assert [round.labelled for round in active.history] == [8, 12, 16, 20]
    assert_same_rounds(plain(active.history), whole)
    assert data.pool.num_labelled == 20


@pytest.mark.parametrize("release", RELEASES)
def test_a_journal_of_a_newer_schema_is_refused(tmp_path: Path, release: str) -> None:
    run = copy_of_run(release, tmp_path)
    database = sqlite3.connect(run / "journal.sqlite")
    with database:
        rows = database.execute("SELECT number, body FROM rows ORDER BY number").fetchall()
        previous = ""
        for number, body in rows:
            body = json.dumps({**json.loads(body), "schema": SCHEMA + 1}) if number == 0 else body
            previous = hash_of(previous, body)
            database.execute("UPDATE rows SET body = ?, hash = ? WHERE number = ?", (body, previous, number))
    database.close()
    before = (run / "journal.sqlite").read_bytes()
    with pytest.raises(
        RuntimeError, match=rf"has schema {SCHEMA + 1}, but .* reads schemas up to {SCHEMA}. Use the version"
    ):
        fit(tmp_path, run)
    assert (run / "journal.sqlite").read_bytes() == before
