"""What the configuration in a run's folder may say by itself, and what only the user may, each time anew."""

from __future__ import annotations

import inspect
import random
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError
from zipfile import ZipFile

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.allowed_names import ALLOWED
from lightning_al.cli.configuration import agree, as_stored, read_config, resolve_allowed
from lightning_al.cli.references import shown
from lightning_al.cli.stored import overrides_to_say_again
from lightning_al.cli.untrusted import FETCHES, Claims
from lightning_al.host.namespace import pl
from lightning_al.report import Run
from tests.cli.test_cli import TINY
from tests.support.commands import refusal
from tests.support.commands import run as begin
from tests.support.stored import Watch, composed, make_payload, on_path

pytestmark = pytest.mark.usefixtures("as_before")

MISSING = object()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def resumed(folder: Path, changes: dict[str, Any], *now: str, allow: tuple[str, ...] = ()) -> DictConfig:
    """The settings by which a run goes on whose stored configuration was changed, with what the command says now."""
    stored = OmegaConf.create(unchanged())
    for name, value in changes.items():
        if value is MISSING:
            owner, _, key = name.rpartition(".")
            del OmegaConf.select(stored, owner)[key]
        else:
            OmegaConf.update(stored, name, read_again(OmegaConf.create({"it": value}))["it"])
    return resolve_allowed(stored, allow, folder, composed(folder, *now))


@cache
def unchanged() -> Any:
    """The stored configuration of any run, which does not name the folder."""
    return read_again(as_stored(composed(Path("nowhere"))))


def read_again(config: DictConfig) -> Any:
    """What is read from the file of a configuration."""
    return yaml.safe_load(OmegaConf.to_yaml(config))


