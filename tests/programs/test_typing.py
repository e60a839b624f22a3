"""Users' programs with types: mypy --strict takes what the library runs, and refuses what it cannot."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lightning_al import ActiveLearning
from lightning_al.host.namespace import NAMESPACE
from tests.support import typed
from tests.support.tasks import trainer

ROOT = Path(__file__).parents[2]


def test_mypy_reads_the_program_strictly_and_so_finds_whether_a_mistake_is_still_one() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True  # which warns of an `ignore` that nothing needs
    assert settings.get("warn_unused_ignores", True)
    assert str(Path(typed.__file__).relative_to(ROOT)) in settings["files"]


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
