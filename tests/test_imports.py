"""What may import what: the layers of the library, read from its source."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lightning_al

HOME = Path(lightning_al.__file__).parent

# Each line imports from itself and the lines above.
LAYERS = [
    ["information", "points", "registry", "values"],
    ["run"],
    ["page"],
    ["acquisition", "host", "posterior", "task"],
    ["data"],
    ["oracle", "prediction"],
    ["evaluation"],
    ["rounds"],
    ["callback", "pool_scores"],
    ["demos", "report", "testing"],
    ["cli"],
]
WITHOUT_LIGHTNING = ["information", "points", "registry", "values", "run", "page", "acquisition", "posterior", "task"]

FILES = sorted(path for path in HOME.rglob("*.py") if path != HOME / "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


def layer_of(name: str) -> int:
    """The layer of the longest entry that the module is, or lies in."""
    entries = [
        (len(entry), layer)
        for layer, names in enumerate(LAYERS)
        for entry in names
        if f"{name}.".startswith(f"{entry}.")
    ]
    assert entries, f"{name} stands in no layer of tests/test_imports.py: put it where it belongs."
    return max(entries)[1]


@cache
def imports(path: Path) -> set[str]:
    """The modules that a file imports, inside functions too, but for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules(names: set[str]) -> set[str]:
    """Those of the names that are files of this library."""
    ours = {name.removeprefix("lightning_al.") for name in names if name.startswith("lightning_al.")}
    return {
        name
        for name in ours
        if (HOME / Path(*name.split("."))).is_dir() or (HOME / f"{Path(*name.split('.'))}.py").exists()
    }


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path):
    layer = layer_of(name_of(path))
    above = {name for name in modules(imports(path)) if layer_of(name) > layer and not name_of(path).startswith(name)}
    assert not above, f"{name_of(path)} may not import from {above}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_line_imports_hydra(path):
    packages = {name.split(".")[0] for name in imports(path)}
    assert name_of(path).split(".")[0] == "cli" or not packages & {"hydra", "omegaconf"}


@pytest.mark.parametrize(
    "path", [path for path in FILES if name_of(path).split(".")[0] in WITHOUT_LIGHTNING], ids=name_of
)
def test_methods_and_records_do_without_lightning(path):
    packages = {name.split(".")[0] for name in imports(path)}
    assert not packages & {"pytorch_lightning", "lightning", "lightning_fabric"}


@pytest.mark.parametrize("module", ["lightning_al", "lightning_al.cli", "lightning_al.cli.score"])
def test_the_command_line_answers_before_torch_is_imported(module):
    slow = {"torch", "pytorch_lightning", "lightning", "numpy", "rich"}
    code = f"import sys, {module}; print(sorted({slow} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
