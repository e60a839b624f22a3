"""The wheel: it holds what it should, and runs from any folder."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import lightning_al
from lightning_al.cli import main
from tests.cli.test_cli import TINY
from tests.support import programs
from tests.support.sources import nodes_of
from tests.test_imports import LAYERS

ROOT = Path(__file__).parent.parent


def link_sources(source: Path) -> Path:
    source.mkdir()
    for name in ("lightning_al", "conf", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    return source


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = link_sources(folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def test_holds_every_module_and_every_yaml(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "lightning_al").rglob("*.py*") if path.suffix != ".pyc"}
    yamls = {f"lightning_al/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(yamls) > 10
    page = {f"lightning_al/report/page.{form}" for form in ("html", "css")}
    page |= {f"lightning_al/oracle/files/sheet.{form}" for form in ("html", "css", "js")}
    page |= {f"lightning_al/page/page.{form}" for form in ("html", "css", "js")}
    assert modules | yamls | page | {"lightning_al/py.typed", "lightning_al/conf/__init__.py"} <= names


def program_of_a_command(paths: Sequence[str]) -> str:
    """A program that runs a tiny command with these paths before all others, and says which library it has."""
    arguments = [setting for setting in TINY if setting not in ("callbacks=none", "trainer.enable_progress_bar=false")]
    command = ["lightning-al", *arguments, "active.budget=15", "acquisition=bald"]
    return (
        f"import sys; sys.path[:0] = {paths!r}; sys.argv = {command!r}\n"
        "import lightning_al.cli; print(lightning_al.__file__); lightning_al.cli.main()"
    )


def check_what_it_said_and_left(done: subprocess.CompletedProcess[str], library: Path, folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "GPU available but not used" not in line]  # beside a GPU
    assert said == [], "it says no more than it should"
    assert done.stdout.startswith(str(library))
    [summary] = folder.glob("outputs/*/*/summary.json")
    assert len(json.loads(summary.read_text())["labels"]) == 2
    assert "round 0: 10 labels, test_acc" in done.stdout
    assert "BALD, seed 0" in done.stdout
    assert str(summary.parent) in done.stdout
    assert len(done.stdout.splitlines()) < 20


@pytest.mark.long
def test_a_command_runs_in_another_folder(tmp_path: Path) -> None:
    done = programs.run("-c", program_of_a_command([]), cwd=tmp_path)
    check_what_it_said_and_left(done, ROOT, tmp_path)


@pytest.mark.slow  # An interpreter of its own; that the wheel holds all files is tested above.
def test_the_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # as pip installs it, which would compile each module too
    # -S leaves the site-packages out, so that an editable install cannot answer in place of the wheel.
    paths = [str(site), *(path for path in sys.path if path.endswith("site-packages"))]
    command = [sys.executable, "-S", "-c", program_of_a_command(paths)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    check_what_it_said_and_left(done, site, tmp_path)


def test_the_command_is_what_its_name_starts() -> None:
    [command] = entry_points(group="console_scripts", name="lightning-al")
    assert command.load() is main


def test_an_editable_install_is_a_path_which_type_checkers_and_editors_read(tmp_path: Path) -> None:
    source = link_sources(tmp_path / "source")
    build = f"from setuptools.build_meta import build_editable; print(build_editable({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=300)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        (installed,) = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert installed.endswith(".pth")
        assert archive.read(installed).decode().split() == [str(source)]
    for found in ("lightning_al/py.typed", "lightning_al/conf/__init__.py", "lightning_al/conf/config.yaml"):
        assert (source / found).is_file()


def test_public_names_are_there_and_no_others() -> None:
    stub = ast.parse(Path(lightning_al.__file__).with_suffix(".pyi").read_text())
    homes = {alias.name: line.module for line in stub.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    assert set(lightning_al.__all__) == set(dir(lightning_al)) == set(homes)
    for name, home in homes.items():
        assert getattr(lightning_al, name) is getattr(importlib.import_module(f"lightning_al.{home}"), name)
    with pytest.raises(AttributeError, match="No lightning_al attribute nonsense"):
        _ = lightning_al.nonsense


def test_the_version_is_the_same_everywhere() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == lightning_al.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == lightning_al.__version__


def test_the_map_in_contributing_names_every_package_in_the_order_of_imports() -> None:
    page = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    table = page.partition("## Map")[2].partition("To draw the imports")[0]
    named = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", table, re.MULTILINE)
    home = ROOT / "lightning_al"
    packages = [path.parent.name for path in home.glob("*/__init__.py")]
    files = [path.stem for path in home.glob("*.py") if path.stem != "__init__"]
    assert sorted(named) == sorted(packages + files)
    layers = [next(i for i, layer in enumerate(LAYERS) if name in layer) for name in named if name != "conf"]
    assert layers == sorted(layers)


def test_contributing_names_files_that_exist() -> None:
    page = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`([\w./]+\.(?:py|pyi|yaml|toml|cff|md))`", page):
        if "NAME" not in name:
            below = (ROOT / "lightning_al").rglob(Path(name).name)
            assert (ROOT / name).exists() or any(str(path).endswith(f"/{name}") for path in below), name


OF_OTHERS = {
    # Python
    "_exit": "how a fork of this process ends",
    "_run_exitfuncs": "what a fork does not run by itself",
    # torch
    "_dynamo": "forgets what was compiled",
    "_forward_pre_hooks": "whether a hook is left on a layer",
    "_shutdown_workers": "a signal has to come while workers end",
    # Lightning
    "_FitLoop": "a place where a process is killed",
    "_batches_that_stepped": "the step that loggers are given",
    "_duration": "a timer that is up",
    "_lightning_module": "the module that a Trainer has during a fit",
    "_offset": "what a timer has counted",
    # rich
    "_console": "where what it prints is read",
}
"""The private names of others that tests use, and what for."""


def private_names(path: Path) -> Iterator[str]:
    """The private names that a file imports from the library, or reads or patches on what is not its own."""
    source = path.read_text()
    if not re.search(r"(?<!\w)_[A-Za-z]", source):
        return
    nodes = nodes_of(path)
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_self(node.value)}
    for node in nodes:
        found = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning_al"):
            found = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute) and not is_self(node.value):
            found = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getattr", "setattr", "delattr")):
            found = [part.value for part in node.args[1:2] if isinstance(part, ast.Constant)]
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:  # an object and the name of what is patched
            owner, name = node.elts
            found = [name.value] if isinstance(name, ast.Constant) and not isinstance(owner, ast.Constant) else []
        for name in found:
            if isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*[A-Za-z]", name) and name not in own:
                yield f"line {node.lineno}: {name}"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


SUBJECT = "test_private_names.py"  # whose subject they are
TEST_FILES = sorted(path for path in Path(__file__).parent.rglob("*.py") if path.name != SUBJECT)


def test_tests_go_by_public_names() -> None:
    found = {str(path): [*private_names(path)] for path in TEST_FILES}
    reached = {path: [name for name in names if name.split()[-1] not in OF_OTHERS] for path, names in found.items()}
    assert not {path: names for path, names in reached.items() if names}
    used = {name.split()[-1] for names in found.values() for name in names}
    assert used >= set(OF_OTHERS), "an exception that no test needs any more is removed"
