"""Both Lightning namespaces are served, each in a process of its own, and a mixture of the two is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from packaging.version import Version

from lightning_al.host.namespace import NAMESPACE, NAMESPACES, choose_namespace
from tests.cli.test_cli import TINY
from tests.support import programs

if find_spec("lightning") is None:  # found without importing it, which takes over what both namespaces log by
    pytest.skip("lightning is not installed", allow_module_level=True)

REPOSITORY = Path(__file__).parents[2]


def run(code: str, *, check: bool = True, **environment: str) -> str:
    """Run a program in a new process, and return what it printed, or its last error line where it failed."""
    clean = {name: value for name, value in os.environ.items() if name != "LIGHTNING_AL_NAMESPACE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == check, done.stderr
    return done.stdout.strip() if check else done.stderr.strip().splitlines()[-1]


WHOLE_RUN = """
import sys
import lightning.pytorch as L
from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import NAMESPACE
from tests.support.tasks import LitMLP, LitPoints, trainer

assert isinstance(LitMLP(), L.LightningModule) and issubclass(ActiveLearning, L.Callback)
assert "pytorch_lightning" not in sys.modules
active = ActiveLearning("batchbald", query_size=3, budget=10)
checkpoint = L.callbacks.ModelCheckpoint(monitor="val_loss")
stopping = L.callbacks.EarlyStopping("val_loss")
wrapped = LitPoints(24)
data = ActiveDataModule(wrapped, initial_size=4)
run = trainer("TMP", callbacks=[active, stopping, checkpoint], enable_checkpointing=True)
run.fit(LitMLP(), datamodule=data)
assert "pytorch_lightning" not in sys.modules
print(NAMESPACE, [round.labelled for round in active.history], "test_acc" in active.history[-1].metrics)

from lightning_al.cli.namespace import in_this_process

named = [{"_target_": f"{name}.Trainer"} for name in ("lightning.pytorch", "pytorch_lightning")]
print([in_this_process(settings)["_target_"] for settings in named])
"""


COMMAND = """
from lightning_al.cli import main

sys.argv[1:] = ARGUMENTS
main()
print(NAMESPACE, sorted({"pytorch_lightning", "lightning.pytorch"} & set(sys.modules)))
"""


FORGET = """
import sys

forgotten = ("pytorch_lightning", "lightning_fabric", "lightning_al", "tests")
for name in [name for name in sys.modules if name.split(".")[0] in forgotten]:
    del sys.modules[name]
"""
"""Let a fork import anew what has chosen a namespace, and nothing else, such as torch."""


def check_whole_run(said: Sequence[str]) -> None:
    """Check what the program said, in which a configuration may name the classes of either namespace."""
    runs, classes = said[:2]
    assert runs == "lightning.pytorch [4, 7, 10] True"
    assert classes == "['lightning.pytorch.Trainer', 'lightning.pytorch.Trainer']"


@pytest.mark.long
def test_a_whole_run_where_only_lightning_pytorch_was_imported(tmp_path: Path) -> None:
    program = FORGET + WHOLE_RUN.replace("TMP", str(tmp_path))
    check_whole_run(programs.run("-c", program).stdout.splitlines())


@pytest.mark.slow  # An interpreter of its own, and the command line in it.
def test_a_whole_run_and_the_command_line_where_only_lightning_pytorch_was_imported(tmp_path: Path) -> None:
    """The command line makes the classes of the namespace in use, whichever of the two its configuration names."""
    arguments = [
        *TINY,
        f"folder={tmp_path}/run",
        "logger=csv",
        "+callbacks.timer._target_=lightning.pytorch.callbacks.Timer",
    ]
    code = WHOLE_RUN.replace("TMP", str(tmp_path)) + COMMAND.replace("ARGUMENTS", repr(arguments))
    said = run(code).splitlines()
    check_whole_run(said)
    assert said[-1] == "lightning.pytorch ['lightning.pytorch']"
    stored = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert stored.trainer._target_ == "pytorch_lightning.Trainer"
    assert stored.callbacks.timer._target_ == "lightning.pytorch.callbacks.Timer"
    # The run resumes under the other, in a fork of what has imported that alone.
    resumed = ["import sys", f"from lightning_al.host.namespace import NAMESPACE{COMMAND}"]
    again = "\n".join(resumed).replace("ARGUMENTS", repr([f"folder={tmp_path}/run", "active.budget=25"]))
    assert programs.run("-c", again).stdout.splitlines()[-1] == f"{NAMESPACE} {[NAMESPACE]}"


MIXED = """
import lightning.pytorch, pytorch_lightning
from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import NAMESPACE
from tests.support.tasks import LitMLP, LitPoints, points, trainer

