"""The same inputs lead to the same questions and weights, whatever the hash seed, workers and interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import programs, questions
from tests.support.questions import POINTS, ROUNDS

HASH_SEEDS = ["0", "1", "4242", "random"]
WORKERS = [0, 1, 2, 4]


def ask(folder: Path, hash_seed: str | None, workers: int, anew: bool) -> dict[str, Any]:
    """Run a program in an interpreter with a hash seed, or in a fork, which has another one."""
    command = ["-m", "tests.support.questions", folder, "--workers", workers, *["--anew"] * anew]
    environment = {"PYTHONHASHSEED": hash_seed} if hash_seed is not None else None
    done = programs.run(*command, environment=environment, fork=hash_seed is None)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def check(answer: dict[str, Any]) -> None:
    asked = [index for _, indices, _ in answer["asked"] for index in indices]
    assert len(answer["asked"]) == ROUNDS
    assert len(set(asked)) == len(asked) > 0
    assert set(asked) <= set(range(POINTS))


@pytest.mark.long
def test_hashes_workers_and_interruptions_change_nothing(tmp_path: Path) -> None:
    # In this process, since a fork has other hashes (tests/support/programs.py).
    answer = json.loads(json.dumps(questions.answer(*questions.fit(str(tmp_path / "one"), 0, None))))
    check(answer)
    assert ask(tmp_path / "other", None, workers=2, anew=True) == answer


@pytest.mark.slow
def test_no_mix_of_hashes_workers_and_interruptions_changes_anything(tmp_path: Path) -> None:
    answers = {
        (hash_seed, workers, anew): ask(tmp_path / f"{hash_seed}-{workers}-{anew}", hash_seed, workers, anew)
        for hash_seed in HASH_SEEDS
        for workers in WORKERS
        for anew in (False, True)
    }
    first = answers["0", 0, False]
    check(first)
    assert [mix for mix, answer in answers.items() if answer != first] == []
