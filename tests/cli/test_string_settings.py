"""A name that looks like a number is a text wherever it is written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lightning_al.cli.configuration import as_stored, read_config, resolve_allowed
from lightning_al.cli.string_settings import with_strings
from lightning_al.report import Run
from tests.cli.test_cli import TINY
from tests.support.commands import run
from tests.support.stored import composed

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("5", "5"),
        pytest.param("1.5", "1.5", marks=pytest.mark.slow),  # a number as 1e3 is
        pytest.param("-3", "-3", marks=pytest.mark.slow),  # a number as 5 is
        ("1e3", "1000.0"),
        pytest.param("nan", "nan", marks=pytest.mark.long),
        pytest.param("'05'", "05", marks=pytest.mark.long),
    ],
)
def test_every_text_of_a_run_may_look_like_a_number(tmp_path: Path, name: str, text: str) -> None:
    loggers = [f"{logger}.name={name}" for logger in ("logger.csv", "logger.tensorboard", "logger.wandb")]
    typed = [*loggers, f"logger.mlflow.run_name={name}", f"+logger.csv.prefix={name}"]
    config = composed(tmp_path, "logger=[csv,tensorboard,wandb,mlflow]", f"name={name}", f"metric={name}", *typed)
    config = with_strings(config)
    resolved = resolve_allowed(config, (), tmp_path)
    found = [resolved.name, resolved.metric, resolved.callbacks.progress.metric, resolved.logger.mlflow.run_name]
    found += [resolved.logger[key].name for key in ("csv", "tensorboard", "wandb")] + [resolved.logger.csv.prefix]
    assert found == [text] * len(found)
    OmegaConf.save(as_stored(config), tmp_path / "config.yaml")
    stored = read_config(tmp_path)
    assert stored is not None
    assert (stored.name, stored.metric) == (text, text)


def test_what_is_no_text_stays_what_it_is(tmp_path: Path) -> None:
    config = composed(tmp_path, "+logger.csv.flush_logs_every_n_steps=7", "logger.csv.version=3", "seed=5")
    resolved = resolve_allowed(with_strings(config), (), tmp_path)
    assert (resolved.logger.csv.flush_logs_every_n_steps, resolved.logger.csv.version, resolved.seed) == (7, 3, 5)


@pytest.mark.long
def test_a_run_named_by_a_number_goes_on_and_is_shown(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, *TINY, "acquisition=random", "active.budget=10", "name=5")
    assert Run.read(folder).name == "5"
    # As an earlier version left it.
    for file, old, new in (("summary.json", '"name": "5"', '"name": 5'), ("config.yaml", "name: '5'", "name: 5")):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
    assert "Random, seed 0" in command(f"folder={folder}")
    run(folder, "active.budget=15")
    assert Run.read(folder).labels == [10, 15]
    assert json.loads((folder / "summary.json").read_text())["name"] == "5"


@pytest.mark.long
def test_a_sweep_of_names_that_are_numbers(command: Any, tmp_path: Path) -> None:
    said = command("-m", *TINY, f"folder={tmp_path}", "acquisition=random", "active.budget=10", "name=1,2")
    assert "Compared" in said
    # A name makes no other cell, so that the second shows the first's run by its own name.
    assert [Run.read(path.parent).name for path in tmp_path.rglob("summary.json")] == ["2"]