ours, other = (lightning.pytorch, pytorch_lightning)[:: 1 if NAMESPACE == "lightning.pytorch" else -1]
print(NAMESPACE)

class Module(other.LightningModule):
    training_step, configure_optimizers, forward = LitMLP.training_step, LitMLP.configure_optimizers, LitMLP.forward

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"lr": 0.1})
        self.net = LitMLP().net

def attempt(action):
    try:
        action()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("no error")

class Data(other.LightningDataModule):
    pass

silent = dict(default_root_dir="TMP", accelerator="cpu", logger=False, enable_checkpointing=False,
              enable_progress_bar=False, enable_model_summary=False)
active = ActiveLearning("bald", query_size=1, max_rounds=1)
attempt(lambda: ActiveDataModule(Data(), initial_size=2))
data = ActiveDataModule(points(8), initial_size=2)
attempt(lambda: other.Trainer(**silent, callbacks=[active]).fit(Module(), datamodule=data))
attempt(lambda: other.Trainer(**silent, callbacks=[active]).fit(Module(), data.wrapped.train_dataloader()))
attempt(lambda: trainer("TMP", callbacks=[active]).fit(LitMLP(), datamodule=data))
"""


@pytest.mark.skipif(
    Version(version("lightning")) < Version("2.5"), reason='its Trainer says "Expected a parent" itself'
)
@pytest.mark.parametrize(
    "namespace",
    # That of the programs here, which a fork has imported already, and its mirror image.
    [pytest.param(name, marks=[] if name == NAMESPACE else pytest.mark.slow) for name in NAMESPACES],
)
def test_the_other_namespace_is_refused_with_the_remedy(tmp_path: Path, namespace: str) -> None:
    other = {"pytorch_lightning": "lightning.pytorch", "lightning.pytorch": "pytorch_lightning"}[namespace]
    # With both imported, pytorch_lightning is chosen without being asked for.
    asked = {"LIGHTNING_AL_NAMESPACE": namespace} if namespace == "lightning.pytorch" else {}
    code = MIXED.replace("TMP", str(tmp_path))
    said = programs.run("-c", code).stdout if namespace == NAMESPACE else run(code, **asked)
    chosen, data, trainer, no_data, own = said.splitlines()
    assert chosen == namespace
    remedy = (
        "import that before `lightning_al` and import the other nowhere, or set the environment variable "
        f"LIGHTNING_AL_NAMESPACE={other}."
    )
    assert data.startswith(f"TypeError: `lightning_al` works with `{namespace}.LightningDataModule` in this process")
    for error in (trainer, no_data):
        assert error.startswith(f"TypeError: `lightning_al` works with `{namespace}.Trainer` in this process")
        assert f"got Trainer of `{other.split('.')[0]}`" in error
    assert all(remedy in error for error in (data, trainer, no_data))
    assert own == "no error"


@pytest.mark.parametrize(
    ("imported", "chosen"),
    [
        ([], "pytorch_lightning"),
        (["pytorch_lightning"], "pytorch_lightning"),
        (["lightning.pytorch"], "lightning.pytorch"),
        (["lightning.pytorch", "pytorch_lightning"], "pytorch_lightning"),
    ],
)
def test_the_choice_by_what_was_imported_before(
    monkeypatch: pytest.MonkeyPatch, imported: list[str], chosen: str
) -> None:
    monkeypatch.delenv("LIGHTNING_AL_NAMESPACE", raising=False)
    for name in NAMESPACES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in imported:
        monkeypatch.setitem(sys.modules, name, sys)
    assert choose_namespace() == chosen
    for name in NAMESPACES:
        monkeypatch.setenv("LIGHTNING_AL_NAMESPACE", name)
        assert choose_namespace() == name


def test_an_unknown_namespace_is_refused() -> None:
    other = "lightning"
    error = run("import lightning_al.host.namespace", check=False, LIGHTNING_AL_NAMESPACE=other)
    assert error == (
        f"ValueError: LIGHTNING_AL_NAMESPACE is {other!r}. Set it to one of: pytorch_lightning, lightning.pytorch."
    )