PL = "pytorch_lightning"

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "models to where MLflow's database in the folder says": (
        {
            "logger.m": {
                "_target_": f"{PL}.loggers.MLFlowLogger",
                "tracking_uri": "sqlite:///${hydra:runtime.output_dir}/mlflow.db",
                "artifact_location": "${hydra:runtime.output_dir}/artifacts",
                "log_model": True,
            }
        },
        "`logger.m.log_model` leads to what is not in the folder",
    ),
    # Places to write to.
    "a root": ({"trainer.default_root_dir": "/etc"}, "outside the run's folder to write to"),
    "a relative root": ({"trainer.default_root_dir": "elsewhere"}, "outside the run's folder to write to"),
    "no root": ({"trainer.default_root_dir": None}, "is left out"),
    "a root left out": ({"trainer.default_root_dir": MISSING}, "is left out"),
    "a root above": ({"trainer.default_root_dir": "${hydra:runtime.output_dir}/../x"}, "outside the run's folder to"),
    "a root at an address": ({"trainer.default_root_dir": "memory://x"}, "is an address"),
    "a root by two references": (
        {"model.a": "/et", "model.b": "c", "trainer.default_root_dir": "${model.a}${model.b}"},
        "outside the run's folder to write to",
    ),
    "checkpoints": ({"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "dirpath": "/x"}}, "to write to"),
    "checkpoints by place": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "_args_": ["/x"]}},
        "`callbacks.c._args_.0` is a place outside",
    ),
    "checkpoints in a bucket": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "dirpath": "s3://bucket/x"}},
        "is an address",
    ),
    "a file name with a way up": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "filename": "../{epoch}"}},
        "is a place outside",
    ),
    "a file name that is a program": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "filename": "{a].backward.__globals__[b}"}},
        "reads more than a metric",
    ),
    "a file name with a format in a format": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "filename": "{epoch:{0.__class__}}"}},
        "reads more than a metric",
    ),
    "an exception's checkpoint": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.OnExceptionCheckpoint", "dirpath": "http://host/x"}},
        "is an address",
    ),
    "places left open": (
        {"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "_partial_": True}},
        "leaves places to write to open",
    ),
    "a log": ({"logger.csv.save_dir": "/x"}, "to write to"),
    "a log by way of its name": ({"logger.csv.name": "../../x"}, "is a place outside"),
    "a log by way of its version": ({"logger.csv.version": "/x"}, "is a place outside"),
    "a log named by the environment": (
        {
            "logger.t": {
                "_target_": f"{PL}.loggers.TensorBoardLogger",
                "save_dir": "${hydra:runtime.output_dir}",
                "name": "$A",
            }
        },
        "reads the environment",
    ),
    "a database elsewhere": (
        {
            "logger.m": {
                "_target_": f"{PL}.loggers.MLFlowLogger",
                "tracking_uri": "sqlite:////x/y.db",
                "artifact_location": ".",
            }
        },
        "outside the run's folder to write to",
    ),
    "a server": (
        {
            "logger.m": {
                "_target_": f"{PL}.loggers.MLFlowLogger",
                "tracking_uri": "https://host",
                "artifact_location": None,
            }
        },
        "is an address",
    ),
    "no database": ({"logger.m": {"_target_": f"{PL}.loggers.MLFlowLogger"}}, "`logger.m.tracking_uri` is left out"),
    "wandb online": (
        {
            "logger.w": {
                "_target_": f"{PL}.loggers.WandbLogger",
                "save_dir": "${hydra:runtime.output_dir}",
                "offline": False,
            }
        },
        "sends what is logged over the network",
    ),
    "wandb by default": ({"logger.w": {"_target_": f"{PL}.loggers.WandbLogger"}}, "`logger.w.offline` is left out"),
    "wandb of another host": (
        {
            "logger.w": {
                "_target_": f"{PL}.loggers.WandbLogger",
                "save_dir": "${hydra:runtime.output_dir}",
                "offline": True,
                "settings": {"base_url": "host"},
            }
        },
        "leads to what is not in the folder",
    ),
    # What is looked up by name, or read from an address.
    "a plugin": ({"trainer.plugins": ["payload"]}, "`trainer.plugins` leads to"),
    "a profiler": ({"trainer.profiler": "pytorch"}, "leads to what is not in the folder"),
    "a registry of models": ({"trainer.model_registry": "payload"}, "leads to what is not in the folder"),
    "an acquisition of a package": ({"active.acquisition": "payload"}, "looked up among the packages"),
    "an acquisition of a package in another": (
        {"active.acquisition": {"_target_": "lightning_al.Stochastic", "acquisition": "payload"}},
        "`active.acquisition.acquisition` is looked up among the packages",
    ),
    "initial points by a package": ({"pool.initial": "payload"}, "looked up among the packages"),
    "a posterior of a package": ({"active.posterior": "payload"}, "looked up among the packages"),
    "an oracle of a package": ({"active.oracle": "payload"}, "looked up among the packages"),
    "data at an address": ({"data": {"_target_": "lightning_al.demos.MNIST", "root": "s3://bucket"}}, "is an address"),
    "data by a chain": ({"data": {"_target_": "lightning_al.demos.MNIST", "root": "zip::x"}}, "is an address"),
    "data in a variable": ({"data": {"_target_": "lightning_al.demos.MNIST", "root": "$HOME/x"}}, "reads the environ"),
    "images at an address": (
        {"data": {"_target_": "lightning_al.image_folder", "root": "s3://bucket"}},
        "is an address",
    ),
    "weights to download": (
        {"model.network": {"_target_": "lightning_al.demos.image_network", "name": "resnet18", "weights": "default"}},
        "`model.network.weights` is downloaded",
    ),
    "weights elsewhere": (
        {"model.network": {"_target_": "lightning_al.demos.image_network", "name": "resnet18", "weights": "/w.pt"}},
        "`model.network.weights` is a place outside",
    ),
    "an encoder to download": (
        {"pool.features": {"_target_": "lightning_al.TimmEncoder", "pretrained": True}},
        "`pool.features.pretrained` is downloaded",
    ),
    "an encoder that downloads by default": (
        {"pool.features": {"_target_": "lightning_al.TimmEncoder"}},
        "`pool.features.pretrained` is left out",
    ),
    "an encoder of texts": (
        {"pool.features": {"_target_": "lightning_al.TextEncoder", "model": "payload"}},
        "`pool.features.model` is downloaded",
    ),
    "an encoder by its name": ({"pool.features": "timm:resnet18"}, "`pool.features` is downloaded"),
    "a place for features": ({"pool.cache": "/tmp/elsewhere"}, "`pool.cache` is a place outside"),
    "a home as a place": ({"callbacks.progress.metric": "~root"}, "is a place outside"),
    "a place of Windows": ({"callbacks.progress.metric": "C:\\x"}, "is a place outside"),
    "a share of Windows": ({"callbacks.progress.metric": "\\\\host\\x"}, "is a place outside"),
    "bytes": ({"callbacks.c": {"_target_": f"{PL}.callbacks.ModelCheckpoint", "dirpath": b"/x"}}, "is no plain value"),
    # What is read from outside.
    "the environment": ({"name": "${oc.env:SECRET}"}, r"`name` refers to ${oc.env:SECRET}, which is read only"),
    "the environment in a text": ({"trainer.default_root_dir": "http://${oc.env:SECRET}@host"}, "read only if you"),
    "the environment in a part": ({"model": "${oc.create:${oc.env:SECRET}}"}, "read only if you repeat it"),
    "the environment by halves": ({"model.x": "env", "name": "${oc.${model.x}:SECRET}"}, "read only if you repeat"),
    "the environment decoded": (
        {"model.x": "$", "model.y": "{oc.env:SECRET}", "name": "${oc.decode:${model.x}${model.y}}"},
        "read only if you repeat it",
    ),
    "the environment as a default": ({"name": "${oc.select:nothing,${oc.env:SECRET}}"}, "read only if you repeat"),
    "the environment in a list": ({"pool.initial": ["${oc.env:SECRET}"]}, "`pool.initial.0` refers to"),
    "the environment as a class": ({"model._target_": "${oc.env:SECRET}"}, "`model._target_` refers to"),
    "what a job sets": ({"name": "${hydra:job.env_set.SECRET}"}, "read only if you repeat it"),
    "what Hydra was told": ({"name": "${hydra:overrides.task}"}, "read only if you repeat it"),
    "a resolver of somebody's": ({"name": "${payload:x}"}, "read only if you repeat it"),
    "with an escape": ({"name": "\\${oc.env:SECRET}"}, "read only if you repeat it"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_folder_cannot_say_what_only_the_user_may(run, monkeypatch, case):
    monkeypatch.setenv("SECRET", "hunter2")
    changes, said = HOSTILE[case]
    with pytest.raises(
        ConfigCompositionException, match=r"does not take from the folder .* settings that only you may"
    ) as found:
        resumed(run, changes)
    assert said in str(found.value)
    assert "hunter2" not in str(found.value)


PIECES = (
    *("{step:c}", "{step:/>9d}", "{epoch:.>2d}", "{/abs/x}", "{..}", "{../b}", "{a/../b}", "{a//b}", "{.}", "{step!r}"),
    *("{0}", "{}", "{{a}}", "{step:zzz}", "{step:%}", "{step: d}", "{step:,d}", "{step:_d}", "{step:n}", "{a b}"),
    *("{step}", "{step:03d}", "{val/acc:.2f}", "{loss:e}", "{val_acc:6.3g}", "{a-b.c}", "a", ".", "/", "-"),
)


@pytest.mark.parametrize("insert", [True, False])
def test_no_name_of_a_file_that_a_folder_may_say_leads_out_of_it(run, insert):
    draw, kept = random.Random(0), pl.callbacks.ModelCheckpoint(dirpath=run, auto_insert_metric_name=insert)
    metrics = {"step": torch.tensor(46), "epoch": torch.tensor(47), "loss": torch.tensor(float("nan"))}
    seen = dict.fromkeys(PIECES, False)
    for name in [*PIECES, *("".join(draw.choices(PIECES, k=draw.randint(1, 6))) for _ in range(2_000))]:
        node = {"_target_": f"{PL}.callbacks.ModelCheckpoint", "filename": name, "dirpath": str(run)}
        if any(True for _ in Claims(run, AllowList()).find({"callbacks": {"c": node}})):
            continue
        kept.filename = name
        place = Path(kept.format_checkpoint_name(dict(metrics)))
        assert place.resolve().is_relative_to(run.resolve()), name
        for piece in PIECES:
            seen[piece] |= piece in name
    assert [piece for piece, is_seen in seen.items() if is_seen] == list(PIECES[-10:])


def says_again(error: str) -> list[str]:
    return [part for part in shlex.split(error.rpartition("lightning-al ")[2]) if not part.startswith("folder=")]


@pytest.mark.parametrize(
    "cases",
    [  # together, where they change different settings
        [
            "a root",
            "checkpoints",
            "a log by way of its name",
            "a database elsewhere",
            "wandb online",
            "a plugin",
            "an acquisition of a package",
            "a posterior of a package",
            "an oracle of a package",
            "data in a variable",
            "a place of Windows",
        ],
        ["no root", "a file name that is a program"],
        ["a root at an address"],
        ["the environment", "the environment in a text", "the environment in a list"],
        ["the environment as a default"],
    ],
    ids=lambda cases: cases[0],
)
def test_what_the_message_says_to_give_again_is_enough(run, monkeypatch, cases):
    monkeypatch.setenv("SECRET", "hunter2")
    changes = {name: value for case in cases for name, value in HOSTILE[case][0].items()}
    assert len(changes) >= sum(len(HOSTILE[case][0]) for case in cases)
    with pytest.raises(ConfigCompositionException) as found:
        resumed(run, changes)
    again = says_again(str(found.value))
    settings = resumed(run, changes, *again)
    for name, value in changes.items():
        if name.count(".") and not isinstance(value, dict) and "${" not in str(value):
            assert OmegaConf.select(settings, name) == value


def test_another_value_in_its_place_is_not_the_same(run):
    changes = {"logger.csv.save_dir": "/x"}
    with pytest.raises(ConfigCompositionException, match=r"logger\.csv\.save_dir=/x"):
        resumed(run, changes, "logger.csv.save_dir=/y")


def test_a_link_in_the_folder_leads_outside(run, tmp_path):
    (run / "logs").symlink_to(tmp_path)
    with pytest.raises(ConfigCompositionException, match="to write to"):
        resumed(run, {"logger.csv.save_dir": "${hydra:runtime.output_dir}/logs"})


def test_no_archive_is_unpacked_by_the_word_of_a_folder(run, tmp_path):
    """Cityscapes unpacks archives that lie in its root, through a link there too."""
    outside, data = tmp_path / "outside", run / "data"
    outside.mkdir()
    data.mkdir()
    (data / "leftImg8bit").symlink_to(outside)
    for name in ("leftImg8bit", "gtFine"):
        with ZipFile(data / f"{name}_trainvaltest.zip", "w") as archive:
            archive.writestr("leftImg8bit/authorized_keys", "of somebody else")
    node = {"_target_": "torchvision.datasets.Cityscapes", "root": "${hydra:runtime.output_dir}/data"}
    with pytest.raises(ConfigCompositionException, match=r"Cityscapes` is not on the list"):
        instantiate(resumed(run, {"pool.pool_dataset": node}).pool.pool_dataset)
    assert list(outside.iterdir()) == []


def test_a_folder_cannot_take_what_the_command_reads_from_outside_to_another_place(run, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    changes = {"name": "${oc.env:SECRET}", "logger.csv.name": "\ue0000\ue001", "logger.csv.prefix": "a\ue0000\ue001"}
    settings = resumed(run, changes, "name=${oc.env:SECRET}")
    assert settings.name == "hunter2"
    assert (settings.logger.csv.name, settings.logger.csv.prefix) == ("\ue0000\ue001", "a\ue0000\ue001")


REDIRECTIONS = {
    "as it is": {"logger.csv.name": "${model.token}"},
    "in a text": {"logger.csv.prefix": "x-${model.token}"},
    "in a list": {"pool.classes": ["a", "${model.token}"]},
    "by a chain": {"model.other": "${.token}", "logger.csv.name": "${model.other}"},
    "with its whole part": {"callbacks.progress": "${model}"},
    "as another resolver's": {"logger.csv.name": "${oc.select:model.token}"},
    "as all values of a part": {"logger.csv.name": "${oc.dict.values:model}"},
    "to be decoded": {"logger.csv.name": "${oc.decode:${model.token}}"},
    "by a computed name": {"model.word": "token", "logger.csv.name": "${model.${model.word}}"},
}


@pytest.mark.parametrize("case", REDIRECTIONS)
def test_a_reference_of_the_folder_takes_nothing_from_outside_elsewhere(run, monkeypatch, case):
    monkeypatch.setenv("SECRET", "hunter2")
    changes = {"model.token": "${oc.env:SECRET}", **REDIRECTIONS[case]}
    for said in ("${oc.env:SECRET}", "typed-by-hand"):
        with pytest.raises(ConfigCompositionException, match="which is read only if you repeat it") as found:
            resumed(run, changes, f"+model.token={said}")
        assert "hunter2" not in str(found.value)


@pytest.mark.parametrize(
    "case",
    # What is said again is a text, a list or a part; that of the others is a text too.
    [
        case
        if case in ("in a text", "in a list", "with its whole part")
        else pytest.param(case, marks=pytest.mark.slow)
        for case in REDIRECTIONS
    ],
)
def test_where_all_that_a_reference_leads_to_is_said_all_of_it_holds(run, monkeypatch, case):
    monkeypatch.setenv("SECRET", "hunter2")
    changes = {"model.token": "${oc.env:SECRET}", **REDIRECTIONS[case]}
    with pytest.raises(ConfigCompositionException, match="which is read only if you repeat it") as found:
        resumed(run, changes, "+model.token=typed-by-hand")
    again = says_again(str(found.value))
    settings = resumed(run, changes, *again, "++model.token=${oc.env:SECRET}")
    assert settings.model.token == "hunter2"


def test_what_the_command_says_goes_nowhere_else_by_a_reference_of_the_folder(run):
    """What may change in a run changes there alone, and not what the folder lets depend on it."""
    stored = as_stored(composed(run, "name=before", "active.budget=50"))
    with open_dict(stored):
        stored.logger.csv.name = "${name}"
        stored.logger.csv.prefix = "${.name}-${metric}"
        stored.trainer.max_steps = "${active.budget}"
        stored.model.all = "${active}"
    overrides = ["name=after", "metric=test_loss", "active.budget=60"]
    agreed = agree(stored, composed(run, *overrides), overrides, run, force=False, is_cell=False)
    assert (agreed.name, agreed.metric, agreed.active.budget) == ("after", "test_loss", 60)
    assert agreed.callbacks.progress.metric == "test_loss"  # as the command's own configuration has it
    assert OmegaConf.to_container(agreed.logger.csv, resolve=False)["name"] == "before"
    assert agreed.logger.csv.prefix == "before-test_acc"
    assert agreed.trainer.max_steps == 50
    assert agreed.model.all.budget == 50


@pytest.mark.parametrize(("before", "now"), [(50, 60.5), (50.5, 60), (50.5, "null")])
def test_a_budget_of_seconds_may_grow_by_parts_of_a_second(run, before, now):
    stored = as_stored(composed(run, f"active.budget_seconds={before}"))
    overrides = [f"active.budget_seconds={now}"]
    agreed = agree(stored, composed(run, *overrides), overrides, run, force=False, is_cell=False)
    assert agreed.active.budget_seconds == (None if now == "null" else now)
    with pytest.raises(ConfigCompositionException, match=r"with a larger active.budget or active.max_rounds or"):
        agree(
            agreed,
            composed(run, "active.budget_seconds=40"),
            ["active.budget_seconds=40"],
            run,
            force=False,
            is_cell=False,
        )


HARMLESS = {
    "nothing": {},
    "places in the folder": {
        "callbacks.c": {
            "_target_": f"{PL}.callbacks.ModelCheckpoint",
            "dirpath": "${hydra:runtime.output_dir}/checkpoints",
            "filename": "{epoch:02d}-{val/acc:.2f}",
        },
        "logger.t": {"_target_": f"{PL}.loggers.TensorBoardLogger", "save_dir": "${hydra:runtime.output_dir}"},
        "logger.m": {
            "_target_": f"{PL}.loggers.MLFlowLogger",
            "run_name": "${name}, seed ${seed}",
            "tracking_uri": "sqlite:///${hydra:runtime.output_dir}/mlflow/mlflow.db",
            "artifact_location": "${hydra:runtime.output_dir}/mlflow/artifacts",
        },
        "logger.w": {
            "_target_": f"{PL}.loggers.WandbLogger",
            "save_dir": "${hydra:runtime.output_dir}",
            "offline": True,
            "log_model": False,
            "project": "mine",
        },
    },
    "data to read": {"data": {"_target_": "lightning_al.demos.MNIST", "root": "/data", "seed": "${oc.select:seed,3}"}},
    "images to read": {"data": {"_target_": "lightning_al.image_folder", "root": "/photos", "classes": ["a", "b"]}},
    "a table to read": {"data": {"_target_": "lightning_al.table", "path": "../x.csv", "test": "~/test.csv"}},
    "data of torchvision": {
        "data": {
            "_target_": "torchvision.datasets.ImageFolder",
            "root": "../data",
            "transform": {"_target_": "torchvision.transforms.ToTensor"},
        }
    },
    "names with slashes": {"metric": "test/acc", "callbacks.progress.metric": "test/acc: mean"},
    "layers": {"model.network": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}]}},
    "a part of a class": {"model.optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}},
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_a_run_is_made_of_goes_on_by_itself(run, case):
    settings = resumed(run, HARMLESS[case])
    for name, value in HARMLESS[case].items():
        if not isinstance(value, dict):
            assert OmegaConf.select(settings, name) == value


def test_files_are_fetched_only_where_the_command_says_so(run):
    stored = {"data": {"_target_": "lightning_al.demos.MNIST", "root": "/data", "download": True}}
    assert resumed(run, stored).data.download is False
    assert resumed(run, stored).pool.data.download is False
    assert resumed(run, stored, "data=mnist").data.download is True
    assert resumed(run, {"data": {"_target_": "lightning_al.demos.MNIST", "root": "/data"}}).data.download is False
    by_place = {"data": {"_target_": "torchvision.datasets.CIFAR10", "_args_": ["/data", True, None, None, True]}}
    assert resumed(run, by_place).data._args_[4] is False


def test_a_class_that_the_user_allows_reads_from_where_the_folder_says(run, tmp_path, monkeypatch):
    (tmp_path / "own_package.py").write_text("class Data:\n    def __init__(self, files, save_dir=None): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    stored = {"data": {"_target_": "own_package.Data", "files": "/data"}}
    assert resumed(run, stored, allow=("own_package",)).data.files == "/data"
    for hostile in ({"files": "s3://bucket"}, {"files": "$SECRET"}, {"files": "/data", "save_dir": "/data"}):
        with pytest.raises(ConfigCompositionException, match="settings that only you may give: `data"):
            resumed(run, {"data": {"_target_": "own_package.Data", **hostile}}, allow=("own_package",))
    sys.modules.pop("own_package", None)


# Overrides are written so that Hydra reads them as they are.


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "a b",
        "",
        "null",
        "true",
        "3",
        "1e3",
        "nan",
        'say "so"',
        "back\\slash",
        "end\\",
        '\\"',
        "it's",
        "${oc.env:A}",
        "http://${oc.env:A}@h",
        "a,b",
        "[a]",
        "{a: 1}",
        "a=b",
        "/x y/z",
        "~",
        3,
        2.5,
        None,
        True,
        ["a b", 1, None],
        {"a": "b c"},
    ],
    ids=repr,
)
def test_an_override_says_what_it_is_to_say(run, monkeypatch, value):
    monkeypatch.setenv("A", "b")
    config = OmegaConf.create({"trainer": OmegaConf.to_container(composed(run).trainer)})
    OmegaConf.update(config, "trainer.plugins", "x" if value is None else value, force_add=True)
    [override] = map(shlex.split, overrides_to_say_again(config, run, ()))
    parsed = OverridesParser.create().parse_override(override[0])
    assert parsed.key_or_group == "trainer.plugins"
    assert OmegaConf.create({"x": parsed.value()}) == OmegaConf.create({"x": config.trainer.plugins})


# Of what Hydra says of a command, a later one says something else.


def test_what_hydra_says_now_is_written_as_it_is(run):
    config = composed(
        run, "acquisition=bald", "+logger.csv.prefix='${hydra:runtime.choices.acquisition}-${hydra:job.name}'"
    )
    assert OmegaConf.to_container(config.logger.csv, resolve=False)["prefix"] == "bald-lightning-al"
    assert OmegaConf.to_container(config.logger.csv, resolve=False)["save_dir"] == "${hydra:runtime.output_dir}"
    assert as_stored(config).name == "bald"


# Each class of the list, with hostile texts as its arguments.

TEXTS = [
    "payload",
    "payload.Payload",
    "payload:Payload",
    "run.payload.Payload",
    "{folder}/payload.pt",
    "{folder}/payload.pkl",
    "{outside}/x",
    "../x",
    "x",
    "~/x",
    "$SECRET",
    "file://{folder}/payload.pkl",
    "http://127.0.0.1:9/payload.pt",
    "memory://payload",
    "simplecache::http://127.0.0.1:9/payload.pkl",
    "__import__('payload')",
    "lambda: __import__('payload')",
    "{{0.__class__}}",
]

watch = Watch(Path("/nowhere"))
is_hooked = False


def closure(folder: Path, classes: list[str], texts: list[str]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Make classes with hostile texts where the folder may say them, and yield what was seen of each that was made."""
    global is_hooked
    if not is_hooked:
        sys.addaudithook(watch)
        is_hooked = True
    watch.folder = str(folder.resolve())
    allowed = AllowList()
    claims = Claims(folder, allowed)
    for path in classes:
        made = allowed.find(path)
        parameters = inspect.signature(made).parameters.values()
        named = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
        needed = {one.name: 2 for one in parameters if one.name in named and one.default is one.empty}
        needed |= {"default_root_dir": str(folder)} if "default_root_dir" in named else {}
        for name in named:
            for text in texts:
                value = text.format(folder=folder, outside=folder.parent)
                node = {"_target_": path, **needed, name: value}
                found = list(claims.find({"x": node}))
                if any(why != FETCHES for _, why in found):
                    continue  # refused
                with watch.on() as seen:
                    try:
                        instantiate(OmegaConf.create({**node, **({"download": False} if found else {})}))
                        is_made = True
                    except BaseException:  # of an argument that makes no sense
                        is_made = False
                yield path, f"{name}={value}", "made" if is_made else "", list(seen)


def listed() -> list[str]:
    found = []
    for module, names in ALLOWED.items():
        import_module(module)
        for name in sorted(names):
            try:
                AllowList().find(f"{module}.{name}")
            except ValueError:
                continue
            found.append(f"{module}.{name}")
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["those that do most", pytest.param("all", marks=pytest.mark.slow)])
def test_no_text_of_a_folder_is_imported_run_unpickled_fetched_or_written_to(run, tmp_path, monkeypatch, part):
    trace = tmp_path / "trace"
    make_payload(run, trace)
    monkeypatch.setenv("SECRET", "payload")
    monkeypatch.chdir(tmp_path)
    wide = (
        "pytorch_lightning.Trainer",
        "pytorch_lightning.callbacks.",
        "pytorch_lightning.loggers.",
        "lightning_al.demos.",
    )
    classes = [name for name in listed() if part == "all" or name.startswith(wide)]
    before = set(tmp_path.rglob("*"))
    with on_path(run), on_path(tmp_path):
        results = list(closure(run, classes, TEXTS if part == "all" else TEXTS[::3]))
    assert [(path, text, seen) for path, text, _, seen in results if seen] == []
    assert len({path for path, _, is_made, _ in results if is_made}) > (0.5 if part == "all" else 0.3) * len(classes)
    assert not trace.exists()
    assert {path for path in set(tmp_path.rglob("*")) - before if not path.is_relative_to(run)} == set()


def test_the_watch_sees_what_it_is_to_see(run, tmp_path, monkeypatch):
    """Otherwise the test above could not fail."""
    trace = tmp_path / "trace"
    make_payload(run, trace)
    list(closure(run, [], []))
    with on_path(run), watch.on() as seen:
        __import__("payload")
        with pytest.raises(URLError):
            import_module("urllib.request").urlopen("http://127.0.0.1:9")
        (tmp_path / "outside").write_text("x")
        (run / "inside").write_text("x")
        import_module("torch").load(run / "payload.pt", weights_only=False)
    assert trace.exists()
    kinds = {line.split()[0] for line in seen}
    assert {"import", "exec", "socket.connect", "open"} <= kinds
    assert not any(re.search("inside", line) for line in seen)


def test_a_secret_is_shown_as_its_reference(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    texts = {
        "a": "${oc.env:SECRET}",
        "b": "${a}",
        "c": "x ${b} y",
        "d": "${oc.select:a}",
        "e": "${oc.dict.values:inner}",
        "inner": {"s": "${oc.env:SECRET}", "t": "${..a}"},
        "f": "${oc.decode:${oc.env:SECRET}}",
        "g": "${inner}",
        "h": ["${a}", {"i": "${inner.s}"}],
        "word": "env",
        "j": "${oc.${word}:SECRET}",
    }
    assert "hunter2" in str(OmegaConf.to_container(OmegaConf.create(texts), resolve=True))
    assert "hunter2" not in str(shown(OmegaConf.create(texts)))
    assert shown(OmegaConf.create(texts))["c"] == "x ${oc.env:SECRET} y"


def test_what_is_shown_is_that_of_this_folder_and_time_and_belongs_to_the_caller(tmp_path):
    settings = OmegaConf.create({"place": "${hydra:runtime.output_dir}/x", "list": [1]})
    for name in ("a", "b"):
        composed(tmp_path / name)
        found = shown(settings)
        assert found == {"place": f"{tmp_path / name}/x", "list": [1]}
        found["list"].append(2)
        assert shown(settings)["list"] == [1]
    times = {shown(OmegaConf.create({"time": "${now:%f}"}))["time"] for _ in range(20)}
    assert len(times) > 1


# By the command itself.


@pytest.mark.long
def test_the_command_says_what_to_give_again_and_takes_it(command, refused, run, tmp_path, capfd):
    first = [
        *TINY,
        "acquisition=random",
        "active.max_rounds=1",
        "+callbacks.c._target_=pytorch_lightning.callbacks.ModelCheckpoint",
    ]
    begin(run, *first, f"+callbacks.c.dirpath={tmp_path}/c", "trainer.enable_checkpointing=true")
    said = capfd.readouterr().out
    assert f"to resume it: lightning-al folder={run} ++callbacks.c.dirpath={tmp_path}/c)" in said
    message = refused(f"folder={run}", "active.max_rounds=2")
    assert "`callbacks.c.dirpath` is a place outside the run's folder to write to" in message
    assert "Traceback" not in message
    assert "Random" in command(f"folder={run}", "active.max_rounds=2", f"++callbacks.c.dirpath={tmp_path}/c")


def test_files_that_are_missing_are_not_fetched_for_a_folder_alone(run, tmp_path):
    OmegaConf.save(as_stored(composed(run, "experiment=mnist_10k", f"data.root={tmp_path}/none")), run / "config.yaml")
    message = refusal(run)
    assert "could not find them" in message
    assert "To download them, pass '++data.download=true' again." in message
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"test_each_round": True, "test_with": "posterior"}, {"test": "posterior"}),
        ({"test_each_round": False, "test_with": "module"}, {"test": None}),
        (
            {"test_each_round": True, "test_with": "module", "model_factory": None},
            {"test": "module", "reset": "initial"},
        ),
        ({"model_factory": {"_target_": "mine.Net"}}, {"reset": {"_target_": "mine.Net"}}),
        ({"logits": {"_target_": "mine.twice"}}, {"forward": {"_target_": "mine.twice"}}),
    ],
)
def test_settings_that_earlier_versions_called_otherwise_are_read(run, before, now):
    config = as_stored(composed(run))
    with open_dict(config):
        for name in ("test", "forward"):
            config.active.pop(name)
        config.active.update({"test_each_round": True, "test_with": "module", **before})
    OmegaConf.save(config, run / "config.yaml")
    active = OmegaConf.to_container(read_config(run), resolve=False)["active"]
    assert not {"test_each_round", "test_with", "model_factory", "logits"} & set(active)
    assert {name: active[name] for name in now} == now


def test_classes_of_lightning_that_earlier_versions_named_otherwise_are_read(run):
    config = as_stored(composed(run, *TINY, "active.max_rounds=1"))
    config.trainer._target_ = "lightning_al._lightning.pl.Trainer"
    OmegaConf.save(config, run / "config.yaml")
    assert read_config(run).trainer._target_ == "pytorch_lightning.Trainer"
    begin(run)
    assert Run.read(run).acquisition == "BatchBALD"


@pytest.mark.parametrize("name", ["hydra", "defaults", "payload"])
def test_a_stored_configuration_has_no_settings_of_hydras(run, name):
    config = as_stored(composed(run))
    with open_dict(config):
        config[name] = {"searchpath": ["pkg://payload"], "launcher": {"_target_": "payload.Payload"}}
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(ConfigCompositionException, match=f"of a run: no run has the settings {name}"):
        read_config(run)


@pytest.mark.slow
@pytest.mark.parametrize("callback", ["none", "OnExceptionCheckpoint", "ModelCheckpoint"])
def test_no_checkpoint_that_lightning_finds_by_itself_runs_code(command, run, tmp_path, monkeypatch, callback):
    """Under SLURM, or with such a callback, Lightning looks for checkpoints in the run's folder."""
    trace = tmp_path / "trace"
    monkeypatch.chdir(tmp_path)
    command(*TINY, f"folder={run}", "active.max_rounds=1")
    config: Any = OmegaConf.load(run / "config.yaml")
    if callback != "none":
        options = {"dirpath": "${hydra:runtime.output_dir}"} | ({"save_last": True} if callback[0] == "M" else {})
        config.callbacks = {"c": {"_target_": f"{PL}.callbacks.{callback}", **options}}
        config.trainer.enable_checkpointing = True
    OmegaConf.save(config, run / "config.yaml")
    make_payload(run, trace)
    for name, value in {
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    list(closure(run, [], []))
    with on_path(run), watch.on() as seen, suppress(SystemExit):
        command(f"folder={run}", "active.max_rounds=2")
    assert [line for line in seen if "payload" in line] == []
    assert not trace.exists()


MAY_CHANGE = {
    "active.unscorable": "skip",
    "active.test": "posterior",
    "pool.pool_batch_size": 64,
    "oracle._target_": "lightning_al.FunctionOracle",
}


def test_what_makes_no_other_run_may_change_in_it(run):
    stored = as_stored(composed(run))
    OmegaConf.set_struct(stored, False)
    stored.oracle.answers = 1  # which the other class does not take
    overrides = [f"{name}={value}" for name, value in MAY_CHANGE.items()]
    given = [*overrides, "oracle=revealed"]
    agreed = agree(stored, composed(run, *given), given, run, force=False, is_cell=False)
    assert {name: OmegaConf.select(agreed, name) for name in MAY_CHANGE} == MAY_CHANGE
    assert "answers" not in agreed.oracle


@pytest.mark.parametrize("override", ["active.weights=best", "active.task=binary", "pool.samples_per_epoch=64"])
def test_what_makes_another_run_is_refused_without_force(run, override):
    stored = as_stored(composed(run))
    with pytest.raises(ConfigCompositionException, match=r"With `active\.force=true`, these may differ: "):
        agree(stored, composed(run, override), [override], run, force=False, is_cell=False)
    with pytest.warns(UserWarning, match="resumes with other settings"):
        agree(stored, composed(run, override), [override], run, force=True, is_cell=False)
