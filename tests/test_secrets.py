"""What a command reads from the environment is in no file of its run, and a folder reads nothing from it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_al.cli.secrets import Secrets
from lightning_al.journal import Journal
from lightning_al.report.command import main as report
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("as_before")

SECRET = "hunter2hunter2"
KEY = 73_571_113

OWN = '''
from lightning_al.demos import Classifier, Digits, digits_cnn

class Keyed(Classifier):
    """A module that keeps all that it is made with among its hyperparameters."""
    def __init__(self, token, url, key, fails=False):
        super().__init__(digits_cnn(), num_classes=10)
        self.save_hyperparameters()
        if fails:
            raise ValueError(f"no access with {token}")

    def training_step(self, batch, i):
        assert self.hparams.token.startswith("hunter2"), "the module itself has the value"
        return super().training_step(batch, i)

class Data(Digits):
    def __init__(self, password, **options):
        super().__init__(**options)
        self.save_hyperparameters()
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "own_secrets.py").write_text(OWN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "keyed.yaml").write_text(
        "_target_: own_secrets.Keyed\n"
        "token: ${oc.env:TOKEN}\n"
        "url: http://me:${.token}@host\n"
        "key: ${oc.decode:${oc.env:KEY}}\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("KEY", str(KEY))
    yield
    sys.modules.pop("own_secrets", None)


def holding(folder: Path, *secrets: str) -> list[str]:
    """The files of a folder that have one of the secrets in them or in their names."""
    return [
        str(path)
        for path in folder.rglob("*")
        for secret in secrets
        if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes())
    ]


def test_a_secret_is_in_no_file_of_its_run(own, command, refused, tmp_path, monkeypatch):
    run = tmp_path / "run"
    conf = ["--config-dir", str(tmp_path / "conf")]
    quick = [one for one in TINY if not one.startswith(("logger", "callbacks"))]
    started = [
        "model=keyed",
        "data._target_=own_secrets.Data",
        "+data.password=${oc.env:TOKEN}",
        "callbacks=early_stopping",
        "~callbacks.early_stopping",
        "~callbacks.progress",
        "callbacks.checkpoint.monitor=null",
        "trainer.enable_checkpointing=true",
        "logger=[csv,tensorboard]",
        "name='run of ${oc.env:TOKEN}'",
        "allow=[own_secrets]",
        "active.budget=10",
    ]
    said = command(*conf, *quick, *started, f"folder={run}")
    assert (run / "csv" / "hparams.yaml").exists()
    assert list((run / "checkpoints").rglob("*.ckpt"))
    assert holding(run, SECRET, str(KEY)) == []
    hint = next(line for line in said.splitlines() if "goes on by: " in line)
    again = shlex.split(hint.partition("goes on by: ")[2].rstrip(")"))[1:]
    # A finished run is shown without what it was begun with.
    monkeypatch.delenv("TOKEN")
    assert "BatchBALD, seed 0" in command(f"folder={run}")
    monkeypatch.setenv("TOKEN", SECRET)
    said = refused(f"folder={run}", "active.budget=15", "allow=[own_secrets]")
    assert "`model.token` refers to ${oc.env:TOKEN}, which is read only where you say it now" in said
    assert "++model.token=${oc.env:TOKEN}" in said
    assert SECRET not in said
    # What was begun with it goes on with it.
    command(*again, "active.budget=15")
    assert [round.labelled for round in Journal.read_history(run)] == [10, 15]
    assert holding(run, SECRET, str(KEY)) == []
    stored = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=False)
    assert stored["model"]["token"] == "${oc.env:TOKEN}"
    report([str(run), "--out", str(tmp_path / "page")])
    assert holding(tmp_path / "page", SECRET, str(KEY)) == []


def test_a_secret_is_in_no_file_of_a_sweep_that_fails(own, refused, tmp_path):
    sweep = tmp_path / "sweep"
    said = refused(
        "-m", "--config-dir", str(tmp_path / "conf"), *TINY, "model=keyed", "+model.fails=true", "allow=[own_secrets]",
        f"folder={sweep}", "seed=0,1",
    )  # fmt: skip
    assert "2 cells failed" in said
    errors = list(sweep.rglob("error.txt"))
    assert len(errors) == 2
    assert all("no access with ${oc.env:TOKEN}" in path.read_text() for path in errors)
    assert holding(sweep, SECRET, str(KEY)) == []


def test_values_are_known_by_text_or_by_name():
    config = OmegaConf.create({"a": "${oc.decode:'7'}", "b": 7, "c": "x${oc.env:NOT_THERE,word}", "d": {"e": "${c}"}})
    secrets = Secrets.of(config, OmegaConf.create(OmegaConf.to_container(config, resolve=True)))
    assert secrets.hide({"a": 7, "b": 7, "c": ["xword"], "f": "no xword"}) == {
        "a": "${oc.decode:'7'}",
        "b": 7,
        "c": ["x${oc.env:NOT_THERE,word}"],
        "f": "no x${oc.env:NOT_THERE,word}",
    }
