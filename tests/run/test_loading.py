"""Loading runs no code: by the source, which has no way to, and by files made to try."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_al.host.namespace import pl
from lightning_al.report import Run, load_runs
from lightning_al.run.journal import Journal
from lightning_al.run.weights_file import load_weights
from tests.cli.test_cli import TINY
from tests.rounds.test_resume import Cut, InterruptedFitError
from tests.run.test_same_run import Going
from tests.support.sources import nodes_of
from tests.test_imports import FILES, HOME, name_of

OF_YAML = {"unsafe_load", "full_load", "load_hparams_from_yaml"}
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy", "code", "ctypes", "pty"}
CALLS = {"eval", "exec", "compile", "__import__", "all_gather_object", "broadcast_object_list", "gather_object"}
METHODS = {"system", "popen", "all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list"}

# Where something of the list stands all the same, and why.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("run.inert", "pickle"): "its Unpickler rebuilds tensors and plain containers, and nothing else",
    ("run.inert", "torch.load"): "by that Unpickler",
    ("host.ranks", "pickle"): "what the processes of one run tell each other, and no file",
    ("host.ranks", "all_gather_object"): "likewise",
}


def breaches(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What a file does that could run code out of what it reads."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in MODULES:
                yield str(node.module)
            yield from (alias.name for alias in node.names if alias.name in MODULES | METHODS)
            if node.module in ("torch", "numpy", "yaml"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names if "load" in alias.name)
        elif isinstance(node, ast.Call):
            yield from _breaches_of_call(node)
        elif isinstance(node, ast.Attribute) and node.attr in METHODS | OF_YAML:
            yield node.attr


def _breaches_of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in CALLS:
        yield name
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load"
    if name.endswith(".load_from_checkpoint") and given.get("weights_only") != "True":
        yield "load_from_checkpoint"
    if name == "yaml.load":
        yield "yaml.load"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if given.get("shell", "False") != "False":
        yield "shell"


def test_no_file_has_a_way_to_run_what_it_reads() -> None:
    files = [*FILES, HOME / "__init__.py"]
    found = {(name_of(path), breach) for path in files for breach in breaches(nodes_of(path))}
    assert not found - set(EXCEPTIONS)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "import joblib.numpy_pickle",
        "from pickle import loads",
        "from torch.serialization import pickle",
        "def f():\n    import dill",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=False)",
        "import torch\ntorch.load(x, weights_only=flag)",
        "from torch import load",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "eval('1')",
        "exec(x)",
        "yaml.load(x)",
        "yaml.unsafe_load(x)",
        "saving.load_hparams_from_yaml(x)",
        "torch.distributed.all_gather_object(x, y)",
        "from torch.distributed import broadcast_object_list",
        "subprocess.run(x, shell=True)",
        "os.system(x)",
        "run = os.system",
        "LitMLP.load_from_checkpoint(x)",
    ],
)
def test_the_search_finds_each_of_them(source: str) -> None:
    assert list(breaches(ast.walk(ast.parse(source))))


def test_every_exception_is_one() -> None:
    for name, breach in EXCEPTIONS:
        assert breach in breaches(nodes_of(HOME / f"{name.replace('.', '/')}.py"))


# Files that would run code.


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.made}",)


def digested(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def saved(thing: Any, path: Path, **kwargs: Any) -> bytes:
    torch.save(thing, path, **kwargs)
    return path.read_bytes()


def as_tar(thing: Any) -> bytes:
    """Pickle into the archive that torch 0.1 wrote, which torch 2.5 reads without a check."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(thing, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FORMS: dict[str, Callable[[Trap, Path], bytes]] = {
    "a pickle": lambda trap, path: pickle.dumps(trap, 2),
    "a pickle of the first protocol": lambda trap, path: pickle.dumps(trap, 0),
    "a pickle with its hash": lambda trap, path: digested(pickle.dumps(trap, 2)),
    "torch's format": lambda trap, path: saved({"net.0.weight": trap}, path),
    "torch's format with its hash": lambda trap, path: digested(saved({"net.0.weight": trap}, path)),
    "torch's old format with its hash": lambda trap, path: digested(
        saved({"net.0.weight": trap}, path, _use_new_zipfile_serialization=False)
    ),
    "torch's oldest format with its hash": lambda trap, path: digested(as_tar(trap)),
    "text with its hash": lambda trap, path: digested(b"hello"),
    "nothing with its hash": lambda trap, path: digested(b""),
    "a list with its hash": lambda trap, path: digested(saved([torch.ones(2)], path)),
    "beside weights, with its hash": lambda trap, path: digested(saved({"a": torch.ones(2), "b": [trap]}, path)),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("begun")
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=home / "kept", monitor="val_loss", save_last=True)
    with pytest.raises(InterruptedFitError):
        Going(home / "run").run(home, checkpoint, Cut(2, "fit"))
    return home


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_are_a_trap_are_refused(home: Path, form: str) -> None:
    made, path = home / "made", home / "run" / "initial.pt"
    path.write_bytes(FORMS[form](Trap(made), home / "trap.pt"))
    with pytest.raises(RuntimeError, match=r"initial\.pt (is damaged|has no weights that a run wrote)"):
        Going(home / "run").run(home)
    with pytest.raises(RuntimeError):
        load_weights(home / "run", "initial")
    assert not made.exists()
    if form.startswith("a pickle"):
        pickle.loads(path.read_bytes())  # it is a trap
        assert made.exists()


