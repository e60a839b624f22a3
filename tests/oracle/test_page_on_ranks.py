"""A run on two ranks that people answer by page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.page import person
from tests.support.page_kills import check_recorded, label_of

pytest.importorskip("uvicorn")


@pytest.mark.slow  # each of the two processes imports torch and Lightning
def test_two_ranks_serve_one_page_and_take_the_same_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.page_on_ranks", str(tmp_path)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    folder = tmp_path / "run"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        with person(folder) as anna:
            anna.wait_for("next", seconds=180)  # both processes import torch first
            states = anna.answer_all(label_of)
            assert process.wait(60) == 0, (tmp_path / "log").read_text()
            log_of_page = (folder / "page" / "server.log").read_text()
    finally:
        process.kill()
        process.wait()
    assert states[-1]["phase"] == "done"
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["done"]
    answered = {int(index): label for index, label in {**first["labels"], **first["audit"]}.items()}
    assert answered == {index: label_of(index) for index in answered}
    assert len(answered) == 20
    assert (tmp_path / "log").read_text().count("`Page`: label at ") == 1
    assert log_of_page == ""  # a second page's process would say that there is one
    check_recorded(folder)
