"""What may import what: the layers of the library, read from its source."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lightning_al
from tests.support.sources import nodes_of

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


@cache
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
    conditions = [node for node in nodes_of(path) if isinstance(node, ast.If)]
    types = [node for node in conditions if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"]
    for_types = {node for condition in types for line in condition.body for node in ast.walk(line)}
    found = set()
    for node in nodes_of(path):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def is_module(name: str) -> bool:
    path = HOME / Path(*name.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").exists()


def modules(names: set[str]) -> set[str]:
    """Those of the names that are files of this library."""
    ours = {name.removeprefix("lightning_al.") for name in names if name.startswith("lightning_al.")}
    return set(filter(is_module, ours))


def importers_of(packages: set[str]) -> set[str]:
    """The names of the files that import one of the packages."""
    return {name_of(path) for path in FILES if packages & {name.split(".")[0] for name in imports(path)}}


def test_imports_run_one_way():
    layers = {name_of(path): layer_of(name_of(path)) for path in FILES}
    above = [
        f"{importer} may not import {name}"
        for path in FILES
        for importer in [name_of(path)]
        for name in modules(imports(path))
        if layer_of(name) > layers[importer] and not importer.startswith(name)
    ]
    assert not above


def test_only_the_command_line_imports_hydra():
    importers = importers_of({"hydra", "omegaconf"})
    assert {name.split(".")[0] for name in importers} == {"cli"}, importers


def test_methods_and_records_do_without_lightning():
    importers = importers_of({"pytorch_lightning", "lightning", "lightning_fabric"})
    assert not {name for name in importers if name.split(".")[0] in WITHOUT_LIGHTNING}


@pytest.mark.parametrize("module", ["lightning_al", "lightning_al.cli", "lightning_al.cli.score"])
def test_the_command_line_answers_before_torch_is_imported(module):
    slow = {"torch", "pytorch_lightning", "lightning", "numpy", "rich"}
    code = f"import sys, {module}; print(sorted({slow} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
