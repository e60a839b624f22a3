"""Users' programs with types: mypy --strict takes what the library runs, and refuses what it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_al import ActiveLearning
from lightning_al.host.namespace import NAMESPACE
from tests.support import typed
from tests.support.tasks import trainer

ROOT = Path(__file__).parent.parent.parent
PROGRAM = Path(typed.__file__)


def mypy(*files: Path) -> str:
    pytest.importorskip("mypy")
    # With the settings and the cache of the project's own check.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.stderr == ""
    return done.stdout


MISTAKES = [
    ('ActiveLearning("bald")', 'Missing named argument "query_size"'),
    ('ActiveLearning("bald", query_size="4")', 'Argument "query_size" to "ActiveLearning" has incompatible type'),
    ('ActiveLearning("bald", query_size=4, reset="none")', 'Argument "reset" to "ActiveLearning" has incompatible'),
    ('ActiveLearning("bald", query_size=4, forward=lambda module: module)', "Cannot infer type of lambda"),
    ("ActiveDataModule(3, initial_size=8)", 'Argument 1 to "ActiveDataModule" has incompatible type "int"'),
]


def test_the_types_of_a_users_program_are_taken_and_mistakes_found_before_it_runs(tmp_path: Path) -> None:
    """All by one mypy, which takes seconds to read what Lightning and torch say of themselves."""
    programs = [tmp_path / f"mistake_{number}.py" for number in range(len(MISTAKES))]
    for program, (line, _) in zip(programs, MISTAKES, strict=True):
        program.write_text(f"from lightning_al import ActiveDataModule, ActiveLearning\n\n{line}\n")
    lines = mypy(PROGRAM, *programs).splitlines()
    assert not [line for line in lines if "mistake_" not in line]
    for program, (_, said) in zip(programs, MISTAKES, strict=True):
        assert any(program.name in line and said in line for line in lines), said


@pytest.mark.skipif(NAMESPACE != "pytorch_lightning", reason="the program is written for pytorch_lightning")
class TestTheProgramRuns:
    @pytest.fixture
    def make_trainer(self, tmp_path: Path) -> Any:
        return lambda active: trainer(tmp_path, max_epochs=1, callbacks=[active])

    @pytest.mark.parametrize("number", range(len(typed.callbacks(Path()))))
    def test_with_each_callback(self, tmp_path: Path, make_trainer: Any, number: int) -> None:
        active = typed.callbacks(tmp_path)[number]
        used, seconds, found = typed.run(active, typed.datamodules()[0], make_trainer)
        assert len(used) == 4 + 8 + 4
        assert seconds > 0
        assert found["done"]

    @pytest.mark.parametrize("number", range(len(typed.datamodules())))
    def test_with_each_datamodule(self, tmp_path: Path, make_trainer: Any, number: int) -> None:
        active = ActiveLearning("entropy", query_size=4, max_rounds=2, forward=typed.logits)
        used, _, _ = typed.run(active, typed.datamodules()[number], make_trainer)
        assert len(set(used)) == len(used) - 4
