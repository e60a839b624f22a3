"""What a command reads from the environment is in no file of its run, and a folder reads nothing from it."""

from __future__ import annotations

import json
import shlex
import sys
from itertools import cycle
from pathlib import Path
from zipfile import ZipFile

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_al.cli.cells import clear_error, write_error
from lightning_al.cli.recorded_settings import check_folder, check_none_is_recorded
from lightning_al.cli.references import dotted, shown, values
from lightning_al.cli.secrets import Secrets, remember
from lightning_al.cli.sweep import run_cell
from lightning_al.report.command import main as report
from lightning_al.run.folder import ERROR
from lightning_al.run.journal import Journal
from tests.cli.test_cli import TINY
from tests.support.commands import refusal, run
from tests.support.stored import composed

pytestmark = pytest.mark.usefixtures("as_before")

SECRET = "hunter2hunter2"
KEY = 73_571_113

OWN = '''
from lightning_al.demos import Classifier, Digits, digits_cnn
from lightning_al.oracle import Revealed

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

class Options(Classifier):
    """A module that keeps whatever it is made with."""
    def __init__(self, **options):
        super().__init__(digits_cnn(), num_classes=10)
        self.save_hyperparameters()
        assert options["decoded"] == {"hunter2hunter2": ["x", "hunter2hunter2y"], "key": 73571113}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["from"] = ["me", {"by": self.hparams.token}]

class Oracle(Revealed):
    def __init__(self, token):
        self.token = token

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


@pytest.mark.long
def test_a_secret_is_in_no_file_of_its_run(own, command, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
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
    said = command(*conf, *quick, *started, "acquisition=random", f"folder={folder}")
    assert (folder / "csv" / "hparams.yaml").exists()
    assert list((folder / "checkpoints").rglob("*.ckpt"))
    assert holding(folder, SECRET, str(KEY)) == []
    hint = next(line for line in said.splitlines() if "to resume it: " in line)
    again = shlex.split(hint.partition("to resume it: ")[2].rstrip(")"))[1:]
    # A finished run is shown without what it was begun with.
    monkeypatch.delenv("TOKEN")
    run(folder)
    assert "Random, seed 0" in capfd.readouterr().out
    monkeypatch.setenv("TOKEN", SECRET)
    said = refusal(folder, "active.budget=15", "allow=[own_secrets]")
    assert "`model.token` refers to ${oc.env:TOKEN}, which is read only if you repeat it" in said
    assert "++model.token=${oc.env:TOKEN}" in said
    assert SECRET not in said
    # What was begun with it goes on with it.
    command(*again, "active.budget=15")
    assert [round.labelled for round in Journal.read_history(folder)] == [10, 15]
    assert holding(folder, SECRET, str(KEY)) == []
    stored = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
    assert stored["model"]["token"] == "${oc.env:TOKEN}"


def strings(folder: Path, *overrides: str) -> list[str]:
    """All places of a configuration in which there is a text, or nothing, so that a text may come there."""
    plain = OmegaConf.to_container(composed(folder, *overrides), resolve=False)
    return [dotted(way) for way, value in values(plain) if value is None or isinstance(value, str)]


PARTS = ("logger=[csv,tensorboard]", "callbacks=early_stopping", "data=digits", "posterior=mc_dropout")
PLACES = sorted({*strings(Path("x"), *PARTS), *strings(Path("x"), "data=mnist", "logger=mlflow")})
FORMS = ["${oc.env:TOKEN}", "a-${oc.env:TOKEN}", "${oc.decode:${oc.env:TOKEN}}", "${oc.select:nowhere,${oc.env:TOKEN}}"]


def settings_with(folder: Path, place: str, value: str, *parts: str) -> tuple[DictConfig, DictConfig]:
    config = composed(folder, *parts)
    with open_dict(config):
        OmegaConf.update(config, place, value, force_add=True)
    return config, OmegaConf.create(OmegaConf.to_container(config, resolve=True))


def is_refused(folder: Path, place: str, value: str, *parts: str) -> str | None:
    """What the command says of a setting from outside, or None where it takes it."""
    config, settings = settings_with(folder, place, value, *parts)
    try:
        check_none_is_recorded(config, settings, None, folder, ())
    except ConfigCompositionException as error:
        return str(error)
    return None


# By default each place has one form, and each form a part of the places, since how a value is read from outside is
# found before where it is used.
@pytest.mark.long
@pytest.mark.parametrize("form", ["each in turn", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS)])
def test_what_a_file_would_have_is_not_taken_from_outside(tmp_path, monkeypatch, form):
    monkeypatch.setenv("TOKEN", SECRET)
    refusals = {}
    for place, next_form in zip(PLACES, cycle(FORMS), strict=False):
        parts = ("data=mnist", "logger=mlflow") if place.startswith(("data.root", "logger.mlflow")) else PARTS
        if place != "folder" and not place.endswith("_target_"):
            refusals[place] = is_refused(tmp_path, place, form if form in FORMS else next_form, *parts)
    for place, said in refusals.items():
        if said is not None:
            own = "pool.features" if place == "features" else place  # which is where it is used
            assert f"lightning-al writes the value of `{own}` into the files" in said
            assert f'Give the value itself, for example by the shell: {own}="$NAME".' in said
            assert SECRET not in said
    taken = {place for place, said in refusals.items() if said is None}
    assert {
        "name",
        "data.root",
        "logger.csv.save_dir",
        "logger.mlflow.tracking_uri",
        "trainer.default_root_dir",
    } < taken
    assert not {place for place in taken if place.split(".")[0] in ("active", "pool", "metric", "mode", "seed")}
    recorded = {"active.last_layer", "pool.classes", "logger.tensorboard.version", "logger.csv.name", "metric"}
    assert recorded < set(PLACES) - taken


def test_a_place_in_the_folder_is_not_named_from_outside(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    inside = "${hydra:runtime.output_dir}/${oc.env:TOKEN}"
    for place in ("data.root", "trainer.default_root_dir", "callbacks.checkpoint.dirpath"):
        said = is_refused(tmp_path, place, inside, *("data=mnist", "callbacks=early_stopping"))
        assert "since it is a place in the run's folder" in said
    said = is_refused(tmp_path, "logger.mlflow.tracking_uri", f"sqlite:///{inside}.db", "logger=mlflow")
    assert "since it is a place in the run's folder" in said
    assert "names a class" in is_refused(tmp_path, "model._target_", "${oc.env:CLASS,lightning_al.demos.Classifier}")
    # A run that has it already goes on.
    config, settings = settings_with(tmp_path, "metric", "${oc.env:TOKEN}")
    check_none_is_recorded(config, settings, shown(config), tmp_path, ())


OF_FOLDERS = [
    ("folder", "x/${oc.env:TOKEN}"),
    ("folder", "x/${name}"),
    *((f"hydra.{name}", "x/${oc.env:TOKEN}") for name in ("run.dir", "job.name", "output_subdir")),
]


@pytest.mark.parametrize(("place", "value"), OF_FOLDERS[1:])
def test_the_name_of_a_folder_is_not_read_from_outside(monkeypatch, place, value):
    monkeypatch.setenv("TOKEN", SECRET)
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        config = compose("config", ["name=${oc.env:TOKEN}"], return_hydra_config=True)
    OmegaConf.update(config, place, value)
    with pytest.raises(ValueError, match=f"`{place}` names a folder or a file, but is read from outside by"):
        check_folder(config)


def test_no_folder_is_named_from_outside(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    place, value = OF_FOLDERS[0]
    said = refused(*TINY, f"{place}={value}")
    assert f"`{place}` names a folder or a file, but is read from outside by" in said
    assert list(tmp_path.iterdir()) == []


TAKEN = {
    "name": "a-${oc.env:TOKEN}",
    "trainer.default_root_dir": "../${oc.env:TOKEN}",
    "callbacks.checkpoint.dirpath": "../${oc.env:TOKEN}/checkpoints",
    "logger.csv.save_dir": "../${oc.env:TOKEN}/csv",
    "+model.token": "${oc.env:TOKEN}",
    "+model.url": "http://me:${.token}@host",
    "+model.listed": "[1,{a: '${model.token}'}]",
    "+model.decoded": "${oc.decode:${oc.env:PLAIN}}",
    "+model.selected": "${oc.select:nowhere,${oc.env:TOKEN}}",
    "+model.key": "${oc.decode:${oc.env:KEY}}",
    "+data.password": "${model.token}",
    "+oracle.token": "${oc.env:TOKEN}",
}


@pytest.mark.long
def test_what_is_taken_from_outside_is_in_no_file(own, command, tmp_path, monkeypatch):
    """All places at once that are taken, in a run that writes all that a run can write."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PLAIN", f"{{{SECRET}: [x, {SECRET}y], key: {KEY}}}")
    run = tmp_path / "run"
    quick = [one for one in TINY if not one.startswith(("logger", "callbacks"))]
    given = [f"{name}={value}" if value[0] == "[" else f"{name}='{value}'" for name, value in TAKEN.items()]
    command(
        *quick, "model._target_=own_secrets.Options", "~model.network", "~model.num_classes", "~model.lr",
        "data._target_=own_secrets.Data", "oracle._target_=own_secrets.Oracle", "callbacks=early_stopping",
        "~callbacks.early_stopping", "~callbacks.progress", "callbacks.checkpoint.monitor=null",
        "trainer.enable_checkpointing=true", "logger=[csv,tensorboard]", "allow=[own_secrets]", "active.budget=10",
        *given, "acquisition=random", f"folder={run}",
    )  # fmt: skip
    checkpoints = list((tmp_path / SECRET / "checkpoints").rglob("*.ckpt"))
    assert checkpoints
    for path in checkpoints:  # outside of the run's folder, but the file itself has no more than the reference
        with ZipFile(path) as archive:
            assert not [name for name in archive.namelist() if SECRET.encode() in archive.read(name)]
    assert (tmp_path / SECRET / "csv").exists()
    assert holding(run, SECRET, str(KEY)) == []
    report([str(run), "--out", str(tmp_path / "page")])
    assert holding(tmp_path / "page", SECRET, str(KEY)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "mode=${oc.env:TOKEN}",
        "metric=${oc.env:TOKEN}",
        "allow=${oc.env:TOKEN}",
        "active.force=${oc.env:TOKEN}",
        "model._target_=${oc.env:TOKEN}",
        "model.lr='${oc.decode:${oc.env:BROKEN}}'",
        "trainer.precision=${oc.env:TOKEN}",  # which Lightning's error quotes
    ],
)
def test_a_secret_is_in_no_error_of_a_cell(tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("BROKEN", f"[{SECRET}")
    with pytest.raises(SystemExit):
        run_cell(composed(tmp_path, *TINY, wrong), tmp_path)
    said = (tmp_path / ERROR).read_text()
    assert "Error" in said or "lightning-al" in said
    assert holding(tmp_path, SECRET) == []


@pytest.mark.parametrize("text", ["two  words and\ta tab", 'a "quote" and a \\ back', "späte Übung"])
def test_an_error_has_a_secret_in_no_form(tmp_path, text):
    config = OmegaConf.create({"token": "${oc.env:TOKEN}"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TOKEN", text)
        remember(config)
    for said in (text, repr(text), json.dumps(text)):
        write_error(tmp_path, ValueError(f"no access with {said}"))
        written = (tmp_path / "error.txt").read_text()
        assert said.strip("'\"") not in written
        assert " ".join(text.split()) not in written
        clear_error(tmp_path)


@pytest.mark.long
def test_a_secret_is_in_no_file_of_a_sweep_that_fails(own, refused, tmp_path):
    sweep = tmp_path / "sweep"
    said = refused(
        "-m", "--config-dir", str(tmp_path / "conf"), *TINY, "model=keyed", "+model.fails=true", "allow=[own_secrets]",
        f"folder={sweep}", "seed=0",
    )  # fmt: skip
    assert "1 cell failed" in said
    errors = list(sweep.rglob("error.txt"))
    assert len(errors) == 1
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
