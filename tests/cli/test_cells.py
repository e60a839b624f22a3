"""Which folder a cell of a sweep has, and what it leaves there when it fails."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli import sweep
from lightning_al.cli.cells import Failures, cell_folder, clear_error, read_error, write_error
from lightning_al.run.folder import ERROR

Name = Callable[..., str]


def name_in(folder: Path, *overrides: str) -> str:
    """Name the folder of the cell of a command line, as Hydra asks for it before the cell runs."""
    return named(composed_in.__wrapped__(folder, *overrides))


@cache
def composed_in(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        return compose("config", overrides=[f"folder={folder}", *overrides], return_hydra_config=True)


def named(config: DictConfig) -> str:
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, "hydra.sweep.subdir"))
    finally:
        HydraConfig.instance().cfg = None


@pytest.fixture
def name(tmp_path: Path) -> Name:
    return partial(name_in, tmp_path)


def digest(name: str) -> str:
    return name.rpartition("_")[2]


@cache
def unchanged(*overrides: str) -> str:
    """The hash of a cell in no folder, whose place is not part of it."""
    return digest(name_in(Path("nowhere"), *overrides))


def test_it_says_what_was_overridden_and_ends_in_a_hash(name: Name) -> None:
    assert name("acquisition=bald", "seed=3").startswith("acquisition-bald_seed-3_")
    assert digest(name()) == name(), "nothing was overridden"


SHOWS_PLACES_OR_GROWS = [
    "folder=elsewhere",
    "name=mine",
    "metric=test_loss",
    "mode=min",
    "data.root=elsewhere",
    "data.download=false",
    "allow=[somebody]",
    "logger=none",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=true",
    "trainer.log_every_n_steps=1",
    "active.keep_checkpoints=true",
    "pool.pool_batch_size=64",
    "active.budget=200",
    "active.max_rounds=7",
    "active.force=true",
    "active.query_size=10",
]


@pytest.mark.parametrize(
    "overrides",
    [
        SHOWS_PLACES_OR_GROWS,
        ["logger=tensorboard"],
        # One by one, which says which one it is where all of them make another cell.
        *(pytest.param([override], marks=pytest.mark.slow) for override in SHOWS_PLACES_OR_GROWS),
    ],
    ids=lambda overrides: overrides[-1],
)
def test_what_shows_places_or_grows_makes_no_other_cell(name: Name, overrides: list[str]) -> None:
    assert digest(name("data=mnist", *overrides)) == unchanged("data=mnist")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", 1),
        ("active.query_size", 7),
        ("active.test", "posterior"),
        ("active.weights", "best"),
        ("oracle.answers", 1),
        ("pool.initial_size", 12),
        ("posterior.num_samples", 7),
        ("model.lr", 0.5),
        ("trainer.max_steps", 7),
        ("trainer.devices", 2),
        ("threads", 2),
        ("trainer.gradient_clip_val", 1),
    ],
)
def test_what_the_results_depend_on_makes_another_cell(setting: str, value: Any) -> None:
    """By the settings, of which a cell's name has the hash, however a command came to them."""
    config = copy.deepcopy(composed_in(Path("nowhere")))
    OmegaConf.update(config, setting, value, force_add=True)
    assert digest(named(config)) != unchanged()


@pytest.mark.parametrize(
    "override", ["acquisition=bald", "data=digits_repeated", "callbacks=early_stopping", "experiment=mnist_paper"]
)
def test_what_a_group_changes_in_the_results_makes_another_cell(name: Name, override: str) -> None:
    assert digest(name(override)) != unchanged()


def test_a_preset_that_changed_makes_another_cell(name: Name, tmp_path: Path) -> None:
    preset = tmp_path / "conf" / "experiment" / "mine.yaml"
    preset.parent.mkdir(parents=True)
    given = ["experiment=mine", f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]
    preset.write_text("# @package _global_\nactive:\n  query_size: 3\n")
    before = name(*given)
    assert name(*given) == before
    preset.write_text("# @package _global_\nactive:\n  query_size: 4\n")
    after = name(*given)
    assert after != before
    assert after.startswith("experiment-mine_")


def test_another_version_of_the_package_makes_another_cell(name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    before = name()
    monkeypatch.setattr(sweep, "version", lambda package: "99")
    assert name() != before


def test_a_cell_keeps_its_folder_when_it_is_asked_for_in_other_words(name: Name, tmp_path: Path) -> None:
    folder = tmp_path / name("seed=1")
    folder.mkdir()
    assert name("seed=1", "active.query_size=10", "callbacks=none") == folder.name
    assert name("seed=2", "active.query_size=10", "callbacks=none") != folder.name


def test_a_setting_that_cannot_be_resolved_is_left_for_the_cell_to_name(name: Name) -> None:
    assert name("+pool.odd=${nowhere}") != name("+pool.odd=${anywhere}")


def test_sweeps_of_one_second_have_folders_of_their_own() -> None:
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    assert str(OmegaConf.select(config, "hydra.sweep.dir")).endswith(f"-{os.getpid()}")


@given(st.text(max_size=600))
def test_any_name_is_one_folder_that_hydra_takes_unquoted(overrides: str) -> None:
    folder = cell_folder(Path("nowhere"), overrides, {"seed": 0}, "1")
    assert len(folder.encode()) <= 255
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
    assert not folder.startswith((".", "-"))


def test_long_names_that_begin_alike_are_told_apart() -> None:
    folders = [cell_folder(Path("nowhere"), "x" * 500 + str(seed), {"seed": seed}, "1") for seed in range(100)]
    assert len(set(folders)) == 100


def test_the_first_error_stays_whole_until_the_cell_is_tried_again(tmp_path: Path) -> None:
    try:
        raise ArithmeticError("two\nlines")
    except ArithmeticError as error:
        write_error(tmp_path, error)
    write_error(tmp_path, RuntimeError("the other process is gone"))
    assert read_error(tmp_path) == "ArithmeticError: two lines"
    assert 'raise ArithmeticError("two\\nlines")' in (tmp_path / ERROR).read_text()
    clear_error(tmp_path)
    clear_error(tmp_path)
    write_error(tmp_path, RuntimeError())
    assert read_error(tmp_path) == "RuntimeError"


def test_only_what_fails_from_now_on_counts(tmp_path: Path) -> None:
    before, again, new = (tmp_path / name for name in ("before", "again", "new"))
    for folder in (before, again, new):
        folder.mkdir()
    for folder in (before, again):
        write_error(folder, ValueError("old"))
    failures = Failures(tmp_path)
    assert failures.since() == {}
    clear_error(again)
    for folder in (again, new):
        write_error(folder, ValueError("now"))
    assert failures.since() == {"ValueError: now": [again / ERROR, new / ERROR]}


def test_what_a_command_says_by_itself_has_no_type_before_it(tmp_path: Path) -> None:
    write_error(tmp_path, CompactHydraException("lightning-al: `X` got 3. Pass 4."))
    assert read_error(tmp_path) == "`X` got 3. Pass 4."