@pytest.mark.skipif("weights_only" not in signature(pl.Trainer.fit).parameters, reason="Lightning before 2.6")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("place", ["state_dict", "callbacks", "ActiveDataModule", "hyper_parameters", "extra"])
def test_a_checkpoint_that_is_a_trap_is_refused(home: Path, place: str) -> None:
    made, path = home / "made", home / "kept" / "round-1" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content[place] = {**content.get(place, {}), "trap": Trap(made)}
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        Going(None, fit={"ckpt_path": path, "weights_only": True}).run(home)
    assert not made.exists()
    torch.load(path, weights_only=False)  # it is a trap
    assert made.exists()


@pytest.mark.parametrize("place", ["extra", "hyper_parameters", "callbacks"])
def test_a_best_checkpoint_that_is_a_trap_is_read_without_running_it(home: Path, place: str) -> None:
    """The file that a ModelCheckpoint wrote, altered before the weights are read from it."""
    made = home / "made"

    class Altering(pl.callbacks.ModelCheckpoint):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            content = torch.load(self.best_model_path, weights_only=True)
            torch.save({**content, place: {**content.get(place, {}), "trap": Trap(made)}}, self.best_model_path)

    checkpoint = Altering(dirpath=home / "other", monitor="val_loss")
    assert Going(None).run(home, checkpoint).done
    assert not made.exists()
    torch.load(checkpoint.best_model_path, weights_only=False)  # it is a trap
    assert made.exists()


def test_weights_that_are_a_trap_are_refused_in_a_best_checkpoint(home: Path) -> None:
    class Altering(pl.callbacks.ModelCheckpoint):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            content = torch.load(self.best_model_path, weights_only=True)
            content["state_dict"] = {**content["state_dict"], "trap": Trap(home / "made")}
            torch.save(content, self.best_model_path)

    with pytest.raises(ValueError, match="holds more than tensors and plain data in 'trap'"):
        Going(None).run(home, Altering(dirpath=home / "other", monitor="val_loss"))
    assert not (home / "made").exists()


@pytest.mark.parametrize("name", ["history.jsonl", "writer.json", "summary.json"])
def test_files_for_people_are_not_what_a_run_goes_on_from(home: Path, name: str) -> None:
    made = home / "made"
    content = pickle.dumps(Trap(made)) + json.dumps({"py/reduce": ["os.system", f"touch {made}"]}).encode()
    (home / "run" / name).write_bytes(content)
    assert Going(home / "run").run(home).done
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95",
        b"__import__('os').system('touch MADE')",
        b'{"name": {"py/reduce": "os.system"}}',
        b"[]",
        b"null",
        b"",
    ],
)
def test_a_summary_that_is_a_trap_is_refused(tmp_path: Path, content: bytes) -> None:
    made = tmp_path / "made"
    (tmp_path / "summary.json").write_bytes(content.replace(b"MADE", str(made).encode()))
    with pytest.raises(ValueError, match=r"is not the summary of a run: .* Remove it and run again"):
        Run.read(tmp_path)
    with pytest.raises(ValueError, match="is not the summary of a run"):
        load_runs(tmp_path)
    (tmp_path / "summary.json").write_bytes(pickle.dumps(Trap(made)))
    with pytest.raises(ValueError, match="is not the summary of a run"):
        Run.read(tmp_path)
    assert not made.exists()


@pytest.mark.parametrize(
    "body", ["__import__('os').system('touch MADE')", '{"py/reduce": ["os.system"]}', "[]", "null"]
)
def test_a_row_that_is_a_trap_is_refused(home: Path, body: str) -> None:
    made = home / "made"
    database = sqlite3.connect(home / "run" / "journal.sqlite")
    with database:
        database.execute("UPDATE rows SET body = ? WHERE number = 1", (body.replace("MADE", str(made)),))
    database.close()
    with pytest.raises(RuntimeError, match="is damaged at row 1"):
        Going(home / "run").run(home)
    with pytest.raises(RuntimeError, match="is damaged at row 1"):
        Journal.read_history(home / "run")
    assert not made.exists()


def test_a_stored_configuration_that_is_a_trap_is_refused(command, refused, tmp_path: Path) -> None:
    """The command line's word for the folder is all that a user types; what lies there was written by anyone."""
    config = OmegaConf.create(command(*TINY, f"folder={tmp_path}", "--cfg", "job"))
    config.name, config.folder, config.allow = "batchbald", "???", ["shutil"]
    made = tmp_path / "made"
    config.logger = {"x": {"_target_": "shutil.copyfile", "src": __file__, "dst": str(made)}}
    OmegaConf.save(config, tmp_path / "config.yaml")
    assert "`logger.x._target_: shutil.copyfile` is refused" in refused(f"folder={tmp_path}")
    assert not made.exists()
