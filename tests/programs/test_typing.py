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


NOT_READ = [
    *(f"torch.{name}" for name in ("ao", "cuda", "distributed", "distributions", "export", "fx", "jit", "onnx")),
    *(f"torch.{name}" for name in ("masked", "mps", "package", "profiler", "quantization", "sparse", "testing", "xpu")),
    *(f"torch.{name}" for name in ("_decomp", "_dynamo", "_export", "_functorch", "_higher_order_ops", "_inductor")),
    *(f"torch.{name}" for name in ("_lazy", "_library", "_meta_registrations", "_numpy", "_prims", "_prims_common")),
    *(f"torch.{name}" for name in ("_refs", "_subclasses", "_torch_docs")),
    *(
        "torchmetrics.functional",
        "torchmetrics.image",
        "filelock",
        "hydra",
        "matplotlib",
        "networkx",
        "numpy",
        "pandas",
    ),
    *("PIL", "rich", "scipy", "sklearn", "sympy"),
]
"""What the program names nothing of, and what would take two thirds of mypy's time to read."""


def mypy(folder: Path, cache: Path, *files: Path) -> str:
    """Return what mypy says of programs; of the library it reads the types, which the project's own check tests."""
    pytest.importorskip("mypy")
    unread = ",".join(f"{name}.*" for name in NOT_READ)
    settings = folder / "mypy.ini"
    settings.write_text(
        f"[mypy]\nstrict = true\n[mypy-lightning_al.*]\nfollow_imports = silent\n"
        f"[mypy-{unread}]\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", cache, "--no-error-summary"]
    done = subprocess.run(
        [*map(str, command), *map(str, files)], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stderr == ""
    return done.stdout


MISTAKES = [
    ('ActiveLearning("bald")', 'Missing named argument "query_size"'),
    ('ActiveLearning("bald", query_size="4")', 'Argument "query_size" to "ActiveLearning" has incompatible type'),
    ('ActiveLearning("bald", query_size=4, reset="none")', 'Argument "reset" to "ActiveLearning" has incompatible'),
    ('ActiveLearning("bald", query_size=4, forward=lambda module: module)', "Cannot infer type of lambda"),
    ("ActiveDataModule(3, initial_size=8)", 'Argument 1 to "ActiveDataModule" has incompatible type "int"'),
]


def test_the_types_of_a_users_program_are_taken_and_mistakes_found_before_it_runs(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """All by one mypy, which takes seconds to read what Lightning and torch say of themselves, and keeps it."""
    programs = [tmp_path / f"mistake_{number}.py" for number in range(len(MISTAKES))]
    for program, (line, _) in zip(programs, MISTAKES, strict=True):
        program.write_text(f"from lightning_al import ActiveDataModule, ActiveLearning\n\n{line}\n")
    cache = getattr(pytestconfig, "cache", None)
    lines = mypy(tmp_path, cache.mkdir("mypy") if cache is not None else tmp_path, PROGRAM, *programs).splitlines()
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
